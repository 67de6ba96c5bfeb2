"""What the settings allow but say a word about."""

from __future__ import annotations

import pytest

from tests.settings.support import ENVIRON, parse

QUIET = """
[server]
public_url = "https://bridge.example"
[providers.revicom]
[gateways.sms]
senders = ["MyBrand"]
[[ops.operators]]
name = "alice"
"""
# The same without tables, so that lines can be added behind it.
QUIET_LINES = """
server.public_url = "https://bridge.example"
providers.revicom = {}
gateways.sms.senders = ["MyBrand"]
ops.operators = [{ name = "alice" }]
"""
SMS_2 = 'gateways.b = { authorization = ["another-secret"], senders = ["MyBrand"]'
EMAIL = "gateways.email = {}\n"


def test_no_warning() -> None:
    """Settings fit for the world give no warning."""
    assert parse(QUIET).warnings == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('inbound.forward_url = "http://a.example"', ["inbound.forward_url: http://"]),
        (
            'smartico.fallback_callback_url = "http://a.smartico.ai"',
            ["smartico.fallback_callback_url: http://"],
        ),
        (
            "smartico.allow_insecure_callbacks = true",
            ["smartico.allow_insecure_callbacks: … leave this to tests"],
        ),
        (
            'contacts = { source = "http", http = { url = "https://[::1]/{ext_user_id}" } }',
            ["contacts.http.url: … loopback"],
        ),
        ("communications = {}", []),
        (
            'communications = { forward_url = "http://a.example" }',
            ["communications.forward_url: http://"],
        ),
        (
            'providers.i = { adapter = "revicom", base_url = "http://127.0.0.1:1" }\n'
            + SMS_2
            + ', provider = "i" }',
            ["providers.i.base_url: http://", "providers.i.base_url: … loopback"],
        ),
        ('gateways.b = { authorization = ["another-secret"] }', ["gateways.b.senders: … Amazing"]),
        ("providers.mail = {}\n" + EMAIL, ["providers.mail.host: … loopback"]),
        (
            "providers.sendgrid = {}\ngateways.email.provider = 'sendgrid'",
            ["providers.sendgrid: … events"],
        ),
        (
            'providers.inbox = { url = "https://a.localhost" }\ngateways.cim = {}',
            ["providers.inbox.url: … loopback"],
        ),
        (
            "providers.sendgrid = { callback_password = 'long-enough' }\ngateways.email = { provider = 'sendgrid' }",
            [],
        ),
    ],
)
def test_warnings(text: str, expected: list[str]) -> None:
    """What is the operator's word, or will be missed, is said in one sentence each."""
    warnings = parse(QUIET_LINES + text).warnings
    assert len(warnings) == len(expected), warnings
    for warning, parts in zip(warnings, expected, strict=True):
        start, _, inside = parts.partition(" … ")
        assert warning.startswith(start)
        assert inside in warning
        assert warning.endswith((".", "?"))


@pytest.mark.parametrize(
    "sample",
    [
        "CHANGEME",
        "change-me-please",
        "YOUR_API_KEY",
        "<token>",
        "secret",
        "Password",
        "xxx",
        "...",
        "my-api-key",
    ],
)
def test_samples_that_were_left(sample: str) -> None:
    """A secret that looks as if it came out of an example is said, and not shown."""
    warnings = parse(QUIET_LINES + f'smartico.api_key = "{sample}"').warnings
    assert warnings == ("smartico.api_key: this looks like a sample: write the real one.",)


@pytest.mark.parametrize("written", ["$SMARTICO_API_KEY", "$(cat key)", "%API_KEY%", "{{ api_key }}"])
def test_variables_of_somebody_else(written: str) -> None:
    """What a shell, Windows or a template would fill in is taken as it stands, which is said."""
    (warning,) = parse(QUIET_LINES + f'smartico.api_key = "{written}"').warnings
    assert warning.startswith("smartico.api_key: this is taken as it stands: write ${NAME}")


def test_quotation_marks_of_an_env_file() -> None:
    """Docker hands the quotation marks of an env file on: they would be a part of the secret."""
    (warning,) = parse(QUIET, ENVIRON | {"SMARTICO_API_KEY": '"api-key-secret"'}).warnings
    assert warning.startswith("smartico.api_key: quotation marks are a part of it")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            SMS_2.replace("another-secret", "${SMARTICO_SMS_SECRET}") + " }",
            "gateways.b.authorization[0]: it is the same as gateways.sms.authorization[0]",
        ),
        (
            SMS_2.replace("another-secret", "${REVICOM_CALLBACK_PASSWORD}") + " }",
            "gateways.b.authorization[0]: it is the same as providers.revicom.callback_password",
        ),
        (
            SMS_2.replace("another-secret", "${SMARTICO_API_KEY}") + " }",
            "gateways.b.authorization[0]: it is the same as smartico.api_key",
        ),
        (SMS_2.replace("another-secret", "short") + " }", "gateways.b.authorization[0]: it is short enough"),
    ],
)
def test_one_secret_for_two_doors(text: str, expected: str) -> None:
    """A secret that others show to us is its own, and too long to be guessed; both places are named."""
    (warning,) = parse(QUIET_LINES + text).warnings
    assert warning.startswith(expected)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://0.0.0.0", "server.public_url: 0.0.0.0 is only for server.host"),
        ("https://10.1.2.3", "server.public_url: this is a private address"),
        ("https://a.example/callbacks/revicom", "server.public_url: the bridge adds its own paths"),
        ("https://a.example:8080", "server.public_url: port 8080 is that of server.port"),
    ],
)
def test_a_public_url_that_nobody_reaches(url: str, expected: str) -> None:
    """What cannot be right for a provider that calls back is said, with what to write."""
    (warning,) = parse(QUIET_LINES.replace("https://bridge.example", url)).warnings
    assert warning.startswith(expected)


def test_a_path_in_front_is_no_mistake() -> None:
    """Behind a proxy the bridge may live below a path."""
    assert parse(QUIET_LINES.replace("bridge.example", "a.example/bridge")).warnings == ()


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (
            'smartico.allowed_ips = ["192.0.2.0/24"]',
            "smartico.allowed_ips: behind a proxy everybody has its address",
        ),
        (
            'server.trusted_proxies = ["0.0.0.0/0"]',
            "server.trusted_proxies[0]: 0.0.0.0/0 lets almost anybody",
        ),
        ("ops.secure_cookies = false", "ops.secure_cookies: false is for tests"),
        ("smartico.callback_hosts = []", "smartico.callback_hosts: none is allowed"),
        (
            'smartico.fallback_callback_url = "https://a.example/x"',
            "smartico.fallback_callback_url: it names a host that is not in callback_hosts",
        ),
        ('providers.other = { adapter = "revicom" }', "providers.other: no gateway uses it"),
        (SMS_2 + ', channel = "sms" }', 'gateways.b.channel: … did you mean "SMS"?'),
        (SMS_2 + ', channel = "VIBER" }', "gateways.b.channel: … known are SMS, WHATSAPP"),
        ("smartico.timeout_seconds = 10000", "smartico.timeout_seconds: 10000 s are 2.8 hours"),
        (
            "providers.revicom.timeout_seconds = 70000",
            "providers.revicom.timeout_seconds: 70000 s are 19.4 hours",
        ),
        ("smartico.retry_schedule = [5000, 15000]", "smartico.retry_schedule[0]: 5000 s are 1.4 hours"),
        ("smartico.retry_schedule = [60, 5]", "smartico.retry_schedule: the delays shrink"),
    ],
)
def test_what_is_allowed_and_hardly_meant(text: str, start: str) -> None:
    """One sentence for each, with its key path and the mend."""
    lines = (
        QUIET_LINES.replace("providers.revicom = {}\n", "") if "providers.revicom." in text else QUIET_LINES
    )
    (warning,) = parse(lines + text).warnings
    start, _, inside = start.partition(" … ")
    assert warning.startswith(start)
    assert inside in warning


@pytest.mark.parametrize(
    ("sender", "fits"),
    [
        ("MyBrand", True),
        ("sms_promo", True),
        ("+447700900123", True),
        ("MyBrand2026", True),
        ("MyBrand-2026", False),
        ("Käsino", False),
        ("1234567890123456", False),
    ],
)
def test_senders_that_a_phone_can_show(sender: str, fits: bool) -> None:
    """At most 11 letters, digits and signs, or 15 digits; for other channels than SMS a name may be long."""
    lines = QUIET_LINES.replace("MyBrand", sender)
    warnings = parse(lines).warnings
    assert [each.split(":")[0] for each in warnings] == ([] if fits else ["gateways.sms.senders[0]"])
    assert parse(lines + 'gateways.sms.channel = "WHATSAPP"').warnings == ()


def test_what_is_missing_is_said() -> None:
    """Settings without gateways and operators can be used, and do nothing."""
    warnings = parse('server.public_url = "https://bridge.example"').warnings
    assert [each.split(":")[0] for each in warnings] == ["gateways", "ops.operators"]


def test_secure_cookies_need_https() -> None:
    """With an address of http:// nobody could stay signed in; on this machine browsers make an exception."""
    lines = QUIET_LINES.replace("https://bridge.example", "http://bridge.example")
    assert any(each.startswith("ops.secure_cookies: browsers") for each in parse(lines).warnings)
    lines = QUIET_LINES.replace("https://bridge.example", "http://127.0.0.1:8080")
    assert not any(each.startswith("ops.") for each in parse(lines).warnings)
