"""JSON from strangers: split, searched and decoded without surprises."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.json_text import (
    batch_elements,
    holds_nul,
    read_json,
    split_elements,
    without_trailing_commas,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=8)
    | st.text('[]{},:"\\u0 \n', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
# Bytes that are nearly JSON.
SCRAPS = st.lists(
    st.sampled_from(
        [
            b"[",
            b"]",
            b"{",
            b"}",
            b",",
            b":",
            b'"a"',
            b"1",
            b"-",
            b"0",
            b"e1",
            b".5",
            b" ",
            b"null",
            b'"',
            b"\\",
        ]
    ),
    max_size=12,
).map(b"".join)


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 0, 3, "\t"]), st.booleans())
def test_valid_arrays(values: list[Any], indent: int | str | None, ascii_only: bool) -> None:
    """Every array, however it is laid out, falls into the very elements that `json` sees."""
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    elements = split_elements(f" {text}\r\n".encode("utf-8", "surrogatepass"))
    assert elements is not None
    assert [json.loads(each.decode("utf-8", "surrogatepass")) for each in elements] == values
    assert all(each == each.strip() for each in elements)


@given(VALUES)
def test_single_values(value: object) -> None:
    """An object is a batch of one; what is neither an array nor an object is no batch."""
    body = json.dumps(value).encode()
    if isinstance(value, dict):
        assert split_elements(body) == [body] == batch_elements(body)
    elif not isinstance(value, list):
        assert split_elements(body) is None
        assert batch_elements(body) is None


@given(SCRAPS)
def test_what_is_no_json(body: bytes) -> None:
    """The scanner takes what `json` takes, and nothing else; the quick way agrees with it."""
    try:
        valid = isinstance(json.loads(body), list | dict)
    except ValueError:
        valid = False
    assert (split_elements(body) is not None) is valid
    assert batch_elements(body) == split_elements(body)


@given(st.binary(max_size=50))
def test_any_bytes(body: bytes) -> None:
    """No bytes raise."""
    batch_elements(body)
    split_elements(b"[" + body + b"]")
    holds_nul(body)
    without_trailing_commas(body)


@pytest.mark.parametrize(
    ("body", "elements"),
    [
        (b"[[[1]],[[]]]", [b"[[1]]", b"[[]]"]),
        (b'[{"a":[{}]},"]"]', [b'{"a":[{}]}', b'"]"']),
        (b'["\\ud83d", "\xff", 1]', [b'"\\ud83d"', b'"\xff"', b"1"]),
        (b"\xef\xbb\xbf[1]", [b"1"]),
        (b"[" * 100_000 + b"]" * 100_000, [b"[" * 99_999 + b"]" * 99_999]),
        (b"[[[1]}]", None),
        (b"[[1]]]", None),
        (b"[{]}", None),
        (b'[{"a"}]', None),
        (b"[01]", None),
        (b"[NaN]", None),
        (b'["\n"]', None),
        (b'["\\x"]', None),
        (b"[1]\0", None),
        (b"[[1 2]]", None),
        (b'[{"a": [1 2]}]', None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_batches(body: bytes, elements: list[bytes] | None) -> None:
    """Nesting, escapes and bytes that are not UTF-8 do not disturb; broken grammar does."""
    assert batch_elements(body) == elements


@given(VALUES)
def test_nul(value: object) -> None:
    """The character NUL is found wherever it stands, and nowhere else."""

    def anywhere(part: object) -> bool:
        if isinstance(part, dict):
            return any(anywhere(each) for each in [*part, *part.values()])
        return any(map(anywhere, part)) if isinstance(part, list) else isinstance(part, str) and "\0" in part

    assert holds_nul(json.dumps(value).encode()) is anywhere(value)


@given(VALUES)
def test_valid_json_has_no_trailing_commas(value: object) -> None:
    """What is JSON stays as it is."""
    body = json.dumps(value).encode()
    assert without_trailing_commas(body) == body


def test_trailing_commas() -> None:
    """Commas before a closing bracket go; those inside of strings stay."""
    assert json.loads(without_trailing_commas(b'{"a": [1,2 , ], "b": ",}\\",]",\n}')) == {
        "a": [1, 2],
        "b": ',}",]',
    }


@pytest.mark.parametrize("body", [b"", b"{", b'"a"', b'"\xff"', b"[" * 100_000, b"1" + b"0" * 9999])
def test_read_json(body: bytes) -> None:
    """What cannot be decoded is None."""
    assert read_json(msgspec.json.Decoder(int), body) is None
    assert read_json(msgspec.json.Decoder(int), b"7") == 7
