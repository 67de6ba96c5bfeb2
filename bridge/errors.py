"""The errors an operator sees: one sentence each, saying what is wrong and what to do.

Only for what a person has to mend: settings, mapping tables, the store. Outcomes that the service expects (a refused
message, a peer that is down) are values, not exceptions. Knows no other module of the bridge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["BridgeError", "Problem", "SettingsError", "StoreAwayError", "StoreBusyError", "StoreError"]


class BridgeError(Exception):
    """Something a person has to mend. `sentence` says what is wrong and what to do, and holds no secret."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file: the key path (empty: the file as a whole), and a text with the mend."""

    file: str
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.text) if part)


class SettingsError(BridgeError):
    """All that is wrong in the files an operator wrote, one line each in `str()`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StoreError(BridgeError):
    """The database cannot be opened, read or written."""


class StoreAwayError(StoreError):
    """The server of the database cannot be reached now; it may come back by itself."""


class StoreBusyError(StoreError):
    """More waits to be stored than the database keeps up with; of what was asked nothing was stored."""
