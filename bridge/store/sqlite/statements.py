"""The statements of `queries.sql` as SQLite takes them fastest: values by position, lists in few sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from bridge.store.queries import QUERIES

__all__ = ["STATEMENTS", "Statement", "compile_statement", "padded"]

Bind = Callable[[Mapping[str, Any]], tuple[Any, ...]]
Statement = tuple[str, Bind]

_NAME = re.compile(r":(\w+)")
_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_LIST = "(:list)"
_LARGEST = 512  # keys in one statement


def compile_statement(text: str) -> Statement:
    """Named values become numbered ones (half the time to bind them); `bind` puts them in that order."""
    text = _COMMENT.sub("", text)
    names = list(dict.fromkeys(name for name in _NAME.findall(text) if name != "list"))
    numbers = {name: f"?{number}" for number, name in enumerate(names, 1)}
    return _NAME.sub(lambda found: numbers.get(found[1], found[0]), text), _binder(names)


def _binder(names: Sequence[str]) -> Bind:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: tuple(values[name] for name in names)


def padded(sql: str, keys: Sequence[Any], bound: int) -> Iterator[tuple[str, Sequence[Any]]]:
    """`sql` with as many numbers for `:list` as keys, after `bound` others.

    Lists are filled up to a power of two with their last key, so that few texts exist and stay prepared.
    """
    for start in range(0, len(keys), _LARGEST):
        some = list(keys[start : start + _LARGEST])
        size = 1 << (len(some) - 1).bit_length()
        some += some[-1:] * (size - len(some))
        yield _sized(sql, bound, size), some


_SIZED: dict[tuple[str, int], str] = {}


def _sized(sql: str, bound: int, size: int) -> str:
    text = _SIZED.get((sql, size))
    if text is None:
        marks = ", ".join(f"?{number}" for number in range(bound + 1, bound + size + 1))
        text = _SIZED[sql, size] = sql.replace(_LIST, f"({marks})")
    return text


STATEMENTS: Mapping[str, Statement] = {name: compile_statement(text) for name, text in QUERIES.items()}
