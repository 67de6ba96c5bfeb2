"""The PostgreSQL engine: jobs on pooled connections, each in a transaction of its own.

Rows that a job is about to change are locked when it loads them (`load_messages` and others end in FOR UPDATE), in the
order of their keys. Should two transactions wait for each other all the same, PostgreSQL ends one, and it runs again.
Neither the error texts of asyncpg nor those of the server get out of here unread: they may quote a row.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import asyncpg
from asyncpg import exceptions
from asyncpg.pool import PoolConnectionProxy

from bridge.errors import StoreError
from bridge.pii import Vault
from bridge.store.leases import steady
from bridge.store.postgres.statements import STATEMENTS, Statement, for_many, numbered
from bridge.store.tx import Job, Row

__all__ = ["Connection", "PostgresTx", "QueryError", "Runner", "storable", "translate"]

T = TypeVar("T")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_CLOSED = "The database is closed: the bridge is stopping."
_BUSY = "The database is too busy: other transactions get in the way again and again."
_NO_CONNECTION = "The database cannot be used now: no connection is free, or can be made, in time."
_MOST_CONFLICTS = 10
_CONFLICT_PAUSE = 0.02  # seconds at most before a transaction that got in another one's way runs again
_PATIENCE = 3.0  # seconds for which a server that went away is waited for (a restart takes one)
_AWAY_PAUSE = 0.2  # seconds at most between tries to connect
_ACQUIRE = 8.0  # seconds until a connection has to be there
_CLOSE = 2.0  # seconds for the good-byes

# Classes of SQLSTATE that say something of the server or of the connection, and nothing of one statement's values:
# connection, wrong server or user, transaction killed, no such table, resources, limits, operator, system.
_SERVER = ("08", "0A", "25", "28", "3D", "42", "53", "54", "55", "57", "58", "F0", "XX")

_BULK: dict[str, str] = {}  # the statements for many rows, by name

_LOST = (
    OSError,
    exceptions.InterfaceError,
    exceptions.InternalClientError,
    exceptions.PostgresConnectionError,
    exceptions.OperatorInterventionError,
)


class QueryError(Exception):
    """A statement failed on its values: a bug of ours. Says which one and how, but not the values."""


class PostgresTx:
    """The statements by name, on one connection. `owner` and `lease_ms` go into those that lease."""

    def __init__(
        self, connection: Connection, vault: Vault, own: Mapping[str, Any], *, read_only: bool = False
    ) -> None:
        self._connection = connection
        self._own = own
        self._read_only = read_only
        self.vault = vault
        self.shared = not read_only
        self.began = steady()
        self.statement = ""

    async def all(self, query: str, **values: Any) -> list[Row]:
        sql, args = self._bind(query, values)
        return list(map(tuple, await self._connection.fetch(sql, *args)))

    async def one(self, query: str, **values: Any) -> Row | None:
        sql, args = self._bind(query, values)
        row = await self._connection.fetchrow(sql, *args)
        return None if row is None else tuple(row)

    async def any_of(self, query: str, keys: Sequence[Any], **values: Any) -> list[Row]:
        return await self.all(query, list=[storable(key) for key in keys], **values) if keys else []

    async def run(self, query: str, **values: Any) -> int:
        sql, args = self._bind(query, values)
        return _count(await self._connection.execute(sql, *args))

    async def run_many(self, query: str, rows: Sequence[dict[str, Any]]) -> None:
        if len(rows) == 1:
            await self.run(query, **rows[0])
        elif rows:
            statement = self._statement(query)
            text = _BULK.get(query) or await self._prepare_bulk(query, statement, rows[0].keys())
            await self._connection.execute(
                text,
                *(
                    [storable(row[name]) for row in rows] if name in rows[0] else self._own[name]
                    for name in statement.names
                ),
            )

    async def _prepare_bulk(self, query: str, statement: Statement, listed: Set[str]) -> str:
        """The types of the values are those that the server finds for a single row."""
        prepared = await self._connection.prepare(statement.text)
        types = [each.name for each in prepared.get_parameters()]
        text = _BULK[query] = for_many(statement, listed, types)
        return text

    async def select(self, sql: str, values: Sequence[Any]) -> list[Row]:
        self.statement = "a search"
        args = [storable(value) for value in values]
        return list(map(tuple, await self._connection.fetch(numbered(sql), *args)))

    def _statement(self, query: str) -> Statement:
        self.statement = query
        return STATEMENTS[query]

    def _bind(self, query: str, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        statement = self._statement(query)
        text = statement.unlocked if self._read_only else statement.text
        return text, self._values(statement.names, values)

    def _values(self, names: Sequence[str], values: Mapping[str, Any]) -> list[Any]:
        own = self._own
        return [storable(values[name] if name in values else own[name]) for name in names]


def storable(value: Any) -> Any:
    """PostgreSQL keeps no NUL in a text."""
    if isinstance(value, str) and "\0" in value:
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return value


def _count(status: str) -> int:
    """How many rows: the last word of "UPDATE 3"."""
    return int(status.rpartition(" ")[2])


class _AwayError(Exception):
    """The connection was lost before anything was committed. `cause` is what to say if the job does not run again."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class _ConflictError(Exception):
    """Another transaction got in the way, and this one was rolled back."""


class Runner:
    """Runs jobs on the connections of one pool. `transaction` False: each statement by itself, for who only reads.

    `hangs` is called when a statement was not answered in time: perhaps no other will be either.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        make_tx: Callable[[Connection], PostgresTx],
        *,
        transaction: bool,
        hangs: Callable[[], None] | None = None,
    ) -> None:
        self._hangs = hangs
        self._used: set[PoolConnectionProxy[asyncpg.Record]] = set()
        self._pool = pool
        self._make_tx = make_tx
        self._transaction = transaction
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def run(self, job: Job[T], patience: float = _PATIENCE) -> T:
        """Runs the job; again, for `patience` seconds, while it is certain that nothing of it was committed.

        Raises StoreError, or what the job raises.
        """
        if self._closed:
            raise StoreError(_CLOSED)
        self._running += 1
        self._idle.clear()
        try:
            return await self._until_through(job, patience)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def cut(self) -> None:
        """Gives up what is under way: the server hangs, or the way to it is half-open. The jobs get a StoreError."""
        for connection in list(self._used):
            _cut(connection)

    async def close(self) -> None:
        """Lets what was asked end, then closes the connections."""
        self._closed = True
        try:
            async with asyncio.timeout(_CLOSE):
                await self._idle.wait()
                await self._pool.close()
        except TimeoutError:
            return
        finally:
            self._pool.terminate()

    async def _until_through(self, job: Job[T], patience: float) -> T:
        end = monotonic() + patience
        conflicts = 0
        while True:
            try:
                return await self._connected(job)
            except _AwayError as error:
                if monotonic() > end:
                    raise error.cause from None
                await asyncio.sleep(random.uniform(0, _AWAY_PAUSE))
            except _ConflictError:
                conflicts += 1
                if conflicts == _MOST_CONFLICTS:
                    raise StoreError(_BUSY) from None
                await asyncio.sleep(random.uniform(0, _CONFLICT_PAUSE))

    async def _connected(self, job: Job[T]) -> T:
        """On a connection, which is closed when it may be the cause of an error."""
        try:
            connection = await self._pool.acquire(timeout=_ACQUIRE)
        except TimeoutError:
            raise StoreError(_NO_CONNECTION) from None
        except Exception as error:
            raise _AwayError(translate(error, "connecting")) from None
        tx = self._make_tx(connection)
        self._used.add(connection)
        try:
            if not self._transaction:
                return await job(tx)
            return await self._in_transaction(connection, tx, job)
        except (_AwayError, _ConflictError):
            raise
        except Exception as error:
            self._note(error)
            translated = translate(error, tx.statement)
            if isinstance(translated, StoreError) and not isinstance(error, StoreError):
                _cut(connection)
            if translated is error:
                raise
            raise translated from None
        finally:
            self._used.discard(connection)
            await self._give_back(connection)

    async def _in_transaction(
        self, connection: PoolConnectionProxy[asyncpg.Record], tx: PostgresTx, job: Job[T]
    ) -> T:
        """Until the commit nothing is stored, so that an error of the connection is no error of the job."""
        transaction = connection.transaction()
        try:
            await transaction.start()
            value = await job(tx)
        except BaseException as error:
            self._note(error)
            try:
                await transaction.rollback()
            except Exception:
                _cut(connection)
            if isinstance(error, exceptions.SerializationError | exceptions.DeadlockDetectedError):
                raise _ConflictError from None
            if isinstance(error, _LOST) and not isinstance(
                error, ValueError
            ):  # of asyncpg: a value does not fit
                raise _AwayError(translate(error, tx.statement)) from None
            raise
        await transaction.commit()
        return value

    def _note(self, error: BaseException) -> None:
        if isinstance(error, TimeoutError) and self._hangs:
            self._hangs()

    async def _give_back(self, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
        """What the connection does now says nothing of the job: that is committed, or has failed, already."""
        try:
            await self._pool.release(connection)
        except Exception:
            _cut(connection)


def _cut(connection: Connection) -> None:
    with suppress(exceptions.InterfaceError):  # the pool has noticed by itself, and taken it back
        connection.terminate()


def translate(error: Exception, statement: str) -> Exception:
    """A failure of the database becomes a sentence, that of one statement a `QueryError`; others stay what they are."""
    if isinstance(error, TimeoutError):
        return StoreError("The database cannot be used now: it does not answer in time.")
    if isinstance(error, exceptions.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        if state.startswith(_SERVER) or not state:
            return StoreError(f"The database cannot be used now: {_first_line(error)}.")
        return QueryError(f"{statement}: {type(error).__name__} ({state})")
    if isinstance(error, ValueError) and isinstance(error, exceptions.InterfaceError):
        return QueryError(f"{statement}: a value of the wrong kind or size")
    if isinstance(error, exceptions.InterfaceError):
        return StoreError("The database cannot be used now: the connection was lost.")
    if isinstance(error, exceptions.InternalClientError | OSError):
        return StoreError(f"The database cannot be used now: {_first_line(error)}.")
    if isinstance(error, UnicodeEncodeError):
        return QueryError(f"{statement}: a text that is no Unicode")
    return error


def _first_line(error: Exception) -> str:
    """What an error of a server or a connection says, without the values that its further lines may hold."""
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    text = str(error.args[0]) if error.args else type(error).__name__
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
