"""Smartico's requests read, and our answers written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.smartico import (
    ErrorCode,
    Refusal,
    SendRequest,
    check_callback_url,
    decode_send,
    encode_accepted,
    encode_refusal,
)

# The sample of the documentation.
SAMPLE = {
    "ext_user_id": "hhu234556",
    "from_number": "Amazing",
    "body": "Best offer ever",
    "im_uid": "ksjhdf3428yqwr8fhjhfkdj",
    "callback_url": "https://api.smartico.ai/......callback",
}
READ = SendRequest(
    "hhu234556",
    "ksjhdf3428yqwr8fhjhfkdj",
    "Best offer ever",
    "Amazing",
    "https://api.smartico.ai/......callback",
)


def decode(**changes: Any) -> SendRequest | Refusal:
    """The sample with changes; a field that is `...` is left out."""
    fields = {**SAMPLE, **changes}
    return decode_send(json.dumps({key: value for key, value in fields.items() if value is not ...}).encode())


def refusal(result: SendRequest | Refusal) -> str:
    """The message of a refusal, which has error_code 2."""
    assert isinstance(result, Refusal)
    assert result.code == ErrorCode.INVALID
    return result.message


# --- send requests ---


def test_documented_request() -> None:
    """The documented sample is read whole, and unknown fields are ignored."""
    assert decode() == READ
    assert decode(extension={"title": ["x", 1e300, None]}, im_uid2=7) == READ


def test_optional_fields() -> None:
    """Sender and callback address may be null, blank or absent."""
    for nothing in (None, "", "  ", ...):
        result = decode(from_number=nothing, callback_url=nothing)
        assert result == SendRequest("hhu234556", "ksjhdf3428yqwr8fhjhfkdj", "Best offer ever")


@pytest.mark.parametrize("number", ["7", "-7", "0", "12345678901234567890123456789012345678901"])
def test_user_as_a_number(number: str) -> None:
    """A user id that comes as a whole number keeps its digits, however many there are."""
    result = decode_send(json.dumps(SAMPLE).replace('"hhu234556"', number).encode())
    assert isinstance(result, SendRequest)
    assert result.ext_user_id == number


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ext_user_id": ...}, "ext_user_id is missing"),
        ({"ext_user_id": None}, "ext_user_id is missing"),
        ({"ext_user_id": ""}, "ext_user_id is empty"),
        ({"ext_user_id": True}, "ext_user_id has the wrong type"),
        ({"ext_user_id": 1.5}, "ext_user_id has the wrong type"),
        ({"ext_user_id": 1e20}, "ext_user_id has the wrong type"),
        ({"ext_user_id": ["x"]}, "ext_user_id has the wrong type"),
        ({"ext_user_id": "x" * 513}, "ext_user_id is longer than 512 characters"),
        ({"ext_user_id": 10**512}, "ext_user_id is longer than 512 characters"),
        ({"im_uid": ...}, "im_uid is missing"),
        ({"im_uid": " \n"}, "im_uid is empty"),
        ({"im_uid": 7}, "im_uid has the wrong type"),
        ({"im_uid": "x" * 513}, "im_uid is longer than 512 characters"),
        ({"im_uid": "a\0"}, "im_uid holds the character NUL"),
        ({"body": ...}, "body is missing"),
        ({"body": "\t"}, "body is empty"),
        ({"body": {"a": 1}}, "body has the wrong type"),
        ({"body": "a\0"}, "body holds the character NUL"),
        ({"body": "\ud83d"}, "body holds half of a character (a lone surrogate)"),
        ({"from_number": 7}, "from_number has the wrong type"),
        ({"from_number": "\0"}, "from_number holds the character NUL"),
        ({"callback_url": []}, "callback_url has the wrong type"),
        ({"callback_url": "\0"}, "callback_url holds the character NUL"),
        ({"unknown": "\0"}, "a field that is not known here holds the character NUL"),
        ({"unknown": {"a": ["\0"]}}, "a field that is not known here holds the character NUL"),
        ({"\0": 1}, "a field that is not known here holds the character NUL"),
    ],
)
def test_refused_fields(changes: dict[str, Any], message: str) -> None:
    """What is wrong with a field is said with its name."""
    assert refusal(decode(**changes)) == message


def test_escaped_backslash_is_no_nul() -> None:
    """The text backslash-u0000 is a text like any other."""
    result = decode(body="\\u0000", unknown="\\\\u0000")
    assert isinstance(result, SendRequest)
    assert result.body == "\\u0000"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"7",
        b"[]",
        b"hello",
        b"ext_user_id=1&body=2",
        b'{"ext_user_id": "a",}',
        b"{'ext_user_id': 'a'}",
        b'{"ext_user_id": 1' + b"0" * 5000 + b"}",
        b'{"ext_user_id": 1e999}',
        b'{"x": "\xff"}',
        b'{"\xff": 1}',
        b'{"x": "\xed\xa0\x80"}',
        b'{"x": "\\ud800"}',
        b'{"x": "\0"}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"[" * 1_000_000,
        b'{"x":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
        b'{"body":' * 100_000,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_refused_documents(raw: bytes) -> None:
    """What is no JSON object of bearable shape is refused with code 2, and nothing raises."""
    assert refusal(decode_send(raw))


def test_broken_utf_8_in_an_unknown_field() -> None:
    """A request that is good but for bytes in a field that nobody reads is refused all the same."""
    raw = json.dumps({**SAMPLE, "unknown": "x"}).encode()
    assert decode_send(raw) == READ
    assert refusal(decode_send(raw.replace(b'"x"', b'"\xff"'))) == "the request is not UTF-8"


@given(st.binary(max_size=300))
@example(b"\xed\xa0\x80")
def test_any_bytes(raw: bytes) -> None:
    """Every body is a request or a refusal."""
    assert isinstance(decode_send(raw), SendRequest | Refusal)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*SAMPLE, "x"]), JSON, max_size=6))
def test_any_json(fields: dict[str, Any]) -> None:
    """Every object is a request, then with texts that can be stored, or a refusal."""
    result = decode(**fields)
    if isinstance(result, SendRequest):
        for value in (result.ext_user_id, result.uid, result.body, result.sender, result.callback_url):
            assert value is None or ("\0" not in value and value.encode())
        assert result.ext_user_id.strip()
        assert result.uid.strip()
        assert result.body.strip()


@given(st.sampled_from(list(SAMPLE)), JSON)
def test_messages_repeat_nothing(name: str, value: object) -> None:
    """No refusal repeats what was in the request."""
    result = decode(**{name: {"+14085553911": [value, "+14085553911", 14085553911]}})
    assert "4085553911" not in refusal(result)


def test_reprs() -> None:
    """A request prints without its contents."""
    assert repr(READ) == "<SendRequest>"


def test_answers() -> None:
    """Answers are JSON as the contract has it."""
    assert json.loads(encode_accepted("a-b")) == {"error_code": 0, "ext_message_id": "a-b"}
    refused = encode_refusal(Refusal(ErrorCode.UNKNOWN_USER, "User was not found"))
    assert json.loads(refused) == {"error_code": 1, "error_message": "User was not found"}


def test_error_codes() -> None:
    """The codes are those of the contract."""
    assert [code.value for code in ErrorCode] == [1, 2, 3, 4, 5, 6, 8, 9]


# --- callback addresses (more of them in core/test_callback_url.py) ---


def test_callback_url() -> None:
    """An allowed address gives its destination; another is refused with code 5, without repeating it."""
    hosts = ["*.smartico.ai"]
    assert check_callback_url("https://API.smartico.ai:443/x?secret=1", hosts, False) == "api.smartico.ai"
    refused = check_callback_url("https://evil.example/x?secret=1", hosts, False)
    assert refused == Refusal(5, "callback_url names a host that is not in callback_hosts")
    refused = check_callback_url("http://api.smartico.ai/", hosts, False)
    assert refused == Refusal(5, "callback_url must be https, and must not lead to this machine")
