"""Status reports to Smartico: the requests written, the replies read."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply
from bridge.secret import Secret
from bridge.smartico import (
    Done,
    Hopeless,
    NotFound,
    RefusedReport,
    StatusAddress,
    StatusReply,
    TryLater,
    Unauthorized,
    read_status_reply,
)

KEY = Secret("48a8-11ee-be56-0242")


# --- status requests ---


def build(url: str, **changes: Any) -> str:
    """The address of a status request."""
    values: dict[str, Any] = {
        "type": "sms",
        "ext_message_id": "0197f3a2-b1c4",
        "status": "delivered",
        "api_key": KEY,
        "timeout": 10.0,
    }
    values |= changes
    address = StatusAddress(url, values["type"], values["api_key"])
    assert "48a8" not in repr(address)
    request = address.request(values["ext_message_id"], values["status"], values["timeout"])
    assert (request.method, request.body, request.timeout) == ("GET", b"", 10.0)
    assert "smartico" in repr(request)
    assert "48a8" not in repr(request)
    return request.url


OURS = "type=sms&ext_message_id=0197f3a2-b1c4&status=delivered&api_key=48a8-11ee-be56-0242"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.smartico.ai/x/", f"https://a.smartico.ai/x/?{OURS}"),
        ("https://a.smartico.ai", f"https://a.smartico.ai?{OURS}"),
        ("https://a.smartico.ai/x?", f"https://a.smartico.ai/x?{OURS}"),
        ("https://a.smartico.ai/x?a=1&b", f"https://a.smartico.ai/x?a=1&b&{OURS}"),
        ("https://a.smartico.ai/x?b=%20+%2B&a=?/", f"https://a.smartico.ai/x?b=%20+%2B&a=?/&{OURS}"),
        ("https://a.smartico.ai/x?a=1#status=read", f"https://a.smartico.ai/x?a=1&{OURS}"),
        ("https://a.smartico.ai/x#?a=1", f"https://a.smartico.ai/x?{OURS}"),
        (
            "https://a.smartico.ai/x?status=read&a=1&status=x&%73tatus&api%5Fkey=mine&Status=1",
            f"https://a.smartico.ai/x?a=1&Status=1&{OURS}",
        ),
    ],
)
def test_status_request(url: str, expected: str) -> None:
    """Our parameters join those of the address, and replace equal names in whatever spelling."""
    assert build(url) == expected


def test_values_are_encoded() -> None:
    """No value can become another parameter."""
    url = build("https://a.smartico.ai/", api_key=Secret("a&b=c#d e/é"), type="x?")
    assert "?type=x%3F&" in url
    assert url.endswith("&api_key=a%26b%3Dc%23d%20e%2F%C3%A9")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["type", "%74ype", "status", "a", "b%26", "A+", ""])
            | st.text("abc%+;", min_size=1, max_size=4),
            st.none() | st.text("abc=%+;?/", max_size=4),
        ),
        max_size=6,
    )
)
def test_foreign_parameters(pairs: list[tuple[str, str | None]]) -> None:
    """Foreign parameters stay byte for byte and in order; ours are there once, and last."""
    segments = [name if value is None else f"{name}={value}" for name, value in pairs]
    names = ("type", "ext_message_id", "status", "api_key")
    foreign = [each for each in segments if each and unquote_plus(each.partition("=")[0]) not in names]
    query = urlsplit(build(f"https://a.smartico.ai/x?{'&'.join(segments)}")).query
    assert query == "&".join([*foreign, OURS])
    assert [name for name, _ in parse_qsl(query) if name in names] == list(names)


# --- replies to status requests ---


def unreadable(retry_after: float | None = None, status: int = 200) -> TryLater:
    return TryLater("unreadable", f"HTTP {status} without a readable error_code", retry_after, False)


WAIT = {"retry-after": "30"}


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Reply(200, b'{"error_code": 0}'), Done()),
        (Reply(200, b'{\n  "error_code": 0,\n}\n'), Done()),
        (Reply(200, b'{"error_code": "0", "x": [1,],}'), Done()),
        (Reply(204, b'{"error_code": 0}'), Done()),
        (Reply(200, b'{"error_code": 0, "error_message": "not found"}'), Done()),
        (
            Reply(200, b'{"error_code": 1, "error_message": "email was not found"}'),
            NotFound("error_code 1: email was not found"),
        ),
        (
            Reply(200, b'{"error_code": 7, "error_message": "NOT Found",}'),
            NotFound("error_code 7: NOT Found"),
        ),
        (Reply(200, b'{"error_code": 1, "error_message": ",}"}'), RefusedReport(1, "error_code 1: ,}")),
        (Reply(200, b'{"error_code": "12"}'), RefusedReport(12, "error_code 12")),
        (Reply(200, b'{"error_code": 3, "error_message": ["not found"]}'), RefusedReport(3, "error_code 3")),
        (Reply(200, b""), unreadable()),
        (Reply(200, b"OK", WAIT), unreadable(30.0)),
        (Reply(202, b"{}"), unreadable(status=202)),
        (Reply(200, b'{"error_code": null}'), unreadable()),
        (Reply(200, b'{"error_code": true}'), unreadable()),
        (Reply(200, b'{"error_code": 0.0}'), unreadable()),
        (Reply(200, b'{"error_code": -1}'), unreadable()),
        (Reply(200, b'{"error_code": "none"}'), unreadable()),
        (Reply(200, b'{"error_code": "0\\n"}'), unreadable()),
        (Reply(200, b'{"error_code": 9' + b"0" * 5000 + b"}"), unreadable()),
        (Reply(200, b'[{"error_code": 0}]'), unreadable()),
        (Reply(200, b"[" * 100_000), unreadable()),
        (Reply(200, b'{"error_code": 1, "error_message": "\xff"}'), unreadable()),
        (NoConnection("refused"), TryLater("no_connection", "refused", None, True)),
        (NoReply("timed out"), TryLater("no_reply", "timed out", None, True)),
        (Reply(500, b'{"error_code": 0}'), TryLater("server_error", "HTTP 500", None, True)),
        (Reply(503, headers=WAIT), TryLater("server_error", "HTTP 503", 30.0, True)),
        (Reply(429, headers=WAIT), TryLater("throttled", "HTTP 429", 30.0, False)),
        (Reply(429, headers={"retry-after": "soon"}), TryLater("throttled", "HTTP 429", None, False)),
        (Reply(401), Unauthorized("HTTP 401")),
        (Reply(403, b'{"error_code": 0}'), Unauthorized("HTTP 403")),
        (Reply(302, b'{"error_code": 0}', {"location": "https://x"}), Hopeless("HTTP 302")),
        (Reply(304), Hopeless("HTTP 304")),
        (Reply(400), Hopeless("HTTP 400")),
        (Reply(404, b"not found"), Hopeless("HTTP 404")),
        (Reply(408), Hopeless("HTTP 408")),
    ],
    ids=repr,
)
def test_status_replies(outcome: Outcome, expected: StatusReply) -> None:
    """Every outcome has its row in the table of the contract."""
    assert read_status_reply(outcome) == expected


def test_texts_hold_no_secrets() -> None:
    """Whatever a reply repeats, no text has the key, an address, a number or a control character."""
    leak = f"{KEY.reveal()} https://a/?api_key=1 +14085553911 john@example.com \x1b[31m\n" + "x" * 500
    for text in (leak, f"not found {leak}"):
        body = json.dumps({"error_code": 5, "error_message": text}).encode()
        for outcome in (Reply(200, body), NoConnection(text), NoReply(text)):
            result = read_status_reply(outcome, KEY)
            assert isinstance(result, NotFound | RefusedReport | TryLater)
            shown = result.reason if isinstance(result, TryLater) else result.text
            for secret in ("48a8", "https", "4085", "john", "\x1b", "\n"):
                assert secret not in shown
            assert len(shown) <= 200


@given(st.integers(100, 599), st.binary(max_size=200))
def test_any_reply(status: int, body: bytes) -> None:
    """No reply raises, and nothing but a 2xx is ever done."""
    result = read_status_reply(Reply(status, body))
    assert 200 <= status < 300 or not isinstance(result, Done)
