"""Asset notifications read: JSON, forms and queries, and whatever else may come."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.notifications import Notification, Unreadable, channel_word, read_notification

# The sample of the documentation.
SAMPLE: dict[str, Any] = {
    "login": "123123",
    "time": 1664115803000,
    "view_url": "https://view.example/1",
    "channel": "SMS",
    "campaign_name": "RND Flow",
}
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def read(*, content_type: str = JSON, query: bytes = b"", **changes: Any) -> Notification:
    """The sample with changes; a field that is `...` is left out."""
    fields = {name: value for name, value in {**SAMPLE, **changes}.items() if value is not ...}
    found = read_notification(content_type, query, json.dumps(fields).encode())
    assert isinstance(found, Notification), found
    return found


def refused(content_type: str, query: bytes, body: bytes) -> str:
    found = read_notification(content_type, query, body)
    assert isinstance(found, Unreadable)
    return found.reason


def test_the_documented_sample() -> None:
    """Its five names are recognised, nothing is left over, and the bytes are passed on as they came."""
    raw = json.dumps(SAMPLE, indent=3).encode()
    found = read_notification(JSON, b"", raw)
    assert isinstance(found, Notification)
    assert (found.login, found.time, found.channel) == ("123123", 1664115803000, "SMS")
    assert (found.campaign_name, found.view_url) == ("RND Flow", "https://view.example/1")
    assert (found.body, found.payload) == (b"{}", raw)


@pytest.mark.parametrize("content_type", [FORM, f"{FORM}; charset=utf-8", FORM.upper()])
def test_a_form_and_a_query_say_the_same(content_type: str) -> None:
    """Both give what JSON gives, and are passed on as one JSON object."""
    pairs = urlencode(SAMPLE).encode()
    for found in (read_notification(content_type, b"", pairs), read_notification("", pairs, b"")):
        assert isinstance(found, Notification)
        assert found.digest == read().digest
        assert json.loads(found.payload) == {name: str(value) for name, value in SAMPLE.items()}


def test_the_body_wins_over_the_query() -> None:
    """A template may put some fields into the address; what both say is taken from the body."""
    found = read(query=b"brand=7&login=other")
    assert (found.login, json.loads(found.body)) == ("123123", {"brand": "7"})
    assert json.loads(found.payload) == {"brand": "7", **SAMPLE}


def test_other_fields_are_kept() -> None:
    """They stand in `body` with their values, however deep, and a large number stays what it is."""
    other: dict[str, Any] = {"brand": {"id": 7, "names": ["x", None, 1.5]}, "big": 10**30, "body": "text"}
    assert json.loads(read(**other).body) == other


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (1664115803000, 1664115803000),
        ("1664115803000", 1664115803000),
        (1664115803000.0, 1664115803000),
        (1664115803, 1664115803000),
        ("1664115803.5", 1664115803500),
        ("2022-09-25T14:23:23Z", 1664115803000),
        ("2022-09-25T16:23:23+02:00", 1664115803000),
    ],
)
def test_times(time: object, expected: int) -> None:
    """Milliseconds, seconds and RFC 3339 are all understood; they are no field of their own any more."""
    found = read(time=time)
    assert (found.time, found.body) == (expected, b"{}")


@pytest.mark.parametrize(
    "time", ["", "soon", 0, -5, 10**18, 1e300, True, None, [1], "0001-01-01T00:00:00Z", "9" * 400]
)
def test_what_is_no_time_is_kept_as_a_field(time: object) -> None:
    """It counts as absent and is not lost; without a time nothing is taken for a repeat."""
    found = read(time=time)
    assert (found.time, found.digest) == (None, None)
    assert json.loads(found.body) == {"time": time}


@pytest.mark.parametrize(
    ("login", "expected"), [(123123, "123123"), (" u1 ", "u1"), (12.0, "12"), ("a\0b", "a\ufffdb")]
)
def test_logins(login: object, expected: str) -> None:
    """A number is a login, too; blanks around it are none of it, and NUL, which no database keeps, is replaced."""
    assert read(login=login).login == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("login", "x" * 513), ("channel", "x" * 65), ("view_url", "x" * 4097), ("campaign_name", ["x"])],
)
def test_a_value_that_cannot_be_used_is_kept_as_a_field(name: str, value: object) -> None:
    """What is too long or of another type is neither cut nor lost."""
    changes: dict[str, Any] = {name: value}
    found = read(**changes)
    assert getattr(found, name) == ""
    assert json.loads(found.body) == {name: value}


def test_repeats_have_one_digest() -> None:
    """The same notification has it whatever the order of its fields; any difference gives another one."""
    backwards = read_notification(JSON, b"", json.dumps(dict(reversed(SAMPLE.items()))).encode())
    assert isinstance(backwards, Notification)
    same = read().digest
    assert backwards.digest == same
    others: list[dict[str, Any]] = [{name: f"{value}0"} for name, value in SAMPLE.items()]
    others += [{"more": 1}, {"login": ...}]
    assert len({same, *(read(**change).digest for change in others)}) == len(others) + 1


def test_half_a_character_loses_nothing_else() -> None:
    """A text that was cut within an emoji is kept, with a sign in its place."""
    body = b'{"login": "player", "campaign_name": "cut \\ud83d", "more": {"\\ud83d": ["\\ude00 x"]}}'
    found = read_notification(JSON, b"", body)
    assert isinstance(found, Notification)
    assert (found.login, found.campaign_name) == ("player", "cut \ufffd")
    assert json.loads(found.body) == {"more": {"\ufffd": ["\ufffd x"]}}


@pytest.mark.parametrize(
    ("content_type", "query", "body"),
    [
        (JSON, b"", b""),
        (JSON, b"", b"{}"),
        (JSON, b"", b"[]"),
        (JSON, b"", b"no json"),
        (JSON, b"", b'"text"'),
        (JSON, b"", b'{"login": "\xff"}'),
        (JSON, b"", b"[" * 1_000_000),
        (JSON, b"", b'{"a":' * 1_000_000),
        (JSON, b"", b'{"a":' * 100 + b"1" + b"}" * 100),
        (JSON, b"", b'{"a":' + b"9" * 10_000 + b"}"),
        (FORM, b"", b"login=%ff"),
        (FORM, b"", b"\xff=1"),
        (FORM, b"", b"a=1&" * 2000),
        ("", b"login=%c3", b""),
        ("multipart/form-data; boundary=x", b"", b"--x\r\n"),
        ("", b"&&&=", b""),
    ],
)
def test_what_cannot_be_read_is_refused(content_type: str, query: bytes, body: bytes) -> None:
    """A sentence says why, and repeats nothing of it."""
    assert len(refused(content_type, query, body)) < 80


def test_json_that_is_called_a_form_is_json() -> None:
    """As `curl -d '{…}'` sends it."""
    assert read(content_type=FORM) == read()


def test_a_byte_order_mark_is_skipped() -> None:
    """Some templates begin with one; receivers would stumble over it."""
    found = read_notification(JSON, b"", b"\xef\xbb\xbf" + json.dumps(SAMPLE).encode())
    assert isinstance(found, Notification)
    assert found.payload == json.dumps(SAMPLE).encode()


@given(
    content_type=st.sampled_from([JSON, FORM, "", "text/plain"]),
    query=st.binary(max_size=50),
    body=st.binary(max_size=200),
)
@example(content_type=JSON, query=b"", body=b'{"time": 1e999}')
def test_nothing_raises(content_type: str, query: bytes, body: bytes) -> None:
    """Whatever the bytes are, they are read or refused."""
    found = read_notification(content_type, query, body)
    if isinstance(found, Notification):
        json.loads(found.payload)
        json.loads(found.body)


@given(
    st.dictionaries(
        st.sampled_from([*SAMPLE, "other"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        min_size=1,
    )
)
def test_nothing_is_lost(fields: dict[str, Any]) -> None:
    """Each field is recognised or kept, whatever its type, and what can be kept fits every database."""
    try:
        raw = json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    found = read_notification(JSON, b"", raw)
    assert isinstance(found, Notification)
    kept = json.loads(found.body)
    for name, value in fields.items():
        known = getattr(found, name, None)
        assert name in kept or known is not None
        assert kept.get(name, value) == value
    assert found.time is None or 0 < found.time < 2**62
    assert "\0" not in found.login + found.channel + found.campaign_name + found.view_url


def test_what_channels_are_called() -> None:
    """Smartico's words for a channel and ours are one word each."""
    assert {channel_word(each) for each in ("Email", "MAIL", "E-Mail", "EMAIL")} == {"email"}
    assert {channel_word(each) for each in ("Custom IM", "IM", "CIM", "custom  im")} == {"cim"}
    assert channel_word(" SMS ") == "sms"
