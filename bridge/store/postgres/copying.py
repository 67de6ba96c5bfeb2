"""Fills an empty PostgreSQL database with all that is in another one: everything in one transaction, or nothing.

Before the commit the rows are read back, and compared with what was sent.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import asyncpg
from asyncpg import exceptions
from asyncpg.connect_utils import SessionAttribute

from bridge.errors import StoreError
from bridge.store.copying import Contents, Digest, Table, Tell
from bridge.store.postgres.engine import QueryError, storable, translate
from bridge.store.postgres.facts import cannot_connect
from bridge.store.postgres.schema import known_version, migrate
from bridge.store.tx import Row

__all__ = ["copy_into"]

_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 600.0  # for one statement, above all the commit
_AT_ONCE = 10_000  # rows in one COPY
_AT_A_TIME = 250  # rows in memory when they are read back
_BREATH = 50  # rows
_SETTINGS = {
    "application_name": "bridge db copy",
    "statement_timeout": "0",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10min",
    "default_transaction_read_only": "off",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

_TABLES = """
SELECT c.relname FROM pg_class AS c
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
ORDER BY c.relname
"""
_COLUMNS = """
SELECT table_name, column_name, is_identity = 'YES' FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = ANY ($1)
"""
# The one row that a database has of its own, and that the other one keeps elsewhere.
_OWN = {"meta": " WHERE key <> 'schema_version'"}
# What a database has as soon as bridge looked at it (its keys, which guard nothing yet), and is replaced.
_REPLACED = ("meta", "error_texts")
# A message that was perhaps sent is taken over when its lease is over (`handed_sends`), and never where it has none. In
# SQLite there are no leases, for there the one process takes over all; one of long ago lets the first worker do so.
_RELEASE = "UPDATE sends SET leased_until = 0 WHERE phase = 'handed'"


async def copy_into(dsn: str, source: Contents, tell: Tell) -> None:
    """Copies all rows of `source` into the database at `dsn`, which must hold none and is made or brought up to date.

    Compares both before the commit. Raises StoreError; then none of the rows is there.
    """
    connection = await _connect(dsn)
    try:
        await _Copy(connection, source, tell).run()
    finally:
        connection.terminate()


async def _connect(dsn: str) -> asyncpg.Connection[asyncpg.Record]:
    try:
        return await asyncpg.connect(
            dsn,
            timeout=_CONNECT_SECONDS,
            command_timeout=_STATEMENT_SECONDS,
            target_session_attrs=SessionAttribute.read_write,
            server_settings=_SETTINGS,
        )
    except Exception as error:
        raise cannot_connect(error, "the address after --to") from None


class _Copy:
    """One copy into one database."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], source: Contents, tell: Tell) -> None:
        self._connection = connection
        self._source = source
        self._tell = tell
        self._at = "the schema"  # what fails if something fails now

    async def run(self) -> None:
        try:
            await self._prepare()
            transaction = self._connection.transaction()
            await transaction.start()
            try:
                await self._fill()
            except BaseException:
                with suppress(Exception):  # where the connection is gone, the server does it by itself
                    await transaction.rollback()
                raise
        except StoreError:
            raise
        except Exception as error:
            raise self._failed(error) from None
        await self._commit(transaction)

    async def _prepare(self) -> None:
        await known_version(self._connection)
        await self._refuse_rows()  # before anything is made in the database of somebody else
        await migrate(self._connection)

    async def _fill(self) -> None:
        tables = await self._lock()
        await self._refuse_rows()
        for name in _REPLACED:
            await self._connection.execute(f"DELETE FROM {_quoted(name)}{_OWN.get(name, '')}")  # noqa: S608
        numbered = await self._match_columns()
        for table in self._source.tables:
            self._at = f"the table {table.name}"
            sent = await self._copy(table)
            if table.name == "sends":
                await self._connection.execute(_RELEASE)
            for column in numbered.get(table.name, ()):
                await self._go_on_behind(table.name, column)
            await self._check(table, sent)
        self._at = "the statistics"
        for name in tables:
            await self._connection.execute(f"ANALYZE {_quoted(name)}")

    async def _lock(self) -> list[str]:
        """Until the commit nobody else writes: a service that starts now waits, and finds all rows or none."""
        tables = await self._tables()
        await self._connection.execute(f"LOCK TABLE {', '.join(map(_quoted, tables))} IN EXCLUSIVE MODE")
        return tables

    async def _tables(self) -> list[str]:
        return [row[0] for row in await self._connection.fetch(_TABLES)]

    async def _refuse_rows(self) -> None:
        found = []
        for name in await self._tables():
            sql = f"SELECT EXISTS (SELECT 1 FROM {_quoted(name)})"  # noqa: S608
            if name not in _REPLACED and await self._connection.fetchval(sql):
                found.append(name)
        if found:
            raise StoreError(
                f"The target is not empty, it has rows in {', '.join(found)}: name a new database, "
                "or empty this one (DROP DATABASE, CREATE DATABASE)."
            )

    async def _match_columns(self) -> dict[str, list[str]]:
        """The columns that number themselves, by table. Raises StoreError where the target lacks a column."""
        names = [table.name for table in self._source.tables]
        there = [tuple(row) for row in await self._connection.fetch(_COLUMNS, names)]
        known = {(table, column) for table, column, _ in there}
        for table in self._source.tables:
            lacking = [column for column in table.columns if (table.name, column) not in known]
            if lacking:
                raise StoreError(
                    f"The table {table.name} of the SQLite file (with {', '.join(lacking)}) is none of bridge's, "
                    "and was not copied: move it elsewhere, and begin again."
                )
        numbered: dict[str, list[str]] = {}
        for name, column, is_identity in there:
            if is_identity:
                numbered.setdefault(name, []).append(column)
        return numbered

    async def _copy(self, table: Table) -> Digest:
        """Sends the rows; gives the digest of what was sent."""
        digest = Digest()
        rows = _storables(self._source.rows(table), digest)
        for _ in range(0, table.rows, _AT_ONCE):
            await self._connection.copy_records_to_table(
                table.name, columns=table.columns, records=self._feed(islice(rows, _AT_ONCE))
            )
            self._tell("copied", table, digest.rows)
        return digest

    async def _feed(self, rows: Iterator[Row]) -> AsyncIterator[Row]:
        """Lets the loop run now and then: else a lost connection shows only when all rows are written."""
        for number, row in enumerate(rows):
            if number % _BREATH == 0:
                await asyncio.sleep(0)
                if self._connection.is_closed():
                    raise ConnectionResetError(errno.ECONNRESET, "the connection was lost")
            yield row

    async def _go_on_behind(self, table: str, column: str) -> None:
        """The next number is the one behind the largest, as on SQLite. Unlike setval it is undone by a rollback."""
        largest = await self._connection.fetchval(f"SELECT max({_quoted(column)}) FROM {_quoted(table)}")  # noqa: S608
        if largest is not None:
            sequence = await self._connection.fetchval(
                "SELECT pg_get_serial_sequence($1, $2)", _quoted(table), column
            )
            await self._connection.execute(f"ALTER SEQUENCE {sequence} RESTART WITH {max(largest, 0) + 1}")

    async def _check(self, table: Table, sent: Digest) -> None:
        found = await self._read_back(table)
        if sent.rows != table.rows or not found.equals(sent):
            raise StoreError(
                f"The check found a difference in the table {table.name} ({table.rows:,} rows in SQLite, "
                f"{found.rows:,} in PostgreSQL), and nothing was kept: look for triggers and rules in the target, "
                "or name a new database."
            )

    async def _read_back(self, table: Table) -> Digest:
        digest = Digest()
        columns = ", ".join(map(_quoted, table.columns))
        sql = f"SELECT {columns} FROM {_quoted(table.name)}{_OWN.get(table.name, '')}"  # noqa: S608
        cursor: Any = await self._connection.cursor(sql)
        while rows := await cursor.fetch(_AT_A_TIME):
            for row in rows:
                digest.add(tuple(row))
            self._tell("checked", table, digest.rows)
        return digest

    def _failed(self, error: Exception) -> Exception:
        translated = translate(error, self._at)
        if isinstance(translated, StoreError):
            return StoreError(
                f"The copy failed at {self._at}, and nothing of it was kept. {translated.sentence} Begin again when "
                "that is mended."
            )
        if isinstance(translated, QueryError | TypeError | ValueError | OverflowError):
            return StoreError(
                f"The copy failed, and nothing of it was kept: PostgreSQL refuses a part of {self._at} "
                f"({type(error).__name__}). Please report this."
            )
        return translated

    async def _commit(self, transaction: Any) -> None:
        self._at = "the commit"
        try:
            await transaction.commit()
        except exceptions.PostgresError as error:  # the server says that it did not
            raise self._failed(error) from None
        except Exception:
            raise StoreError(
                "The connection was lost at the very end: the copy was kept as a whole or not at all. Run the command "
                "again; if it finds rows in the target, the copy is there."
            ) from None


def _storables(rows: Iterator[Row], digest: Digest) -> Iterator[Row]:
    """The rows as PostgreSQL can keep them; the digest is of those."""
    for row in rows:
        kept = tuple(map(storable, row))
        digest.add(kept)
        yield kept


def _quoted(name: str) -> str:
    """A name that one of the two databases gave; no other text gets into the statements above."""
    return '"' + name.replace('"', '""') + '"'
