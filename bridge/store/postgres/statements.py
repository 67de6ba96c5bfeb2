"""The statements as PostgreSQL takes them: values by number, lists as arrays, its own text where it has one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from importlib.resources import files

from msgspec import Struct

from bridge.store.queries import QUERIES, split_statements

__all__ = ["OWN", "STATEMENTS", "Statement", "compile_statement", "for_many", "numbered"]

_NAME = re.compile(r"(?<!:):(\w+)")
_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_LOCK = re.compile(r"\s+FOR (?:UPDATE|KEY SHARE)( OF \w+)?( SKIP LOCKED)?\s*$")
_VALUE = "value_"
_CLOCK = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


class Statement(Struct, frozen=True):
    """`names` are those of the values, in the order of their numbers; `unlocked` is the text for who only reads."""

    text: str
    unlocked: str
    names: tuple[str, ...]


def compile_statement(text: str) -> Statement:
    """Named values become numbered ones, `IN (:list)` becomes `= ANY ($n)`, and `:clock` the time of the database."""
    text = _COMMENT.sub("", text).strip().replace("IN (:list)", "= ANY (:list)").replace(":clock", _CLOCK)
    names = tuple(dict.fromkeys(_NAME.findall(text)))
    numbers = {name: f"${number}" for number, name in enumerate(names, 1)}
    text = _NAME.sub(lambda found: numbers[found[1]], text)
    return Statement(text, _LOCK.sub("", text), names)


def for_many(statement: Statement, listed: Set[str], types: Sequence[str]) -> str:
    """A statement that changes rows, for many sets of values at once: the `listed` values come as arrays.

    `types`: those of all values, in the order of their numbers. No two sets may concern the same row.
    """
    arrays = [
        (f"{_VALUE}{number}", f"CAST(${number} AS {type_}[])")
        for number, (name, type_) in enumerate(zip(statement.names, types, strict=True), 1)
        if name in listed
    ]
    names, values = zip(*arrays, strict=True)
    source = f"unnest({', '.join(values)}) AS v ({', '.join(names)})"
    text = statement.text
    for number, name in reversed(list(enumerate(statement.names, 1))):
        if name in listed:
            text = text.replace(f"${number}", f"v.{_VALUE}{number}")
    if text.startswith("INSERT"):
        head, _, tail = text.partition("VALUES")
        inserted, tail = _closed(tail.lstrip())
        return f"{head}SELECT {inserted} FROM {source}{tail}"  # noqa: S608 - of our own statements only
    word = "USING" if text.startswith("DELETE") else "FROM"
    head, where, tail = text.partition("WHERE")
    return f"{head}{word} {source} {where}{tail}"


def _closed(text: str) -> tuple[str, str]:
    """What stands in the brackets with which the text begins, and what comes behind them."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return text[1:place], text[place + 1 :]
    raise ValueError("brackets are not closed")


def numbered(sql: str) -> str:
    """A search with `?` for its values."""
    parts = sql.split("?")
    return parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))


OWN: Mapping[str, str] = split_statements(
    files("bridge.store.postgres").joinpath("queries.sql").read_text(encoding="utf-8")
)
STATEMENTS: Mapping[str, Statement] = {
    name: compile_statement(text) for name, text in {**QUERIES, **OWN}.items()
}
