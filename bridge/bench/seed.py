"""Many messages in a database, made from one: the rows of a message that went through the real service are repeated
with ids of their own. No column is known here but by what it holds, so that the schema may change.

Every index stays as it is. Nothing is durable while this runs: the database is thrown away afterwards.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import Struct

from bridge.bench.scene import provider_uuid
from bridge.core.model import id_text, new_id
from bridge.errors import BridgeError

__all__ = ["Original", "Seeder", "seeded_uid", "snapshot", "sqlite_version"]

_CHUNK = 200_000  # messages in one transaction
_PRAGMAS = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA cache_size = -1000000",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA locking_mode = EXCLUSIVE",
)
_FRESH = """
CREATE TEMP TABLE fresh (
    number INTEGER PRIMARY KEY, id BLOB, uid TEXT, provider_id BLOB, provider_text TEXT, person TEXT, address BLOB,
    masked TEXT
)
"""


class Original(Struct, frozen=True):
    """The message to repeat, in the words of those who know it: its id, and its ids at Smartico and the provider."""

    message_id: bytes
    uid: str
    provider_uuid: str
    person: str


class _Person(Struct, frozen=True):
    ext_user_id: str
    address: bytes | None
    masked: str | None


class _Copy(Struct, frozen=True):
    """One row of the original as a statement that repeats it for every fresh id."""

    sql: str
    values: Sequence[Any]


class Seeder:
    """A database to which messages are added. The service must not run meanwhile."""

    def __init__(self, path: Path, original: Original) -> None:
        self._path = path
        self._original = original
        self._next = 1

    def add(self, count: int, first_ms: int) -> Iterator[list[tuple[str, str]]]:
        """Adds messages, made at `first_ms` and each millisecond after it; gives their (provider's id,
        ext_message_id) in chunks, so that the caller can stop in between."""
        with closing(_open(self._path)) as connection:
            people = _people(connection)
            copies = list(_copies(connection, self._original, people))
            for start in range(0, count, _CHUNK):
                size = min(_CHUNK, count - start)
                yield self._add_chunk(connection, copies, people, size, first_ms + start)

    def _add_chunk(
        self,
        connection: sqlite3.Connection,
        copies: Sequence[_Copy],
        people: Sequence[_Person],
        size: int,
        first_ms: int,
    ) -> list[tuple[str, str]]:
        rows = [_fresh(self._next + at, first_ms + at, people) for at in range(size)]
        self._next += size
        connection.execute("BEGIN")
        connection.execute("DELETE FROM fresh")
        connection.executemany("INSERT INTO fresh VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        try:
            for copy in copies:
                connection.execute(copy.sql, copy.values)
        except sqlite3.IntegrityError as error:
            raise BridgeError(f"bridge bench cannot repeat a message in this schema: {error}.") from error
        connection.execute("COMMIT")
        return [(row[4], id_text(row[1])) for row in rows]


def _open(path: Path) -> sqlite3.Connection:
    """For one thread at a time, but not always the same: chunks are made in a pool of threads."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for statement in (*_PRAGMAS, _FRESH):
        connection.execute(statement)
    return connection


def snapshot(source: Path, target: Path) -> None:
    """Copies a database as it is now, while the service runs on it."""
    with closing(sqlite3.connect(source)) as running, closing(sqlite3.connect(target)) as copy:
        running.backup(copy)


def seeded_uid(number: int) -> str:
    """The uid at Smartico of a message that was added: in no order, as real ones."""
    return f"bench-{provider_uuid(number)[:10].hex()}"


def sqlite_version() -> str:
    return sqlite3.sqlite_version


def _fresh(number: int, at_ms: int, people: Sequence[_Person]) -> tuple[Any, ...]:
    """The ids of one new message; the same for the same number."""
    raw = provider_uuid(number)
    entropy = int.from_bytes(raw[:9], "big")
    who = people[number % len(people)]
    return (
        number,
        new_id(at_ms, entropy),
        seeded_uid(number),
        raw,
        id_text(raw),
        who.ext_user_id,
        who.address,
        who.masked,
    )


def _people(connection: sqlite3.Connection) -> list[_Person]:
    rows = connection.execute(
        "SELECT ext_user_id, phone_hash, phone_masked FROM contacts ORDER BY ext_user_id"
    )
    return [_Person(*row) for row in rows]


def _copies(connection: sqlite3.Connection, original: Original, people: Sequence[_Person]) -> Iterator[_Copy]:
    """A statement for each row of the original, in every table that holds its id."""
    number = _row_number(connection, original)
    fresh = _Substitutions(original, number, next(p for p in people if p.ext_user_id == original.person))
    tables = connection.execute(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    )
    for (table,) in tables.fetchall():
        columns = connection.execute(f'PRAGMA main.table_info("{table}")').fetchall()
        names = ", ".join(f'"{each[1]}"' for each in columns)
        rows = connection.execute(f'SELECT {names} FROM main."{table}"').fetchall()  # noqa: S608 - names of the schema
        for row in rows:
            if fresh.concerns(table, columns, row):
                yield fresh.copy(table, columns, row)


def _row_number(connection: sqlite3.Connection, original: Original) -> int | None:
    """The INTEGER PRIMARY KEY of the message, where `messages` has one: other tables may name it."""
    columns = connection.execute("PRAGMA main.table_info(messages)").fetchall()
    key = _integer_key(columns)
    if key is None:
        return None
    where = " OR ".join(f'"{each[1]}" = :id' for each in columns)
    found = connection.execute(
        f'SELECT "{key}" FROM main.messages WHERE {where}',  # noqa: S608 - names of the schema
        {"id": original.message_id},
    ).fetchone()
    return int(found[0]) if found else None


def _integer_key(columns: Sequence[Any]) -> str | None:
    keys = [each for each in columns if each[5]]
    return keys[0][1] if len(keys) == 1 and keys[0][2].upper() == "INTEGER" else None


class _Substitutions:
    """Which value of the original becomes which column of `fresh`."""

    def __init__(self, original: Original, number: int | None, person: _Person) -> None:
        self._id = original.message_id
        self._number = number
        digits = original.provider_uuid.replace("-", "")
        self._columns: dict[Any, str] = {
            self._id: "id",
            original.uid: "uid",
            original.provider_uuid: "provider_text",
            bytes.fromhex(digits): "provider_id",
            original.person: "person",
        }
        if person.address is not None:
            self._columns[person.address] = "address"
        if person.masked is not None:
            self._columns[person.masked] = "masked"

    def concerns(self, table: str, columns: Sequence[Any], row: Sequence[Any]) -> bool:
        """Whether the row is about the message: it holds its id, or names its row."""
        named = any(
            self._is_reference(table, each[1], value) for each, value in zip(columns, row, strict=True)
        )
        return self._id in row or named

    def _is_reference(self, table: str, column: str, value: Any) -> bool:
        return (
            self._number is not None
            and table != "messages"
            and column.startswith("message")
            and value == self._number
        )

    def copy(self, table: str, columns: Sequence[Any], row: Sequence[Any]) -> _Copy:
        key = _integer_key(columns)
        names, expressions, values = [], [], []
        for (_, name, *_), value in zip(columns, row, strict=True):
            if name == key and table != "messages":
                continue  # a number of its own
            expression = self._expression(table, name, value, is_key=name == key)
            names.append(f'"{name}"')
            expressions.append(expression or "?")
            if expression is None:
                values.append(value)
        listed, wanted = ", ".join(names), ", ".join(expressions)
        sql = f'INSERT INTO main."{table}" ({listed}) SELECT {wanted} FROM fresh ORDER BY number'  # noqa: S608 - as above
        return _Copy(sql, values)

    def _expression(self, table: str, name: str, value: Any, *, is_key: bool) -> str | None:
        """SQL for a value that differs from message to message; None: it is the same for all."""
        if is_key or self._is_reference(table, name, value):
            return f"number + {self._number}"
        if name == "digest" and isinstance(value, bytes):
            return f"randomblob({len(value)})"
        return self._columns.get(value)
