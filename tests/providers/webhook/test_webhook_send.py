"""Custom IMs handed to the operator's notification centre: the request, and what every answer comes to."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.exchange import MailReply, NoConnection, NoReply, Reply, SendOutcome
from bridge.providers.protocol import (
    Accepted,
    Answered,
    Blocked,
    Invalid,
    NoTrace,
    NotTaken,
    PerhapsTaken,
    SendResult,
    TooLarge,
)
from bridge.providers.webhook import Webhook
from bridge.secret import Secret
from tests.providers.webhook.conftest import PASSWORD, SECRET, MakeMessage, MakeWebhook

OURS = "0197f3a2-b1c4-7d3e-8f00-112233445566"
CALLBACK_URL = "https://in%40box:pa%3Ass%2Fword@bridge.example/callbacks/inbox"
EXTENSION = (
    b'{\n    "title": "Microsoft is raising",\n    "description": "The bullish trend...",\n'
    b'    "action": "BUY/SELL",\n    "instrument": "MSFT"\n  }'
)
PRIVATE = f"no@amazing.co +14085553911 {SECRET} {PASSWORD} https://x:y@example.com/"


def test_request(webhook: Webhook, make_message: MakeMessage) -> None:
    """Smartico's sample becomes one POST with the five documented fields, its extension byte by byte."""
    request = webhook.build_send([make_message(EXTENSION)])
    assert (request.method, request.url) == ("POST", "https://platform.example/notifications")
    assert request.headers == {"Content-Type": "application/json", "Authorization": SECRET}
    assert request.timeout == 70
    assert EXTENSION in request.body
    assert json.loads(request.body) == {
        "ext_message_id": OURS,
        "ext_user_id": "hhu234556",
        "body": "Best offer ever",
        "extension": json.loads(EXTENSION),
        "callback_url": CALLBACK_URL,
    }


@pytest.mark.parametrize(
    "extension",
    [
        b"null",
        b"true",
        b"0",
        b"-0.0",
        b"1e400",
        b"1.10",
        b"12345678901234567890123456789",
        b'""',
        b'"\\u00e9 \\/ \\ud83d\\ude00"',
        '"é 😀 \u2028"'.encode(),
        b"[]",
        b"[ 1 , [ ] , { } ]",
        b"{}",
        b'{"b": 1, "a": 2, "b": 3}',
        b'{"a"  :\t1,\r\n"\\u0061": 2}',
        b"[" * 500 + b"]" * 500,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_extension(webhook: Webhook, make_message: MakeMessage, extension: bytes) -> None:
    """An extension of any shape goes on byte by byte: numbers, spaces, repeated keys and escapes as they came."""
    body = webhook.build_send([make_message(extension)]).body
    assert b'"extension":' + extension + b',"callback_url"' in body


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(JSON, st.booleans(), st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_any_extension(
    webhook: Webhook, make_message: MakeMessage, value: object, escaped: bool, body: str
) -> None:
    """Whatever the extension and the text are, both arrive as they were given."""
    extension = json.dumps(value, ensure_ascii=escaped, indent=1).encode()
    raw = webhook.build_send([make_message(extension, body=body)]).body
    assert extension in raw
    assert json.loads(raw)["body"] == body


def test_no_extra(webhook: Webhook, make_message: MakeMessage) -> None:
    """A message without an extension has a null in its place."""
    assert json.loads(webhook.build_send([make_message(extra=None)]).body)["extension"] is None


def test_headers(make_webhook: MakeWebhook, make_message: MakeMessage) -> None:
    """Headers of Smartico go on, but those of the settings and the content type win, in any case."""
    provider = make_webhook(headers={"X-Secret": Secret("ours")}, timeout_seconds=3)
    passed = {
        "x-secret": "theirs",
        "X-Brand": "Amazing",
        "content-TYPE": "text/plain",
        "authorization": "a b",
    }
    request = provider.build_send([make_message(headers=passed)])
    assert request.headers == {
        "X-Brand": "Amazing",
        "authorization": "a b",
        "Content-Type": "application/json",
        "X-Secret": "ours",
    }
    assert request.timeout == 3


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        *((Reply(status, b"x"), Answered((Accepted(OURS),))) for status in (200, 201, 202, 204, 299)),
        (Reply(400, b"bad"), Invalid("400", "HTTP 400: bad")),
        (Reply(422), Invalid("422", "HTTP 422")),
        (Reply(413), TooLarge("413", "HTTP 413")),
        (Reply(429), NotTaken("429", "HTTP 429")),
        (Reply(429, b"", {"retry-after": "7"}), NotTaken("429", "HTTP 429", 7.0)),
        *(
            (Reply(status), Blocked(str(status), f"HTTP {status}"))
            for status in (401, 402, 403, 404, 409, 499)
        ),
        *((Reply(status), PerhapsTaken(f"HTTP {status}")) for status in (100, 301, 500, 503, 599)),
        (NoConnection("refused"), NotTaken("no_connection", "refused")),
        (NoReply("no answer in time"), PerhapsTaken("no answer in time")),
        (MailReply("content", 250, "ok"), PerhapsTaken("an answer that is not HTTP")),
    ],
    ids=repr,
)
def test_answers(
    webhook: Webhook, make_message: MakeMessage, outcome: SendOutcome, result: SendResult
) -> None:
    """Each way in which an exchange can end comes to what it makes certain."""
    assert webhook.parse_send([make_message()], outcome) == result


@pytest.mark.parametrize("status", [400, 401, 413, 422, 429, 500])
def test_reasons_are_clean(webhook: Webhook, make_message: MakeMessage, status: int) -> None:
    """No reason holds a secret, a phone number, an address or a link."""
    for outcome in (Reply(status, PRIVATE.encode()), NoConnection(PRIVATE), NoReply(PRIVATE)):
        told = repr(webhook.parse_send([make_message()], outcome))
        for secret in ("amazing.co", "4085553911", SECRET, "ss/word", "x:y"):
            assert secret not in told


def test_reason_that_is_cut(webhook: Webhook, make_message: MakeMessage) -> None:
    """A secret at the end of what is read of an answer does not show by halves."""
    body = (
        b"1" * 490 + b" " + SECRET.encode()
    )  # so many digits are hidden: what follows them comes into sight
    told = repr(webhook.parse_send([make_message()], Reply(400, body)))
    assert "inbox-to" not in told


def test_reprs(webhook: Webhook, make_message: MakeMessage) -> None:
    """Neither the provider nor its request shows a secret."""
    shown = repr(webhook) + repr(webhook.build_send([make_message()]))
    assert shown == "<Webhook inbox><Request POST platform.example>"


@given(st.integers(100, 599), st.binary(max_size=600), st.dictionaries(st.text(), st.text()))
def test_any_answer(
    webhook: Webhook, make_message: MakeMessage, status: int, body: bytes, headers: dict[str, str]
) -> None:
    """Whatever bytes come, there is a result, and only 2xx is acceptance."""
    result = webhook.parse_send([make_message()], Reply(status, body, headers))
    assert isinstance(result, Answered) == (200 <= status < 300)


def test_no_lookup(webhook: Webhook, make_message: MakeMessage) -> None:
    """It cannot be asked, takes one message at a time, and signs nothing."""
    assert (webhook.asks, webhook.max_batch, webhook.signs) == (False, 1, ())
    assert webhook.parse_lookup(make_message(), Reply(200)) == NoTrace()
    lookup: object = webhook.build_lookup(make_message())  # type: ignore[func-returns-value]
    assert lookup is None
