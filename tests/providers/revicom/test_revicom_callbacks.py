"""The callbacks of Revicom: who sent them, and how many elements they have, whatever some of them look like."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.model import DeliveryReport, Malformed
from bridge.providers.protocol import CallbackUnreadable
from bridge.providers.revicom import Revicom
from bridge.secret import Secret

GOOD = b'{"message_uuid":"a","callback_event":"sent","status":"sent"}'


def basic(credentials: str) -> str:
    return f"Basic {b64encode(credentials.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic("revi@com:pa:ss/word"), True),
        (basic("revi@com:pa:ss/word").replace("Basic", "bASIC"), True),
        (basic("revi@com:pa:ss/wor"), False),
        (basic("revi@com:"), False),
        (basic(":pa:ss/word"), False),
        (basic("revi@com:pa:ss/word") + "=", False),
        (basic("revi@com:pa:ss/word") + " ", False),
        (basic("revi@com:pa:ss/word").replace(" ", "  "), False),
        (basic("revi@com:pa:ss/word").replace("Basic", "Bearer"), False),
        ("Basic", False),
        ("Basic é", False),
        ("Basic \udc80", False),
        ("Basic ====", False),
        ("", False),
    ],
)
def test_credentials(revicom: Revicom, header: str, expected: bool) -> None:
    """Only the credentials of the callback address open the door, and no header breaks it."""
    assert revicom.verify_callback({"authorization": header}, b"") is expected


def test_credentials_that_are_missing(revicom: Revicom, make_revicom: Callable[..., Revicom]) -> None:
    """Without a header, or without a password in the settings, nobody gets in."""
    assert not revicom.verify_callback({}, b"")
    closed = make_revicom(callback_password=Secret(""))
    assert not closed.verify_callback({"authorization": basic("revi@com:")}, b"")


@pytest.mark.parametrize(
    "bad",
    [
        b"[" * 1_000_000 + b"]" * 1_000_000,
        b'{"message_uuid":"a","callback_event":"sent","x":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
        b'{"message_uuid":"a\xff","callback_event":"sent"}',
        b'{"message_uuid":"\\ud83d","callback_event":"sent"}',
        b'{"message_uuid":"a","callback_event":"sent","x":"\\ude00"}',
    ],
    ids=["brackets", "objects", "utf-8", "surrogate", "unknown surrogate"],
)
def test_one_bad_element(revicom: Revicom, bad: bytes) -> None:
    """An element that no decoder takes spoils no other one, and stays under review as it is."""
    body = b"[" + GOOD + b" , " + bad + b"," + GOOD + b"]"
    assert revicom.check_callback(body) == 3
    elements = list(revicom.parse_callback(body))
    assert [each.raw for each in elements] == [GOOD, bad, GOOD]
    assert [type(each.element) for each in elements] == [DeliveryReport, Malformed, DeliveryReport]


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"[]", 0),
        (b" \r\n\t[ ] ", 0),
        (GOOD, 1),
        (b"[" + GOOD + b"]", 1),
        (b"\xef\xbb\xbf[" + GOOD + b"," + GOOD + b"]", 2),
        (b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}", 1),
    ],
)
def test_batches(revicom: Revicom, body: bytes, count: int) -> None:
    """An array, also an empty one, or a single object is a batch; a byte order mark does no harm."""
    assert revicom.check_callback(body) == count
    assert len(list(revicom.parse_callback(body))) == count


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"7",
        b'"text"',
        b"hello",
        b"a=1&b=2",
        b"[" + GOOD,
        b"[" + GOOD + b",]",
        b"[" + GOOD + b"]]",
        b"[" + GOOD + b" " + GOOD + b"]",
        b"[" + GOOD + b", tru]",
        b'{"a":1}{"a":2}',
        b"[\0]",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"\xff\xfe[\x00]\x00",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_unreadable(revicom: Revicom, body: bytes) -> None:
    """What is not JSON, or neither an array nor an object, is refused as a whole, and nothing raises."""
    assert isinstance(revicom.check_callback(body), CallbackUnreadable)
    assert [type(each.element) for each in revicom.parse_callback(body)] == [Malformed]


@given(st.binary(max_size=300))
def test_any_bytes(revicom: Revicom, body: bytes) -> None:
    """Checking and reading agree on every body, and neither raises."""
    count = revicom.check_callback(body)
    elements = list(revicom.parse_callback(body))
    assert len(elements) == (count if isinstance(count, int) else 1)
