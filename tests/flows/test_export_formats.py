"""Rows become CSV that no spreadsheet takes for formulas, and JSON that is JSON, whatever is in them."""

from __future__ import annotations

import csv
import io
import json

import pytest

from bridge.flows.export_formats import FORMATS, CsvFormat, JsonLines, safe_cell
from bridge.flows.exporting import COLUMNS, NUMBERS, What
from bridge.store.tx import Row

STRANGE = [
    'a"b',
    "a,b",
    "a;b",
    "line\r\nbreak",
    "\nfirst",
    "a\rb",
    "👋🏽 ünï",
    "",
    " =1",
    "'",
    '"',
    "\u2028",
    "•••••",
]
FORMULAS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "+44•••••0123",
    "-",
    "+",
]


def table(columns: list[str], rows: list[Row]) -> list[list[str]]:
    """What a reader of CSV finds."""
    made = CsvFormat(columns)
    text = (made.head() + made.lines(rows)).decode()
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_becomes_text(cell: str) -> None:
    """What a spreadsheet would work out begins with an apostrophe, and is else as it was."""
    assert table(["a", "b"], [("x", cell)])[1] == ["x", f"'{cell}"]


@pytest.mark.parametrize("cell", ["-12.5", "+7", "-0", "0.10", "447700900", "1e5", "=", *STRANGE])
def test_what_is_no_formula_stays_as_it_is(cell: str) -> None:
    """Numbers are numbers; quotes, separators, line breaks and emoji come back as they were."""
    changed = cell[:1] in {"=", "\n"}
    assert table(["a", "b"], [(cell, "x")])[1] == [f"'{cell}" if changed else cell, "x"]


@pytest.mark.parametrize("cell", ["-1\n", "+1 ", "-٣", "-1.", "-.5", "--1", "+1.2.3"])
def test_what_only_looks_like_a_number_is_none(cell: str) -> None:
    """Only digits of ours, one sign and one point make a number."""
    assert safe_cell(cell) == f"'{cell}"


def test_numbers_and_what_is_not_there() -> None:
    """A whole number is written as such, also a negative one; what is not there is an empty cell."""
    assert table(["a", "b", "c"], [(-5, None, "")]) == [["a", "b", "c"], ["-5", "", ""]]


def test_a_row_is_a_line_with_crlf() -> None:
    """The form is that of RFC 4180, in UTF-8 without a mark at the beginning."""
    made = CsvFormat(["a", "b"])
    assert made.head() == b"a,b\r\n"
    assert made.lines([("1", "é"), ('"', None)]) == b'1,\xc3\xa9\r\n"""",\r\n'
    assert made.lines([]) == b""


@pytest.mark.parametrize("cell", [*STRANGE, *FORMULAS])
def test_json_lines_keep_every_text(cell: str) -> None:
    """One line a row, whatever is in it; nothing is changed, for no spreadsheet reads it."""
    made = JsonLines(["a", "b", "c"])
    lines = (made.head() + made.lines([(cell, 1, None), (cell, 2, None)])).decode().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [{"a": cell, "b": n, "c": None} for n in (1, 2)]
    assert lines[-1] == ""
    assert made.lines([]) == b""


def test_every_export_has_every_format() -> None:
    """Names of columns are plain words, each once; those of numbers exist."""
    for what in What:
        columns = COLUMNS[what]
        assert len(set(columns)) == len(columns)
        assert FORMATS["csv"](columns).head() == (",".join(columns) + "\r\n").encode()
        assert FORMATS["jsonl"](columns).head() == b""
    assert {name for columns in COLUMNS.values() for name in columns} >= NUMBERS
