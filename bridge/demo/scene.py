"""What the demo is made of: the settings of its service, and what goes wrong at its peers.

Everything that goes wrong here must cost nothing. Ambiguous ends come after the messages were taken: then the look-up,
or a callback, finds them. (A request that is lost before that leaves no trace, and a person has to decide: `bridge
review`. So has one after a mail server that went away between the final dot and its answer.)
"""

from __future__ import annotations

from bridge.sim import (
    Gateway,
    PlatformConfig,
    PlatformFaults,
    RevicomConfig,
    RevicomFaults,
    SendgridConfig,
    SendgridFaults,
    SmarticoConfig,
    SmarticoFaults,
    SmtpConfig,
    SmtpFaults,
)

__all__ = ["GATEWAYS", "OPERATOR_TOKEN", "Peers", "settings_text"]

OPERATOR_TOKEN = "demo-operator-token"

GATEWAYS = (
    Gateway(name="sms", authorization="demo-sms-secret"),
    Gateway(name="whatsapp", authorization="demo-whatsapp-secret"),
    Gateway(name="email", authorization="demo-email-secret", type="email"),
    Gateway(name="mailing", authorization="demo-mailing-secret", type="email"),
    Gateway(
        name="cim",
        authorization="demo-cim-secret",
        type="cim",
        extension={"title": "Microsoft is raising", "action": "BUY", "instrument": "MSFT"},
    ),
)


class Peers:
    """How the simulated peers are set up, and their faults."""

    revicom = RevicomConfig(token="demo-token", resend_seconds=1.0)
    revicom_faults = RevicomFaults(
        slow=0.05,
        slow_seconds=0.5,
        too_many_requests=0.03,
        early=0.1,
        error_after=0.03,
        reset_after=0.03,
        timeout_after=0.01,
        timeout_seconds=3.0,
        broken_json=0.02,
        short_items=0.02,
        lookup_error=0.1,
        shuffle=0.3,
        repeat_batch=0.1,
        late=0.05,
        late_seconds=0.5,
        repeat_element=0.05,
        unknown_status=0.002,
        malformed=0.002,
        foreign=0.002,
    )
    sendgrid = SendgridConfig(token="demo-token", resend_seconds=1.0)
    sendgrid_faults = SendgridFaults(
        slow=0.02,
        slow_seconds=0.3,
        too_many_requests=0.02,
        early=0.1,
        error_after=0.03,
        reset_after=0.03,
        shuffle=0.3,
        repeat_batch=0.1,
        late=0.05,
        late_seconds=0.5,
        repeat_element=0.05,
        bad_signature=0.02,
        unknown_event=0.002,
        malformed=0.002,
        foreign=0.002,
    )
    smtp = SmtpConfig(messages_per_connection=50)
    smtp_faults = SmtpFaults(
        slow=0.02, slow_seconds=0.3, greeting=0.1, recipient_later=0.02, content_later=0.01, data_later=0.01
    )
    platform = PlatformConfig(resend_seconds=1.0)
    platform_faults = PlatformFaults(
        only=("notifications", "communications"),
        slow=0.02,
        slow_seconds=0.3,
        error=0.02,
        error_status=503,
        reset_after=0.02,
        early=0.1,
        shuffle=0.3,
        repeat_batch=0.1,
        repeat_element=0.05,
        unknown_status=0.002,
        malformed=0.002,
        foreign=0.002,
    )
    smartico = SmarticoConfig(
        api_key="demo-api-key", preview_share=0.02, communications_authorization="demo-communications-secret"
    )
    smartico_faults = SmarticoFaults(
        slow=0.01,
        slow_seconds=0.5,
        error=0.03,
        too_many_requests=0.01,
        reset=0.01,
        timeout=0.002,
        timeout_seconds=3.0,
        html=0.01,
        reset_after=0.01,
        not_found_seconds=0.3,
        twin_send=0.02,
        repeat_send=0.02,
    )


def settings_text(revicom: str, sendgrid: str, public_key: str, smtp_port: int, platform: str) -> str:
    """The `bridge.toml` of the demo's service, for peers at these addresses."""
    values = {
        "@revicom@": revicom,
        "@sendgrid@": sendgrid,
        "@public_key@": public_key,
        "@smtp_port@": str(smtp_port),
        "@platform@": platform,
        "@token@": OPERATOR_TOKEN,
    }
    text = _SETTINGS
    for place, value in values.items():
        text = text.replace(place, value)
    return text


_SETTINGS = """
[server]
host = "127.0.0.1"
port = 0

[database]
url = "sqlite:///demo.db"

[smartico]
api_key = "demo-api-key"
callback_hosts = ["127.0.0.1"]
allow_insecure_callbacks = true
timeout_seconds = 2
settle_seconds = 0.2
retry_schedule = [0.3, 0.6, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]
not_found_schedule = [0.1, 0.3, 1, 2, 2, 2]

[contacts]
source = "http"
[contacts.http]
url = "@platform@/users/{ext_user_id}"

[providers.revicom]
adapter = "revicom"
base_url = "@revicom@/api/v1"
token = "demo-token"
callback_password = "demo-callback-password"
timeout_seconds = 2
unknown_after_seconds = 5

[providers.mail]
adapter = "smtp"
host = "127.0.0.1"
port = @smtp_port@
tls = "none"
timeout_seconds = 5

[providers.sendgrid]
adapter = "sendgrid"
base_url = "@sendgrid@/v3"
token = "demo-token"
webhook_public_key = "@public_key@"
timeout_seconds = 2
unknown_after_seconds = 20

[providers.inbox]
adapter = "webhook"
url = "@platform@/notifications"
callback_password = "demo-callback-password"
timeout_seconds = 2

[gateways.sms]
provider = "revicom"
channel = "SMS"
authorization = ["demo-sms-secret"]
senders = ["Amazing", "DemoBrand"]
short_links = true

[gateways.whatsapp]
provider = "revicom"
channel = "WHATSAPP"
authorization = ["demo-whatsapp-secret"]
senders = ["Amazing", "DemoBrand"]

[gateways.email]
type = "email"
provider = "mail"
authorization = ["demo-email-secret"]

[gateways.mailing]
type = "email"
provider = "sendgrid"
authorization = ["demo-mailing-secret"]

[gateways.cim]
type = "cim"
provider = "inbox"
authorization = ["demo-cim-secret"]

[communications]
authorization = ["demo-communications-secret"]
forward_url = "@platform@/communications"

[inbound]
forward_url = "@platform@/inbound"

[ops]
secure_cookies = false

[[ops.operators]]
name = "demo"
token = "@token@"
role = "operator"
"""
