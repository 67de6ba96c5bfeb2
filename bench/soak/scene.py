"""Who is there: the gateways, the people, what goes wrong at the peers, and the settings of the bridge."""

from __future__ import annotations

from msgspec import Struct

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
)

__all__ = [
    "CONTACTS",
    "OPERATOR_TOKEN",
    "SURFACES",
    "USERS",
    "Faults",
    "Settings",
    "gateways",
    "platform_config",
    "revicom_config",
    "sendgrid_config",
    "settings_text",
    "smartico_config",
]

SURFACES = ("sms", "whatsapp", "mailing", "cim")
OPERATOR_TOKEN = "an-operator-of-the-soak"
USERS = tuple(
    f"player{number}" for number in range(997)
)  # a prime: each is sent to through each gateway in turn
CONTACTS = [
    {"ext_user_id": user, "phone": f"+1415555{number:04}", "email": f"{user}@example.com"}
    for number, user in enumerate(USERS)
]
_RESEND = 1.0  # seconds until a peer posts a callback again that was not taken


class Faults(Struct, frozen=True):
    """What goes wrong at the peers beside the kills: lost answers, repeats, wrong order, refusals that pass."""

    revicom: RevicomFaults
    sendgrid: SendgridFaults
    platform: PlatformFaults
    smartico: SmarticoFaults

    @classmethod
    def none(cls) -> Faults:
        return cls(RevicomFaults(), SendgridFaults(), PlatformFaults(), SmarticoFaults())

    @classmethod
    def usual(cls) -> Faults:
        return cls(
            RevicomFaults(
                slow=0.1, slow_seconds=0.2, early=0.05, shuffle=0.3, repeat_batch=0.1, repeat_element=0.05,
                reset_after=0.02, error_after=0.01, broken_json=0.01, too_many_requests=0.01, reset_before=0.01,
                lookup_error=0.05, late=0.02, late_seconds=0.3,
            ),
            SendgridFaults(
                slow=0.1, slow_seconds=0.2, too_many_requests=0.01, early=0.05, error_after=0.01, reset_after=0.02,
                bad_signature=0.02, malformed=0.02, foreign=0.02, shuffle=0.3, repeat_batch=0.1, repeat_element=0.05,
            ),
            PlatformFaults(
                slow=0.1, slow_seconds=0.2, error=0.02, reset_after=0.02, early=0.05, malformed=0.02, foreign=0.02,
                shuffle=0.3, repeat_batch=0.1, repeat_element=0.05,
            ),
            SmarticoFaults(
                slow=0.02, slow_seconds=0.2, error=0.02, too_many_requests=0.01, reset=0.01, html=0.005,
                reset_after=0.01, twin_send=0.02, repeat_send=0.02,
            ),
        )  # fmt: skip


def gateways(surfaces: tuple[str, ...]) -> list[Gateway]:
    """Those of Smartico's back office, by the names of what is tried."""
    known = {
        "sms": Gateway(name="sms", authorization="secret-of-sms"),
        "whatsapp": Gateway(name="whatsapp", authorization="secret-of-whatsapp"),
        "mailing": Gateway(name="mailing", type="email", authorization="secret-of-mailing"),
        "cim": Gateway(name="cim", type="cim", authorization="secret-of-cim", from_number=None),
    }
    return [known[name] for name in surfaces]


def revicom_config(seed: int, step_seconds: float, outcome: str) -> RevicomConfig:
    """What it took can be found half a second later, not at once. `outcome`: of every message; empty: drawn."""
    return RevicomConfig(
        outcome=(lambda _: outcome) if outcome else None,
        seed=seed,
        token="token-of-revicom",
        resend_seconds=_RESEND,
        step_seconds=step_seconds,
        findable_after_seconds=0.5,
    )


def sendgrid_config(seed: int, step_seconds: float) -> SendgridConfig:
    return SendgridConfig(
        seed=seed, token="token-of-sendgrid", resend_seconds=_RESEND, step_seconds=step_seconds
    )


def platform_config(seed: int, step_seconds: float) -> PlatformConfig:
    return PlatformConfig(
        seed=seed, authorization="secret-of-the-platform", resend_seconds=_RESEND, step_seconds=step_seconds
    )


def smartico_config(seed: int) -> SmarticoConfig:
    """It repeats what was not answered, with the same im_uid, for longer than any outage here lasts."""
    return SmarticoConfig(seed=seed, api_key="key-of-smartico", send_retry_for_seconds=600)


class Settings(Struct, frozen=True):
    """What goes into bridge.toml. `timeout_seconds` and `unknown_after_seconds`: as in [providers.revicom]."""

    port: int
    public_url: str
    database: str
    revicom: str
    sendgrid: str = ""
    sendgrid_key: str = ""
    platform: str = ""
    unknown_send: str = "review"
    timeout_seconds: float = 5.0
    unknown_after_seconds: float = 2.0
    lease_seconds: float = 3.0


def settings_text(settings: Settings) -> str:
    """The file."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    text = _SETTINGS.format(retries=", ".join(["0.5", "1"] + ["2"] * 60), **values)
    if settings.sendgrid:
        text += _SENDGRID.format(**values)
    if settings.platform:
        text += _PLATFORM.format(**values)
    return text


_SETTINGS = """
[server]
port = {port}
public_url = "{public_url}"

[database]
url = "{database}"
lease_seconds = {lease_seconds}

[smartico]
api_key = "key-of-smartico"
callback_hosts = ["127.0.0.1"]
allow_insecure_callbacks = true
timeout_seconds = 10
settle_seconds = 0.1
retry_schedule = [{retries}]
not_found_schedule = [{retries}]

[providers.revicom]
base_url = "{revicom}/api/v1"
token = "token-of-revicom"
callback_password = "password-of-callbacks"
timeout_seconds = {timeout_seconds}
unknown_after_seconds = {unknown_after_seconds}
unknown_send = "{unknown_send}"

[gateways.sms]
authorization = ["secret-of-sms"]
senders = ["Amazing"]

[gateways.whatsapp]
channel = "WHATSAPP"
authorization = ["secret-of-whatsapp"]
senders = ["Amazing"]

[[ops.operators]]
name = "soak"
token = "an-operator-of-the-soak"
role = "operator"
"""
_SENDGRID = """
[providers.sendgrid]
base_url = "{sendgrid}/v3"
token = "token-of-sendgrid"
webhook_public_key = "{sendgrid_key}"
timeout_seconds = {timeout_seconds}
unknown_after_seconds = {unknown_after_seconds}
unknown_send = "{unknown_send}"

[gateways.mailing]
type = "email"
provider = "sendgrid"
authorization = ["secret-of-mailing"]
"""
_PLATFORM = """
[providers.inbox]
adapter = "webhook"
url = "{platform}/notifications"
headers = {{ Authorization = "secret-of-the-platform" }}
callback_password = "password-of-reports"
timeout_seconds = {timeout_seconds}

[gateways.cim]
type = "cim"
provider = "inbox"
authorization = ["secret-of-cim"]
"""
