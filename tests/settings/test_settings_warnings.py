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
        (
            'inbound.forward_url = "https://a.example"',
            ["inbound.forward_url: … not built in this version and stays off"],
        ),
        ('smartico.fallback_callback_url = "http://a.example"', ["smartico.fallback_callback_url: http://"]),
        (
            "smartico.allow_insecure_callbacks = true",
            ["smartico.allow_insecure_callbacks: … leave this to tests"],
        ),
        (
            'contacts = { source = "http", http = { url = "https://[::1]/{ext_user_id}" } }',
            ["contacts.http.url: … loopback", "contacts.source: … not built"],
        ),
        ("communications = {}", ["communications: … not built"]),
        (
            'communications = { forward_url = "http://a.example" }',
            ["communications.forward_url: http://", "communications: … not built"],
        ),
        (
            'providers.i = { adapter = "revicom", base_url = "http://127.0.0.1:1" }',
            ["providers.i.base_url: http://", "providers.i.base_url: … loopback"],
        ),
        ('gateways.b = { authorization = ["s"] }', ["gateways.b.senders: … Amazing"]),
        ("providers.mail = {}", ["providers.mail.host: … loopback", "providers.mail: … not built"]),
        ("providers.sendgrid = {}", ["providers.sendgrid: … not built"]),
        (
            'providers.inbox = { url = "https://a.localhost" }\ngateways.cim = {}',
            ["providers.inbox.url: … loopback", "providers.inbox: … not built", "gateways.cim: … not built"],
        ),
        (
            "providers.sendgrid = {}\ngateways.email = { provider = 'sendgrid' }",
            ["providers.sendgrid: … not built", "gateways.email: … not built"],
        ),
    ],
)
def test_warnings(text: str, expected: list[str]) -> None:
    """What is the operator's word, or not built yet, is said in one sentence each."""
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
