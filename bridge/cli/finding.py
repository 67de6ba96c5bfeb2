"""What `bridge check` finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level"]


class Level(StrEnum):
    """Only an error makes the check fail."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, and a sentence that says how it is and, if it is not well, the mend."""

    check: str
    level: Level
    text: str
