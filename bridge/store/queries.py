"""Reads `queries.sql`: named statements, `-- name: what_it_is` above each, `:name` for values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

__all__ = ["QUERIES", "split_statements"]

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def split_statements(text: str) -> dict[str, str]:
    """The statements of a file, by name. A name that stands twice is an error of ours."""
    parts = _NAME.split(text)[1:]
    statements = dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
    if len(statements) * 2 != len(parts):
        raise ValueError("a statement's name stands twice")
    return statements


QUERIES: Mapping[str, str] = split_statements(
    files("bridge.store").joinpath("queries.sql").read_text(encoding="utf-8")
)
