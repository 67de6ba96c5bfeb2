"""Foreign text in reasons: short, printable, without addresses and secrets."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.redact import redact
from bridge.secret import Secret


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bad credentials", "Bad credentials"),
        ("code 4012, line 10", "code 4012, line 10"),
        ("connect to 127.0.0.1:8080 refused", "connect to 127.0.0.1:8080 refused"),
        ("to 14085553911 now", "to ••• now"),
        ("to +1 (408) 555-39-11", "to +•••"),
        ("to 1408\u200b5553911", "to •••"),
        ("to ١٢٣٤٥٦٧", "to •••"),
        ("12345 and 6", "12345 and 6"),
        ("for <john.doe+x@example.com>!", "for <•••>!"),
        ("mail:jö@exämple.com.", "•••"),
        ("@ alone, a@, @b", "@ alone, a@, @b"),
        ("see https://u:p@bridge.example/x?api_key=1 for more", "see ••• for more"),
        ("a\r\nb\x00c\x1b[31md\u2028e", "a b c [31md e"),
        ("", ""),
    ],
)
def test_texts(text: str, expected: str) -> None:
    """Numbers, mail addresses and addresses go, words and small numbers stay."""
    assert redact(text) == expected


def test_secrets() -> None:
    """A secret goes wherever it stands; an empty one hides nothing."""
    assert redact("key s3cret! s3cret", Secret("s3cret"), Secret("")) == "key •••! •••"
    assert redact("x" * 1995 + " s3cret", Secret("s3cret")).endswith("x…")


@pytest.mark.parametrize("head", ["x ", "x, ", " "])
def test_long_texts(head: str) -> None:
    """Long texts are cut, and no cut leaves half a number or half an address behind."""
    text = head * 600 + "14085553911 john.doe@example.com " * 200
    short = redact(text)
    assert len(short) <= 200
    for at in range(1900, 2000):
        short = redact("\x00" * at + " john.doe@example.com 14085553911 " * 9)
        assert "john" not in short
        assert "1408" not in short


def test_hostile_text_is_quick() -> None:
    """Megabytes of what nearly is an address cost next to nothing."""
    for piece in ("a", "1 ", "a@", "a:", "a.", "1", "@"):
        assert len(redact(piece * 1_000_000)) <= 200


@given(st.text(st.characters() | st.sampled_from("0123456789@./: -"), max_size=400))
def test_any_text(text: str) -> None:
    """The result is short and printable, holds no long number and no mail address, and stays as it is."""
    short = redact(text)
    assert len(short) <= 200
    assert short.isprintable()
    assert not re.search(r"\d{6}|[a-z]@[a-z]|[a-z]://", short)
