"""Mails handed to SendGrid: the request, and what every answer comes to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.exchange import MailReply, NoConnection, NoReply, Reply, Request, SendOutcome
from bridge.core.model import id_text
from bridge.providers import PROVIDERS
from bridge.providers.protocol import (
    Accepted,
    Answered,
    Blocked,
    Invalid,
    NoTrace,
    NotTaken,
    OutgoingMessage,
    PerhapsTaken,
    SendResult,
    TooLarge,
)
from bridge.providers.sendgrid import Sendgrid
from bridge.sim.sendgrid_checks import check_mail
from tests.providers.sendgrid.conftest import PASSWORD, TOKEN, Golden, MakeMessage, MakeSendgrid

OURS = "0197f3a2-b1c4-7d3e-8f00-112233445566"
PRIVATE = f"no@amazing.co +14085553911 {TOKEN} {PASSWORD} https://x:y@example.com/"
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=80)


def body_of(request: Request) -> dict[str, Any]:
    body = json.loads(request.body)
    assert isinstance(body, dict)
    return body


# --- requests ---


def test_registered() -> None:
    """The adapter's name in the settings leads to the module."""
    assert PROVIDERS["sendgrid"] is Sendgrid


def test_request(sendgrid: Sendgrid, make_message: MakeMessage, golden: Golden) -> None:
    """Smartico's sample becomes one `POST /mail/send` with every field, and the simulated SendGrid likes it."""
    request = sendgrid.build_send([make_message()])
    assert (request.method, request.url) == ("POST", "https://api.sendgrid.com/v3/mail/send")
    assert request.headers == {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert request.timeout == 70
    assert body_of(request) == json.loads(golden("send.json"))
    assert check_mail(body_of(request)) == []


def test_base_url(make_sendgrid: MakeSendgrid, make_message: MakeMessage) -> None:
    """Another address (the EU's) is used, with or without a slash at its end."""
    for url in ("https://api.eu.sendgrid.com/v3", "https://api.eu.sendgrid.com/v3/"):
        request = make_sendgrid(base_url=url, timeout_seconds=3).build_send([make_message()])
        assert (request.url, request.timeout) == ("https://api.eu.sendgrid.com/v3/mail/send", 3)


@pytest.mark.parametrize(
    ("text", "html", "types"),
    [
        ("a", "b", ["text/plain", "text/html"]),
        ("a", "", ["text/plain"]),
        ("a", " \n", ["text/plain"]),
        ("", "b", ["text/html"]),
        ("\t", "b", ["text/html"]),
    ],
)
def test_parts(sendgrid: Sendgrid, make_message: MakeMessage, text: str, html: str, types: list[str]) -> None:
    """Text comes before HTML, and what is blank is no part."""
    body = body_of(sendgrid.build_send([make_message(text=text, body=html)]))
    assert [part["type"] for part in body["content"]] == types
    assert check_mail(body) == []


def test_no_subject(sendgrid: Sendgrid, make_message: MakeMessage) -> None:
    """SendGrid takes no empty subject: it gets a blank one, which looks the same to who reads it."""
    body = body_of(sendgrid.build_send([make_message(subject="")]))
    assert body["subject"] == " "
    assert check_mail(body) == []


def test_no_reply_to(sendgrid: Sendgrid, make_message: MakeMessage) -> None:
    """Without an address for replies the field is left out."""
    assert "reply_to" not in body_of(sendgrid.build_send([make_message(reply_to="")]))


def test_no_extra(sendgrid: Sendgrid, make_message: MakeMessage) -> None:
    """A mail with nothing but its body is a mail."""
    body = body_of(sendgrid.build_send([make_message(extra=None)]))
    assert body["content"] == [{"type": "text/html", "value": "<html>..........</html>"}]
    assert check_mail(body) == []


@pytest.mark.parametrize(
    ("sender", "address"),
    [
        ("noreply@amazing.co", {"email": "noreply@amazing.co"}),
        ('"Amazing, Inc." <a@b.co>', {"email": "a@b.co", "name": "Amazing, Inc."}),
        ('"Say \\"hi\\"; now" <a@b.co>', {"email": "a@b.co", "name": 'Say "hi"; now'}),
        ("Grüße 😀 <a@b.co>", {"email": "a@b.co", "name": "Grüße 😀"}),
        ("Bücher <a@bücher.example>", {"email": "a@xn--bcher-kva.example", "name": "Bücher"}),
        ("=?utf-8?q?=0d=0aBcc=3A_x?= <a@b.co>", {"email": "a@b.co", "name": "=?utf-8?q?=0d=0aBcc=3A_x?="}),
        ("no mailbox", {"email": "no mailbox"}),
        ("a@b.co\r\nBcc: x@y.co", {"email": "a@b.co\r\nBcc: x@y.co"}),
    ],
)
def test_sender(sendgrid: Sendgrid, make_message: MakeMessage, sender: str, address: dict[str, str]) -> None:
    """Names stay whole, domains are ASCII; what is no mailbox is left for SendGrid to refuse."""
    body = body_of(sendgrid.build_send([make_message(sender=sender, reply_to=sender)]))
    assert body["from"] == body["reply_to"] == address


def test_recipient_with_a_foreign_domain(sendgrid: Sendgrid, make_message: MakeMessage) -> None:
    """The domain of the recipient goes as it goes over the wire."""
    body = body_of(sendgrid.build_send([make_message(destination="me@bücher.example")]))
    assert body["personalizations"][0]["to"] == [{"email": "me@xn--bcher-kva.example"}]


@given(subject=LINES, name=LINES, text=st.text(st.characters(exclude_categories=["Cs"])))
def test_texts_arrive_as_given(
    sendgrid: Sendgrid, make_message: MakeMessage, subject: str, name: str, text: str
) -> None:
    """Subject and bodies go as they came, whatever their characters are."""
    body = body_of(
        sendgrid.build_send([make_message(subject=subject, text=text, body=f"<p>{text}", sender=name)])
    )
    assert body["subject"] == (subject or " ")
    assert body["content"][-1] == {"type": "text/html", "value": f"<p>{text}"}
    assert not text.strip() or body["content"][0] == {"type": "text/plain", "value": text}


# --- answers ---


@pytest.mark.parametrize(
    ("header", "known_as"),
    [
        ("9aXb-cQ1T0eZ2", "9axb-cq1t0ez2"),
        (" 9aXb ", "9axb"),
        ("", OURS),
        ("x" * 201, OURS),
        ("a\0", OURS),
    ],
)
def test_taken(sendgrid: Sendgrid, make_message: MakeMessage, header: str, known_as: str) -> None:
    """202 is acceptance, under the id of the header, and under our own."""
    batch = [make_message()]
    outcome = Reply(202, b"", {"x-message-id": header})
    assert sendgrid.parse_send(batch, outcome) == Answered((Accepted(known_as, OURS),))
    assert sendgrid.parse_send(batch, Reply(202)) == Answered((Accepted(OURS, OURS),))


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Reply(400), Invalid("400", "HTTP 400")),
        (Reply(422), Invalid("422", "HTTP 422")),
        (Reply(413, b"<h1>Too large</h1>"), TooLarge("413", "HTTP 413")),
        (Reply(429), NotTaken("429", "HTTP 429")),
        (Reply(429, b"", {"retry-after": "7"}), NotTaken("429", "HTTP 429", 7.0)),
        (Reply(429, b"", {"x-ratelimit-reset": "1795190400"}), NotTaken("429", "HTTP 429")),
        *(
            (Reply(status), Blocked(str(status), f"HTTP {status}"))
            for status in (401, 402, 403, 404, 405, 415, 451)
        ),
        *(
            (Reply(status), PerhapsTaken(f"HTTP {status}"))
            for status in (100, 200, 201, 204, 301, 500, 503, 599)
        ),
        (NoConnection("refused"), NotTaken("no_connection", "refused")),
        (NoReply("no answer in time"), PerhapsTaken("no answer in time")),
        (MailReply("content", 250, "ok"), PerhapsTaken("an answer that is not HTTP")),
    ],
    ids=repr,
)
def test_answers(
    sendgrid: Sendgrid, make_message: MakeMessage, outcome: SendOutcome, result: SendResult
) -> None:
    """Each way in which an exchange can end comes to what it makes certain."""
    assert sendgrid.parse_send([make_message()], outcome) == result


def test_a_sender_that_nobody_verified(sendgrid: Sendgrid, make_message: MakeMessage) -> None:
    """A 403 about this mail's sender ends this mail; any other 403 is about us, and pauses the provider."""

    def judged(*fields: str | None) -> object:
        errors = [{"message": "not verified", "field": field} for field in fields]
        return sendgrid.parse_send([make_message()], Reply(403, json.dumps({"errors": errors}).encode()))

    assert isinstance(judged("from"), Invalid)
    assert isinstance(judged("from.email", "from"), Invalid)
    for others in ((), (None,), ("from", None), ("fromage",), ("subject",)):
        assert isinstance(judged(*others), Blocked), others


def test_errors(sendgrid: Sendgrid, make_message: MakeMessage, golden: Golden) -> None:
    """What SendGrid says of an error is told, without the addresses and keys in it."""
    batch = [make_message()]
    invalid = sendgrid.parse_send(batch, Reply(400, golden("error_400.json")))
    assert invalid == Invalid(
        "400",
        "HTTP 400: Does not contain a valid address. (personalizations.0.to.0.email): "
        "We found the duplicate ••• here (personalizations.0.to)",
    )
    blocked = sendgrid.parse_send(batch, Reply(401, golden("error_401.json")))
    assert blocked == Blocked("401", "HTTP 401: The provided authorization grant ••• is invalid")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'{"errors": null}',
        b'{"errors": [7]}',
        b'{"errors": [{"message": 7, "field": []}]}',
        b'{"errors": [{"field": "x"}]}',
        b'{"errors": []}',
        b"\xff",
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_unreadable_errors(sendgrid: Sendgrid, make_message: MakeMessage, body: bytes) -> None:
    """An error of another form is told by its status alone."""
    assert sendgrid.parse_send([make_message()], Reply(400, body)) == Invalid("400", "HTTP 400")


@pytest.mark.parametrize("status", [200, 400, 401, 413, 422, 429, 500])
def test_reasons_are_clean(sendgrid: Sendgrid, make_message: MakeMessage, status: int) -> None:
    """No reason holds a secret, a phone number, an address or a link."""
    body = json.dumps({"errors": [{"message": PRIVATE, "field": PRIVATE}]}).encode()
    for outcome in (Reply(status, body), NoConnection(PRIVATE), NoReply(PRIVATE)):
        told = repr(sendgrid.parse_send([make_message()], outcome))
        for secret in ("amazing.co", "4085553911", "top-secret", "ss/word", "x:y"):
            assert secret not in told


def test_reprs(sendgrid: Sendgrid, make_message: MakeMessage) -> None:
    """Neither the provider nor its request shows a secret or an address."""
    shown = repr(sendgrid) + repr(sendgrid.build_send([make_message()]))
    assert shown == "<Sendgrid sendgrid><Request POST api.sendgrid.com>"


@given(st.integers(100, 599), st.binary(max_size=200), st.dictionaries(st.text(), st.text()))
def test_any_answer(
    sendgrid: Sendgrid, make_message: MakeMessage, status: int, body: bytes, headers: dict[str, str]
) -> None:
    """Whatever bytes come, there is a result, and only 202 is acceptance."""
    result = sendgrid.parse_send([make_message()], Reply(status, body, headers))
    assert isinstance(result, Answered) == (status == 202)


def test_no_lookup(sendgrid: Sendgrid, make_message: MakeMessage) -> None:
    """It cannot be asked, and takes one mail at a time."""
    message: OutgoingMessage = make_message()
    assert (sendgrid.asks, sendgrid.max_batch) == (False, 1)
    assert sendgrid.parse_lookup(message, Reply(200)) == NoTrace()
    lookup: object = sendgrid.build_lookup(message)  # type: ignore[func-returns-value]
    assert lookup is None
    assert id_text(message.message_id) == OURS
