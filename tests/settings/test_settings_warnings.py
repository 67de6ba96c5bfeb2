"""What the settings allow but say a word about."""

from __future__ import annotations

import pytest

from tests.settings.support import parse

QUIET = """
[server]
public_url = "https://bridge.example"
[providers.revicom]
[gateways.sms]
senders = ["MyBrand"]
"""


def test_no_warning() -> None:
    """Settings fit for the world give no warning."""
    assert parse(QUIET).warnings == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('inbound.forward_url = "http://a.example"', ["inbound.forward_url: http://"]),
        ('smartico.fallback_callback_url = "http://a.example"', ["smartico.fallback_callback_url: http://"]),
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
            'providers.i = { adapter = "revicom", base_url = "http://127.0.0.1:1" }',
            ["providers.i.base_url: http://", "providers.i.base_url: … loopback"],
        ),
        ('gateways.b = { authorization = ["s"] }', ["gateways.b.senders: … Amazing"]),
        ("providers.mail = {}", ["providers.mail.host: … loopback"]),
        ("providers.sendgrid = {}", ["providers.sendgrid: … events"]),
        (
            'providers.inbox = { url = "https://a.localhost" }\ngateways.cim = {}',
            ["providers.inbox.url: … loopback"],
        ),
        (
            "providers.sendgrid = { callback_password = 'p' }\ngateways.email = { provider = 'sendgrid' }",
            [],
        ),
    ],
)
def test_warnings(text: str, expected: list[str]) -> None:
    """What is the operator's word, or will be missed, is said in one sentence each."""
    quiet = QUIET.replace("[server]\n", "server.").replace(
        "[providers.revicom]\n", "providers.revicom = {}\n"
    )
    quiet = quiet.replace("[gateways.sms]\n", "gateways.sms.")
    warnings = parse(quiet + text).warnings
    assert len(warnings) == len(expected), warnings
    for warning, parts in zip(warnings, expected, strict=True):
        start, _, inside = parts.partition(" … ")
        assert warning.startswith(start)
        assert inside in warning
        assert warning.endswith(".")
