"""The SQLite engine: one thread that writes, a few that read, and commits that many callers share.

A *job* is a coroutine function over a `Tx`. Its awaits never suspend here, for every statement runs at once in the
thread that owns the connection; a job that awaits anything else (a socket, a sleep) is refused, so no transaction can
stay open across I/O. The writer takes all jobs that wait, runs them in one `BEGIN IMMEDIATE … COMMIT` and answers them
after it (group commit). When one job fails, the group is rolled back and its
halves run again, until the failing job is alone: one caller's error is nobody else's. Jobs must have no effect but on
the database.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from bridge.errors import StoreError
from bridge.pii import Vault
from bridge.store.queries import QUERIES
from bridge.store.tx import Job, Row

__all__ = ["Jobs", "Reader", "SqliteTx", "Writer", "connect", "run_job"]

T = TypeVar("T")
_AWAITED = "a transaction awaited something other than the store"
_Waiting = tuple[Job[Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]
Jobs = queue.SimpleQueue["_Waiting | None"]
_CONNECTION_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -65536",
    "PRAGMA busy_timeout = 5000",
)
_WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
)


class SqliteTx:
    """The statements of `queries.sql`, by name, on one connection. Async in form, so that flows fit both engines."""

    def __init__(self, connection: sqlite3.Connection, vault: Vault) -> None:
        self._connection = connection
        self.vault = vault

    async def all(self, query: str, **values: Any) -> list[Row]:
        return self._connection.execute(QUERIES[query], values).fetchall()

    async def one(self, query: str, **values: Any) -> Row | None:
        row: Row | None = self._connection.execute(QUERIES[query], values).fetchone()
        return row

    async def each(self, query: str, rows: Sequence[dict[str, Any]]) -> list[Row | None]:
        """The first row (or None) for each set of values, in their order."""
        sql, execute = QUERIES[query], self._connection.execute
        return [execute(sql, values).fetchone() for values in rows]

    async def run(self, query: str, **values: Any) -> int:
        """How many rows were touched."""
        return self._connection.execute(QUERIES[query], values).rowcount

    async def run_many(self, query: str, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            self._connection.executemany(QUERIES[query], rows)

    async def select(self, sql: str, values: Sequence[Any]) -> list[Row]:
        """A search whose text the store has put together; `?` for values."""
        return self._connection.execute(sql, values).fetchall()


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection in autocommit mode, for use in one thread. Raises StoreError with the mend."""
    mode = "ro" if read_only else "rwc"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        for pragma in _CONNECTION_PRAGMAS if read_only else _CONNECTION_PRAGMAS + _WRITER_PRAGMAS:
            connection.execute(pragma)
    except sqlite3.Error as error:
        raise StoreError(
            f"The database {path} cannot be opened ({error}); check the path and its rights."
        ) from error
    return connection


def run_job(job: Job[T], tx: SqliteTx) -> T:
    """Runs one job to its end, in this thread, at once."""
    coroutine = job(tx)
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]
    except asyncio.CancelledError as error:  # the future of a task: no Exception, it would end this thread
        raise RuntimeError(_AWAITED) from error
    coroutine.close()
    raise RuntimeError(_AWAITED)


class _Thread:
    """A thread that owns one connection and takes jobs from a queue until it is closed."""

    _group = 1  # jobs taken at once

    def __init__(
        self, connection: sqlite3.Connection, vault: Vault, name: str, jobs: Jobs | None = None
    ) -> None:
        self._connection = connection
        self._tx = SqliteTx(connection, vault)
        self._jobs: Jobs = queue.SimpleQueue() if jobs is None else jobs
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Job[T]) -> T:
        if self._closed:
            raise StoreError("The database is closed: the bridge is stopping.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((job, loop, future))
        return await future

    def end(self) -> None:
        """Takes nothing any more. Threads that share a queue must all be told before one is waited for."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)

    async def close(self) -> None:
        """Runs what waits, then closes the connection."""
        self.end()
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _loop(self) -> None:
        running = True
        while running:
            group, running = self._take()
            if group:
                _answer(group, self._run_group([job for job, _, _ in group]))

    def _take(self) -> tuple[list[_Waiting], bool]:
        group: list[_Waiting] = []
        item = self._jobs.get()
        while item is not None:
            group.append(item)
            if len(group) >= self._group:
                return group, True
            try:
                item = self._jobs.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _run_group(self, jobs: list[Job[Any]]) -> list[Any]:
        return [self._attempt(job) for job in jobs]

    def _attempt(self, job: Job[Any]) -> Any:
        """The job's value, or the exception that it ended with."""
        try:
            return run_job(job, self._tx)
        except Exception as error:
            return _translate(error)


class Reader(_Thread):
    """Runs jobs on a read-only connection. Readers share a queue, so that a slow job holds up no other."""


class Writer(_Thread):
    """Runs jobs on the one connection that writes, as many as wait in one transaction."""

    _group = 2000

    def _run_group(self, jobs: list[Job[Any]]) -> list[Any]:
        try:
            return self._commit(jobs)
        except Exception as error:
            self._roll_back()
            if len(jobs) == 1 or _concerns_all(error):
                return [_translate(error) for _ in jobs]
        middle = len(jobs) // 2
        return self._run_group(jobs[:middle]) + self._run_group(jobs[middle:])

    def _commit(self, jobs: list[Job[Any]]) -> list[Any]:
        self._connection.execute("BEGIN IMMEDIATE")
        values = [run_job(job, self._tx) for job in jobs]
        self._connection.execute("COMMIT")
        return values

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            return  # SQLite has rolled back by itself (a full disk); the cause is reported by the caller


def _concerns_all(error: Exception) -> bool:
    """Whether the database itself failed (full, locked, unreadable), and no statement of one job."""
    generic = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR
    return isinstance(error, sqlite3.OperationalError) and not generic


def _translate(error: Exception) -> Exception:
    if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError
    ):
        translated = StoreError(f"The database cannot be used now: {error}.")
        translated.__cause__ = error
        return translated
    return error


def _answer(group: list[_Waiting], values: list[Any]) -> None:
    """Hands the values back, one wake-up of the event loop for the whole group."""
    loop = group[0][1]
    try:
        loop.call_soon_threadsafe(
            _resolve, [(future, value) for (_, _, future), value in zip(group, values, strict=True)]
        )
    except RuntimeError:
        return  # the loop is closed: nobody waits any more


def _resolve(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, value in pairs:
        if future.cancelled():
            continue
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)
