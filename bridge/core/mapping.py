"""The mapping tables: from a provider's words to our states, and from our states to Smartico's words.

Strict TOML, one file a provider (`ProviderMapping`) and Smartico's own (`Vocabulary`). Everything wrong in a file is
said at once. Pure: text in, tables or problems out; `bridge.tables` reads the files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from msgspec import Struct

from bridge.core.lifecycle import FINAL, Happening, Vocabulary
from bridge.core.model import Mark, State, Status
from bridge.errors import Problem

__all__ = ["ProviderMapping", "read_provider_mapping", "read_vocabulary"]

T = TypeVar("T")

NONE = "none"
_STATES: Mapping[str, State] = {
    state.value: state for state in State if state not in (State.QUEUED, State.UNKNOWN)
}
_HAPPENINGS: Mapping[str, Happening] = {**_STATES, **{mark.value: mark for mark in Mark}}
_MEANINGS: Mapping[str, Happening | None] = {**_HAPPENINGS, NONE: None}
_WORDS: Mapping[str, Status | None] = {**{status.value: status for status in Status}, NONE: None}


class ProviderMapping(Struct, frozen=True):
    """What each `(event, status)` of a provider means, and the texts of its error codes.

    A row may mean None: known, and nothing follows. A pair without a row is unmapped, and a person has to look.
    """

    rows: Mapping[tuple[str, str], Happening | None]
    error_codes: Mapping[str, str]

    def knows(self, event: str, status: str) -> bool:
        return (event, status) in self.rows

    def meaning(self, event: str, status: str) -> Happening | None:
        return self.rows[event, status]

    @property
    def tells_ends(self) -> bool:
        """Whether the provider has a word for the end of a message at all."""
        return any(meaning in FINAL for meaning in self.rows.values())


class _Reader:
    """Collects what is wrong in one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def complain(self, key: str, text: str) -> None:
        self.problems.append(Problem(self.file, key, text))

    def document(self, text: str, keys: tuple[str, ...]) -> dict[str, Any]:
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self.complain("", f"is not TOML: {error}")
            return {}
        self.only(document, keys, "")
        return document

    def only(self, table: Mapping[str, Any], keys: tuple[str, ...], path: str) -> None:
        for key in table:
            if key not in keys:
                self.complain(f"{path}{key}", f"is not known here{_hint(key, keys)}")

    def table(self, document: Mapping[str, Any], key: str) -> dict[str, Any]:
        value = document.get(key, {})
        if isinstance(value, dict):
            return value
        self.complain(key, "must be a table")
        return {}

    def text(self, table: Mapping[str, Any], key: str, path: str, default: str | None = None) -> str:
        value = table.get(key, default)
        if isinstance(value, str):
            return value
        self.complain(f"{path}{key}", "is missing" if value is None else "must be a string")
        return ""

    def choice(self, value: Any, choices: Mapping[str, T], key: str) -> T | None:
        if isinstance(value, str) and value in choices:
            return choices[value]
        self.complain(key, f"{value!r} is not one of {', '.join(choices)}{_hint(value, tuple(choices))}")
        return None


def read_provider_mapping(text: str, *, file: str) -> tuple[ProviderMapping, list[Problem]]:
    """The table in `text`, and everything that is wrong with it."""
    reader = _Reader(file)
    document = reader.document(text, ("reports", "error_codes"))
    rows: dict[tuple[str, str], Happening | None] = {}
    entries = document.get("reports", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        reader.complain("reports", "must be an array of tables: [[reports]]")
        entries = []
    for number, entry in enumerate(entries):
        _read_row(reader, rows, entry, f"reports[{number}].")
    if not rows and not reader.problems:
        reader.complain("reports", "has no row: every callback would be unmapped")
    codes = reader.table(document, "error_codes")
    return ProviderMapping(
        rows, {code: reader.text(codes, code, "error_codes.") for code in codes}
    ), reader.problems


def _read_row(
    reader: _Reader, rows: dict[tuple[str, str], Happening | None], entry: Mapping[str, Any], path: str
) -> None:
    reader.only(entry, ("event", "status", "state"), path)
    pair = (reader.text(entry, "event", path), reader.text(entry, "status", path, ""))
    if pair in rows:
        reader.complain(f"{path}event", f"event {pair[0]!r} with status {pair[1]!r} has a row already")
    if entry.get("event") == "":
        reader.complain(f"{path}event", "is empty")
    word = entry.get("state")
    if isinstance(word, str):
        rows[pair] = reader.choice(word, _MEANINGS, f"{path}state")
    else:
        reader.text(entry, "state", path)


def read_vocabulary(text: str, *, file: str) -> tuple[Vocabulary, list[Problem]]:
    """Smartico's words in `text`, and everything that is wrong with them. A state without a row owes nothing."""
    reader = _Reader(file)
    document = reader.document(text, ("reports", "implies"))
    words: dict[Happening, Status | None] = {}
    for name, word in reader.table(document, "reports").items():
        happening = reader.choice(name, _HAPPENINGS, f"reports.{name}")
        status = reader.choice(word, _WORDS, f"reports.{name}")
        if happening is not None:
            words[happening] = status
    if not words and not reader.problems:
        reader.complain("reports", "has no row: nothing would ever be reported")
    implies: dict[Happening, State] = {}
    for name, word in reader.table(document, "implies").items():
        happening = reader.choice(name, _HAPPENINGS, f"implies.{name}")
        state = reader.choice(word, _STATES, f"implies.{name}")
        if happening is not None and state is not None:
            implies[happening] = state
    return Vocabulary(words, implies), reader.problems


def _hint(word: Any, known: tuple[str, ...]) -> str:
    near = get_close_matches(str(word), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
