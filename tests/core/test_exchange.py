"""The values of an exchange show nothing that must not be seen."""

from __future__ import annotations

from bridge.core.exchange import Mail, MailReply, Request


def test_a_request_shows_its_host_alone() -> None:
    """Neither the path and query, where ids and keys stand, nor headers and body."""
    request = Request("GET", "https://user:word@api.example/path?api_key=word", 1.0, {"a": "word"}, b"word")
    assert repr(request) == "<Request GET api.example>"


def test_a_mail_shows_nothing() -> None:
    """Its addresses and content belong to people."""
    assert repr(Mail("from@example.com", "to@example.com", b"word", 1.0)) == "<Mail>"


def test_the_reason_of_a_mail_server() -> None:
    """Where it refused, with which code, and its words."""
    assert MailReply("recipient", 550, "no such user").reason == "recipient: 550 no such user"
