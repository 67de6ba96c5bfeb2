"""Rows as bytes: CSV and JSON lines, both UTF-8. No file and no connection is known here.

A spreadsheet takes a cell that begins with "=" for a formula, which may call out (CWE-1236); what peers and players
wrote comes into cells. So a cell that begins like one gets an apostrophe, but a plain number stays a number.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import json

from bridge.store.tx import Row

__all__ = ["FORMATS", "CsvFormat", "Format", "JsonLines", "file_name", "safe_cell"]

# The last four are the wide signs, which some spreadsheets read as the others.
_RISKY = frozenset("=+-@\t\r\n＝＋－＠")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


class Format(Protocol):
    """Makes bytes of rows. `head` comes first, always."""

    media_type: str

    def head(self) -> bytes: ...

    def lines(self, rows: Sequence[Row]) -> bytes: ...


def safe_cell(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if type(cell) is str and cell[:1] in _RISKY and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


class CsvFormat:
    """RFC 4180: a header line, CRLF, quotes where they are needed; an empty cell for what is not there."""

    media_type = "text/csv"

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text)

    def head(self) -> bytes:
        self._writer.writerow(self._columns)
        return self._taken()

    def lines(self, rows: Sequence[Row]) -> bytes:
        # `safe_cell` is called for few: a call for each of twenty cells would cost more than all the rest.
        risky = _RISKY
        self._writer.writerows(
            [safe_cell(cell) if type(cell) is str and cell[:1] in risky else cell for cell in row]
            for row in rows
        )
        return self._taken()

    def _taken(self) -> bytes:
        made = self._text.getvalue().encode("utf-8", "replace")
        self._text.seek(0)
        self._text.truncate()
        return made


class JsonLines:
    """One JSON object a line, every column in it, null for what is not there."""

    media_type = "application/x-ndjson"

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._encoder = json.Encoder()

    def head(self) -> bytes:
        return b""

    def lines(self, rows: Sequence[Row]) -> bytes:
        columns = self._columns
        return self._encoder.encode_lines([dict(zip(columns, row, strict=True)) for row in rows])


FORMATS: dict[str, Callable[[Sequence[str]], Format]] = {"csv": CsvFormat, "jsonl": JsonLines}


def file_name(what: str, ending: str) -> str:
    """What a download is called."""
    return f"bridge-{what}.{ending}"
