"""Requests of Smartico for e-mails and Custom IMs, read. (SMS: test_smartico.py.)"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.content import CustomExtra, EmailExtra
from bridge.smartico import ErrorCode, Refusal, SendRequest, decode_send

# The samples of "Secured Messaging Gateways"; the comma after the last member of `extension` is not JSON, and left out.
EMAIL: dict[str, Any] = {
    "ext_user_id": "hhu234556",
    "from_email_address": "Amazing <noreply@amazing.co>",
    "reply_to_email_address": "Amazing <noreply@amazing.co>",
    "subject": "The best offer your can find on the market",
    "body": "<html>..........</html>",
    "text_body": "Get the offer.....",
    "email_uid": "ksjhdf3428yqwr8fhjhfkdj",
    "callback_url": "https://api.smartico.ai/......callback",
    "activity_type": "preview",
    "to_email_address": "test@amazing.co",
}
EXTENSION = (
    b'{\n    "title": "Microsoft is raising",\n    "description": "The bullish trend...",\n'
    b'    "action": "BUY/SELL",\n    "instrument": "MSFT"\n  }'
)
CUSTOM = (
    b'{\n  "ext_user_id": "hhu234556",\n  "from_number": null,\n  "body": "Best offer ever",\n'
    b'  "im_uid": "ksjhdf3428yqwr8fhjhfkdj",\n  "callback_url" : "https://api.smartico.ai/......callback",\n'
    b'  "extension" : ' + EXTENSION + b"\n}"
)
BREAKS = ["\r\n", "\n", "\r", "\0", "\t", "\v", "\f", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"]


def decode(**changes: Any) -> SendRequest | Refusal:
    """The sample of an e-mail with changes; a field that is `...` is left out."""
    fields = {**EMAIL, **changes}
    return decode_send(
        json.dumps({key: value for key, value in fields.items() if value is not ...}).encode(), "email"
    )


def accepted(result: SendRequest | Refusal) -> SendRequest:
    assert isinstance(result, SendRequest)
    return result


def refusal(result: SendRequest | Refusal) -> str:
    """The message of a refusal, which has error_code 2."""
    assert isinstance(result, Refusal)
    assert result.code == ErrorCode.INVALID
    return result.message


# --- e-mail ---


def test_documented_email() -> None:
    """The documented sample is read whole."""
    assert decode() == SendRequest(
        "hhu234556",
        "ksjhdf3428yqwr8fhjhfkdj",
        "<html>..........</html>",
        "Amazing <noreply@amazing.co>",
        "https://api.smartico.ai/......callback",
        EmailExtra(
            "The best offer your can find on the market", "Amazing <noreply@amazing.co>", "Get the offer....."
        ),
        "test@amazing.co",
    )


@pytest.mark.parametrize("activity", [None, "", " ", ...])
def test_no_activity(activity: object) -> None:
    """Without an activity the address in the request does not count: the mail goes to the user."""
    assert accepted(decode(activity_type=activity)).to_address is None
    assert accepted(decode(activity_type=activity, to_email_address="no address")).to_address is None


@pytest.mark.parametrize("activity", ["preview", "Unknown", "EmailCustomerSupport", "Else", 7, ["x"]])
def test_activity(activity: object) -> None:
    """With any activity the mail goes to the address in the request, and has to have one."""
    assert accepted(decode(activity_type=activity)).to_address == "test@amazing.co"
    for nothing in (None, "", " ", ...):
        message = refusal(decode(activity_type=activity, to_email_address=nothing))
        assert message == "to_email_address is missing"
    assert (
        refusal(decode(activity_type=activity, to_email_address="x"))
        == "to_email_address is no e-mail address"
    )


@pytest.mark.parametrize("nothing", [None, "", "  ", ...])
def test_optional_fields(nothing: object) -> None:
    """Sender, address for replies, subject and callback address may be null, blank or absent."""
    fields = ("from_email_address", "reply_to_email_address", "callback_url")
    result = accepted(decode(**dict.fromkeys(fields, nothing), subject=nothing if nothing != "  " else ""))
    assert (result.sender, result.callback_url) == (None, None)
    assert result.extra == EmailExtra("", "", "Get the offer.....")


@pytest.mark.parametrize("nothing", [None, "", ...])
def test_one_body(nothing: object) -> None:
    """One of the two bodies is enough."""
    only_text = accepted(decode(body=nothing))
    assert only_text.body == ""
    assert accepted(decode(text_body=nothing)).body == "<html>..........</html>"
    for blank in (nothing, " \n"):
        assert refusal(decode(body=nothing, text_body=blank)) == "body and text_body are empty or missing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ext_user_id": ...}, "ext_user_id is missing"),
        ({"ext_user_id": "x" * 513}, "ext_user_id is longer than 512 characters"),
        ({"email_uid": None}, "email_uid is missing"),
        ({"email_uid": 7}, "email_uid has the wrong type"),
        ({"body": 7}, "body has the wrong type"),
        ({"body": "a\0"}, "body holds the character NUL"),
        ({"text_body": ["x"]}, "text_body has the wrong type"),
        ({"text_body": "a\0"}, "text_body holds the character NUL"),
        ({"subject": 7}, "subject has the wrong type"),
        ({"subject": "\ud83d"}, "subject holds half of a character (a lone surrogate)"),
        ({"from_email_address": "Amazing"}, "from_email_address is no e-mail address"),
        ({"from_email_address": 7}, "from_email_address has the wrong type"),
        ({"from_email_address": "a@b.co, c@d.co"}, "from_email_address is no e-mail address"),
        ({"reply_to_email_address": "Amazing"}, "reply_to_email_address is no e-mail address"),
        ({"reply_to_email_address": {}}, "reply_to_email_address has the wrong type"),
        ({"callback_url": 7}, "callback_url has the wrong type"),
        ({"to_email_address": 7}, "to_email_address has the wrong type"),
        ({"unknown": "\0"}, "a field that is not known here holds the character NUL"),
    ],
)
def test_refused_fields(changes: dict[str, Any], message: str) -> None:
    """What is wrong with a field is said with its name."""
    assert refusal(decode(**changes)) == message


@pytest.mark.parametrize("field", ["body", "text_body", "subject"])
@pytest.mark.parametrize("value", [False, 0, 0.0, [], {}], ids=repr)
def test_empty_values_of_another_type(field: str, value: object) -> None:
    """JSON is read strictly: a value of another type is of the wrong type, also one that is empty."""
    assert refusal(decode(**{field: value})) == f"{field} has the wrong type"


@pytest.mark.parametrize("line_break", BREAKS, ids=repr)
@pytest.mark.parametrize(
    "field", ["subject", "from_email_address", "reply_to_email_address", "to_email_address"]
)
def test_header_injection(field: str, line_break: str) -> None:
    """A line break or another control character in what becomes a header is refused, with the field's name."""
    for value in (
        f"a{line_break}Bcc: evil@example.com",
        f"A{line_break}Bcc: x <a@b.co>",
        f"a@b.co{line_break}x",
    ):
        assert refusal(decode(**{field: value})).startswith(f"{field} ")


@pytest.mark.parametrize("field", ["subject", "from_email_address", "reply_to_email_address"])
def test_line_break_at_the_end(field: str) -> None:
    """Also at its end."""
    assert refusal(decode(**{field: EMAIL[field] + "\n"})).startswith(f"{field} holds a line break")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_bodies_arrive_as_given(text: str) -> None:
    """Bodies are what they were, whatever their characters are."""
    result = accepted(decode(body=f"<{text}>", text_body=text))
    assert result.body == f"<{text}>"
    assert isinstance(result.extra, EmailExtra)
    assert result.extra.text == text


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_subjects_arrive_as_given(subject: str) -> None:
    """So are subjects."""
    result = accepted(decode(subject=subject))
    assert isinstance(result.extra, EmailExtra)
    assert result.extra.subject == subject


@given(st.sampled_from(list(EMAIL)), st.sampled_from(["person@example.com", "+14085553911"]))
def test_messages_repeat_nothing(name: str, value: str) -> None:
    """No refusal repeats what was in the request."""
    for wrapped in ([value], {value: value}, f"{value}\n{value}"):
        result = decode(**{name: wrapped})
        assert not isinstance(result, Refusal) or value not in result.message


# --- Custom IM ---


def test_documented_custom() -> None:
    """The documented sample is read whole, its extension byte by byte."""
    result = accepted(decode_send(CUSTOM, "cim"))
    assert isinstance(result.extra, CustomExtra)
    assert bytes(result.extra.extension) == EXTENSION
    assert (result.ext_user_id, result.uid, result.body, result.sender, result.callback_url) == (
        "hhu234556",
        "ksjhdf3428yqwr8fhjhfkdj",
        "Best offer ever",
        None,
        "https://api.smartico.ai/......callback",
    )


def test_comma_of_the_sample() -> None:
    """The comma that the printed sample has after its last member is no JSON, and refused as such."""
    printed = CUSTOM.replace(b'"MSFT"', b'"MSFT",')
    assert refusal(decode_send(printed, "cim")).startswith("the request is not JSON")


@pytest.mark.parametrize(
    "extension",
    [
        b"null",
        b"true",
        b"-0.0",
        b"1e400",
        b"1.10",
        b"123456789012345678901234567890",
        b'"\\u00e9\\/\\ud83d\\ude00"',
        b"[ 1 , [ ] , { } ]",
        b'{"b": 1, "a": 2, "b": 3}',
        b'{"\\\\u0000": "\\\\u0000"}',
        b'{\r\n\t"a"  :  1 }',
    ],
    ids=repr,
)
def test_extensions(extension: bytes) -> None:
    """An extension of any shape is kept byte by byte, and still is when the request is gone."""
    raw = bytearray(CUSTOM.replace(EXTENSION, extension))
    result = accepted(decode_send(bytes(raw), "cim"))
    raw[:] = b"x" * len(raw)
    assert isinstance(result.extra, CustomExtra)
    assert bytes(result.extra.extension) == extension


def test_no_extension() -> None:
    """Without an extension there is a null in its place."""
    fields = {"ext_user_id": 7, "body": "x", "im_uid": "y"}
    result = accepted(decode_send(json.dumps(fields).encode(), "cim"))
    assert (result.ext_user_id, result.extra) == ("7", CustomExtra())


@pytest.mark.parametrize("extension", [b'"\\u0000"', b'{"\\u0000": 1}', b'[{"a": "x\\\\\\u0000"}]'])
def test_nul_in_an_extension(extension: bytes) -> None:
    """A NUL anywhere in it is refused."""
    assert (
        refusal(decode_send(CUSTOM.replace(EXTENSION, extension), "cim"))
        == "extension holds the character NUL"
    )


@pytest.mark.parametrize(
    "extension",
    [b'"\xff"', b'"\\ud800"', b"[" * 1_000_000 + b"]" * 1_000_000, b"{'a': 1}", b"NaN", b"01", b"[1,]", b""],
    ids=lambda raw: repr(raw[:10]),
)
def test_broken_extensions(extension: bytes) -> None:
    """What is not JSON is refused, and nothing raises."""
    assert refusal(decode_send(CUSTOM.replace(EXTENSION, extension), "cim"))


@given(st.binary(max_size=200), st.sampled_from(["email", "cim"]))
def test_any_bytes(raw: bytes, kind: str) -> None:
    """Every body is a request or a refusal."""
    assert isinstance(decode_send(raw, kind), SendRequest | Refusal)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from([*EMAIL, "im_uid", "extension", "x"]), JSON, max_size=6),
    st.sampled_from(["email", "cim"]),
)
def test_any_json(fields: dict[str, Any], kind: str) -> None:
    """Every object is a request, then with texts that can be stored, or a refusal."""
    base = EMAIL if kind == "email" else json.loads(CUSTOM)
    result = decode_send(json.dumps({**base, **fields}).encode(), kind)
    if isinstance(result, SendRequest):
        extra = result.extra
        texts = [
            result.ext_user_id,
            result.uid,
            result.body,
            result.sender,
            result.callback_url,
            result.to_address,
        ]
        texts += [extra.subject, extra.reply_to, extra.text] if isinstance(extra, EmailExtra) else []
        for value in filter(None, texts):
            assert "\0" not in value
            assert value.encode()
