"""Asking Revicom for a message that was perhaps sent, and the questions of `bridge check`."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply
from bridge.providers.protocol import Found, LookupFailed, NoTrace, OutgoingMessage
from bridge.providers.revicom import CheckFailed, Revicom

TAG = "0197f3a2b1c47d3e8f00112233445566"
FOREIGN = {"messageUuid": "x", "tags": ["other"]}

MakeMessage = Callable[..., OutgoingMessage]


def look_up(revicom: Revicom, message: OutgoingMessage, answer: object, status: int = 200) -> object:
    """What the look-up makes of this answer."""
    return revicom.parse_lookup(message, Reply(status, json.dumps(answer).encode()))


def test_lookup_request(revicom: Revicom, make_message: MakeMessage) -> None:
    """The look-up asks by tag and digits, with the token, and with no filter on time."""
    request = revicom.build_lookup(make_message())
    address = urlsplit(request.url)
    assert (request.method, address.path, request.body) == ("GET", "/api/v1/message", b"")
    assert parse_qs(address.query) == {"tags": [TAG], "destination": ["14085553911"]}
    assert request.headers == {"Authorization": "Basic a2V5OnRvcC1zZWNyZXQ="}
    assert request.timeout == 70


def test_documented_message(
    revicom: Revicom, make_message: MakeMessage, golden: Callable[[str], bytes]
) -> None:
    """A message as the documentation shows it is found, in lower case, inside an object and bare."""
    found = Found("063464ec-9999-4558-90c5-984395000001")
    document = json.loads(golden("lookup_object.json"))
    assert look_up(revicom, make_message(), document) == found
    assert look_up(revicom, make_message(), document["items"]) == found


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([], NoTrace()),
        ({"items": []}, NoTrace()),
        ({"messages": [], "total": 0}, NoTrace()),
        ([FOREIGN], NoTrace()),
        ([{"messageUuid": "a", "tags": []}], NoTrace()),
        ([{"messageUuid": "a", "tags": [TAG], "direction": "inbound"}], NoTrace()),
        ([{"messageUuid": "a", "destination": "4915112345678"}], NoTrace()),
        ([{"messageUuid": "A"}], Found("a")),
        ([{"messageUuid": "a", "direction": "OUTBOUND", "tags": [1, TAG.upper()]}], Found("a")),
        ([{"messageUuid": "a", "destination": "+14085553911"}], Found("a")),
        ([{"messageUuid": "a", "destination": "1408•••3911"}], Found("a")),
        ([FOREIGN, {"messageUuid": "a", "tags": [TAG]}], Found("a")),
        ([{}, None, 7, {"messageUuid": "a"}], Found("a")),
        ({"data": [{"messageUuid": "a"}], "total": 1}, Found("a")),
        ({"errors": [], "items": [{"messageUuid": "a"}]}, Found("a")),
    ],
)
def test_what_is_found(revicom: Revicom, make_message: MakeMessage, answer: object, expected: object) -> None:
    """Only messages that may be ours are found, in whatever envelope they come."""
    assert look_up(revicom, make_message(), answer) == expected


@pytest.mark.parametrize(
    ("messages", "root"),
    [
        ([("b", "a", None), ("a", "a", None)], "a"),
        ([("b", "A", None), ("c", "a", None)], "a"),
        ([("b", None, "2026-01-01T00:00:02Z"), ("c", None, "2026-01-01T01:00:01+01:00")], "c"),
        ([("b", None, None), ("c", None, "2026-01-01T00:00:02Z")], "c"),
        ([("b", "x", None), ("c", "y", None)], "b"),
        ([("b", None, "soon"), ("c", "", 7)], "b"),
    ],
)
def test_root_of_several(
    revicom: Revicom, make_message: MakeMessage, messages: list[tuple[object, object, object]], root: str
) -> None:
    """Of several messages the first of the cascade is meant, else the earliest, else the first."""
    answer = [
        {"messageUuid": uuid, "cascadeMessageUuid": cascade, "createdTime": created}
        for uuid, cascade, created in messages
    ]
    assert look_up(revicom, make_message(), answer) == Found(root)


@pytest.mark.parametrize(
    "outcome",
    [
        NoConnection("refused"),
        NoReply("timed out"),
        Reply(404),
        Reply(401, b'{"error": {"code": 4012}}'),
        Reply(500),
        Reply(302),
        Reply(200, b""),
        Reply(200, b"null"),
        Reply(200, b"{}"),
        Reply(200, b'{"total": 0}'),
        Reply(200, b'{"a": [], "b": []}'),
        Reply(200, b"[" * 100_000),
        Reply(200, b'[{"uuid": "a"}]'),
        Reply(200, b'[{"messageUuid": 7}]'),
    ],
    ids=repr,
)
def test_failed(revicom: Revicom, make_message: MakeMessage, outcome: Outcome) -> None:
    """An answer that cannot be read says nothing about the message: above all not that there is no trace."""
    assert isinstance(revicom.parse_lookup(make_message(), outcome), LookupFailed)


@given(status=st.integers(200, 599), body=st.binary(max_size=200))
def test_any_bytes(revicom: Revicom, make_message: MakeMessage, status: int, body: bytes) -> None:
    """No answer raises."""
    revicom.parse_lookup(make_message(), Reply(status, body))
    revicom.parse_balance(Reply(status, body))
    revicom.parse_ping(Reply(status, body))


def test_balance(revicom: Revicom, golden: Callable[[str], bytes]) -> None:
    """The balance is asked for with the token, and shown to the last digit."""
    request = revicom.build_balance()
    assert request.url == "https://direct.revicom.ltd/api/v1/balance"
    assert request.headers == {"Authorization": "Basic a2V5OnRvcC1zZWNyZXQ="}
    assert revicom.parse_balance(Reply(200, golden("balance.json"))) == "1200.00 USD, 3.5 EUR"


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (
            Reply(401, b'{"error": {"code": 4012, "msg": "Bad credentials"}}'),
            "HTTP 401, error 4012: Bad credentials",
        ),
        (NoConnection("refused"), "refused"),
        (Reply(200, b"PONG"), "the balance could not be read"),
        (Reply(200, b'{"USD": "NaN"}'), "the balance could not be read"),
        (Reply(200, b'{"USD": 1' + b"0" * 99 + b"}"), "the balance could not be read"),
        (Reply(200, b'{"a b": 1}'), "the balance could not be read"),
    ],
)
def test_balance_that_fails(revicom: Revicom, outcome: Outcome, reason: str) -> None:
    """What is wrong with the account becomes a sentence."""
    assert revicom.parse_balance(outcome) == CheckFailed(reason)


def test_ping(revicom: Revicom) -> None:
    """The ping carries no token, and any 2xx is an answer."""
    request = revicom.build_ping()
    assert (request.url, request.headers) == ("https://direct.revicom.ltd/api/v1/ping", {})
    assert revicom.parse_ping(Reply(200, b"PONG")) == "HTTP 200"
    assert revicom.parse_ping(Reply(404)) == CheckFailed("HTTP 404")
