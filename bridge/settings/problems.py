"""The list of what is wrong in one settings file, and the words in which it is said.

Pure. It decides how a key path is written and how much of a value is shown; whether a value may be shown at all is
decided by its reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches

from bridge.errors import Problem

__all__ = ["Problems", "did_you_mean", "join", "nearest", "shown"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_LENGTH = 60


class Problems:
    """Everything that is wrong in one file, in the order of finding."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.found: list[Problem] = []
        self._meant: list[str] = []

    def add(self, key: str, text: str) -> None:
        """Notes that the value at a key path is wrong; `text` says how, and the mend."""
        self.found.append(Problem(self._file, key, text))

    def mean(self, key: str) -> None:
        """Notes that something is written for a key path under a misspelt name: that it is missing is no news."""
        self._meant.append(key)

    def is_meant(self, key: str) -> bool:
        """Whether a key path, or a table that it is in, was noted so."""
        return any(_is_at(key, meant) for meant in self._meant)

    def none_at(self, *keys: str) -> bool:
        """Whether nothing is wrong at these key paths nor below them."""
        wrong = any(_is_at(problem.key, key) for problem in self.found for key in keys)
        return not wrong and not any(self.is_meant(key) for key in keys)


def _is_at(path: str, key: str) -> bool:
    return path == key or path.startswith((f"{key}.", f"{key}["))


def join(path: str, key: str) -> str:
    """The path of a key in a table, written as TOML would: `gateways.sms`, `gateways."my sms"`."""
    written = key if _BARE_KEY.fullmatch(key) else json.dumps(key)
    return f"{path}.{written}" if path else written


def shown(value: object) -> str:
    """A value for a sentence: as in TOML, and not too long."""
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_LENGTH else f"{value[:_SHOWN_LENGTH]}…"
        return json.dumps(cut, ensure_ascii=False)
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to print the longest ones
        return "so large a number"
    return str(value)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "…"?` where a known word is near, else nothing."""
    near = nearest(word, known)
    return f'; did you mean "{near}"?' if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like this one; empty where none is."""
    words = list(known)
    near = get_close_matches(word, words, n=1) or [each for each in words if word and each.startswith(word)]
    return near[0] if near else ""
