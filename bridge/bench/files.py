"""The files through which the processes of the benchmark hand lists to each other: lines of words."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

__all__ = ["read_rows", "write_lines"]


def read_rows(path: str | Path, skip: int = 0, count: int | None = None) -> list[list[str]]:
    """The words of each line."""
    with Path(path).open() as lines:
        return [line.split() for line in islice(lines, skip, None if count is None else skip + count)]


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """One line each; what was there before is gone."""
    Path(path).write_text("\n".join(lines))
