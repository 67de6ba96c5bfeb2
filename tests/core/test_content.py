"""What a message holds beside its text, packed into the one text that is kept, and unpacked."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from bridge.core.content import CustomExtra, EmailExtra, Extra, pack, unpack

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_emails(body: str, subject: str, reply_to: str, text: str) -> None:
    """Every field of a mail comes back as it was."""
    extra = EmailExtra(subject, reply_to, text)
    assert unpack(pack(body, extra), "email") == (body, extra)


@pytest.mark.parametrize(
    "extension",
    [
        b"null",
        b"1e400",
        b"-0.0",
        b"1.10",
        b"123456789012345678901234567890",
        b'{"b": 1, "a": [ ] , "b": 2}',
        b'"\\u00e9\\/\\ud83d\\ude00"',
        '"é\u2028"'.encode(),
        b'{\r\n\t"a"  :  1 }',
    ],
    ids=repr,
)
def test_extensions(extension: bytes) -> None:
    """An extension comes back byte by byte, and its bytes stand in what is kept."""
    kept = pack("body", CustomExtra(Raw(extension), {"X-Brand": "Amazing"}))
    body, extra = unpack(kept, "cim")
    assert body == "body"
    assert isinstance(extra, CustomExtra)
    assert bytes(extra.extension) == extension
    assert extra.headers == {"X-Brand": "Amazing"}


@given(TEXTS, JSON, st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_any_extension(body: str, value: object, headers: dict[str, str]) -> None:
    """Whatever its shape is."""
    extension = json.dumps(value, indent=1).encode()
    kept_body, extra = unpack(pack(body, CustomExtra(Raw(extension), headers)), "cim")
    assert kept_body == body
    assert isinstance(extra, CustomExtra)
    assert (bytes(extra.extension), extra.headers) == (extension, headers)


@given(TEXTS)
def test_sms(body: str) -> None:
    """Of an SMS its body is kept as it is, even one that looks like something packed."""
    for text in (body, pack(body, EmailExtra("a"))):
        assert pack(text, None) == text
        assert unpack(text, "sms") == (text, None)


@pytest.mark.parametrize("kind", ["sms", "email", "cim"])
def test_forgotten(kind: str) -> None:
    """What was forgotten is empty."""
    assert unpack("", kind) == ("", None)


@pytest.mark.parametrize("extra", [EmailExtra(), CustomExtra()])
def test_defaults(extra: Extra) -> None:
    """An extra without anything in it stays what it is."""
    kind = "email" if isinstance(extra, EmailExtra) else "cim"
    assert unpack(pack("", extra), kind) == ("", extra)


def test_reprs() -> None:
    """Extras print without what is in them."""
    assert repr([EmailExtra("secret"), CustomExtra(Raw(b'"secret"'))]) == "[<EmailExtra>, <CustomExtra>]"
