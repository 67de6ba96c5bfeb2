"""Which SQLite library is needed, and which one is there: the only place that decides."""

from __future__ import annotations

import sqlite3

__all__ = ["SQLITE_NEEDED", "sqlite_version", "too_old"]

SQLITE_NEEDED = (3, 40, 0)


def sqlite_version() -> tuple[int, int, int]:
    """The version of the SQLite library that Python was built with."""
    return sqlite3.sqlite_version_info[:3]


def too_old(version: tuple[int, int, int]) -> str | None:
    """What is to be done where a library is too old for the bridge; None where it is not."""
    if version >= SQLITE_NEEDED:
        return None
    found, needed = (".".join(map(str, each)) for each in (version, SQLITE_NEEDED[:2]))
    return f"The SQLite library of this Python, version {found}, is too old: install {needed} or newer."
