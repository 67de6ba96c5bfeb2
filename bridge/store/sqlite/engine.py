"""The SQLite engine: one connection that writes, and commits that many callers share. `readers` has those that read.

A *job* is a coroutine function over a `Tx`. Its awaits never suspend here, for every statement runs at once; a job
that awaits anything else (a socket, a sleep) is refused, so no transaction can stay open across I/O. The writer takes
the jobs that wait, runs them in one `BEGIN IMMEDIATE … COMMIT` and answers them after it (group commit). When one job
fails, the others run again without it: one caller's error is nobody else's. Jobs must have no effect but on the
database.

The writer's statements run in the event loop, and only its commits, which wait for the disk, in a thread. A statement
takes microseconds; handed to a thread, each of them waited for the interpreter's lock (docs/performance.md has the
figures).
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from bridge.errors import StoreError
from bridge.pii import Vault
from bridge.store.sqlite.library import sqlite_version, too_old
from bridge.store.sqlite.statements import STATEMENTS, padded
from bridge.store.tx import Job, Row

__all__ = ["CLOSED", "SqliteTx", "Writer", "connect", "damage", "run_job", "translate"]

T = TypeVar("T")
CLOSED = "The database is closed: the bridge is stopping."
_HELD = 0.02  # seconds until the next try while another program holds the file
_AWAITED = "a transaction awaited something other than the store"
_Waiting = tuple[Job[Any], "asyncio.Future[Any]"]
_CONNECTION_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8192",  # KiB; each connection has a cache of its own
    "PRAGMA busy_timeout = 5000",
)
_WRITER_PRAGMAS = (
    "PRAGMA cache_size = -65536",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
)


class SqliteTx:
    """The statements of `queries.sql`, by name, on one connection. Async in form, so that flows fit both engines."""

    shared = False
    began = 0.0

    def __init__(self, connection: sqlite3.Connection, vault: Vault) -> None:
        self._connection = connection
        self._execute = connection.execute
        self.vault = vault

    async def all(self, query: str, **values: Any) -> list[Row]:
        sql, bind = STATEMENTS[query]
        return self._execute(sql, bind(values)).fetchall()

    async def one(self, query: str, **values: Any) -> Row | None:
        sql, bind = STATEMENTS[query]
        row: Row | None = self._execute(sql, bind(values)).fetchone()
        return row

    async def any_of(self, query: str, keys: Sequence[Any], **values: Any) -> list[Row]:
        sql, bind = STATEMENTS[query]
        rows: list[Row] = []
        first = bind(values)
        for text, some in padded(sql, keys, len(first)):
            rows += self._execute(text, (*first, *some)).fetchall()
        return rows

    async def run(self, query: str, **values: Any) -> int:
        sql, bind = STATEMENTS[query]
        return self._execute(sql, bind(values)).rowcount

    async def run_many(self, query: str, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            sql, bind = STATEMENTS[query]
            self._connection.executemany(sql, map(bind, rows))

    async def select(self, sql: str, values: Sequence[Any]) -> list[Row]:
        return self._execute(sql, values).fetchall()


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection in autocommit mode, for one user at a time. Raises StoreError with the mend."""
    if wrong := too_old(sqlite_version()):
        raise StoreError(wrong)
    mode = "ro" if read_only else "rwc"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        for pragma in _CONNECTION_PRAGMAS if read_only else _CONNECTION_PRAGMAS + _WRITER_PRAGMAS:
            connection.execute(pragma)
    except sqlite3.Error as error:
        raise StoreError(
            damage(error) or f"The database {path} cannot be opened ({error}); check the path and its rights."
        ) from error
    return connection


def run_job(job: Job[T], tx: SqliteTx) -> T:
    """Runs one job to its end, at once."""
    coroutine = job(tx)
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]
    except asyncio.CancelledError as error:  # the future of a task
        raise RuntimeError(_AWAITED) from error
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # it would end whoever runs the job, and with it every job after this one
        raise RuntimeError(f"a job ended with {type(error).__name__}") from error
    coroutine.close()
    raise RuntimeError(_AWAITED)


class Writer:
    """Runs jobs on the one connection that writes, as many as wait in one transaction."""

    turn = 0.01  # seconds that one transaction may take of the event loop; what still waits then goes into the next
    patience = 5.0  # seconds that another program may hold the file before callers are told
    fresh = 1.0  # seconds for which a commit proves that the file can be written

    def __init__(self, connection: sqlite3.Connection, vault: Vault) -> None:
        connection.execute("PRAGMA busy_timeout = 0")  # the loop must not wait: `_begin` comes again
        self._connection = connection
        self._held_since: float | None = None
        self._wrote_at = -math.inf
        self._tx = SqliteTx(connection, vault)
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="sqlite-commit")
        self._waiting: deque[_Waiting] = deque()
        self._limit: int | None = None  # jobs that the next transaction may take, after one has failed
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def run(self, job: Job[T]) -> T:
        if self._closed:
            raise StoreError(CLOSED)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((job, future))
        if self._idle.is_set():
            self._idle.clear()
            loop.call_soon(
                self._begin, loop
            )  # not at once: what else comes in this turn of the loop joins it
        return await future

    @property
    def wrote_lately(self) -> bool:
        """Whether something was committed just now, and nothing has failed on the file since."""
        return perf_counter() - self._wrote_at < self.fresh

    async def close(self) -> None:
        """Runs what waits, then closes the connection."""
        self._closed = True
        await self._idle.wait()
        self._disk.shutdown()
        self._connection.close()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """One transaction: the jobs that wait, as far as its time goes; then its commit, beside the loop."""
        group: list[_Waiting] = []
        before = self._connection.total_changes
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._held_since = None
            values = self._run_jobs(group)
        except Exception as error:
            if not group and self._may_wait(error):
                loop.call_later(_HELD, self._begin, loop)
                return
            self._undo(group, error)
            self._go_on(loop)
            return
        self._limit = None
        if self._connection.total_changes == before:
            self._end(loop, group, values, self._commit())  # nothing to write: the disk is not asked
            return
        commit = loop.run_in_executor(self._disk, self._commit)
        commit.add_done_callback(lambda done: self._wrote(loop, group, values, done.result()))

    def _run_jobs(self, group: list[_Waiting]) -> list[Any]:
        """Runs jobs, and moves each to `group` before it runs."""
        values: list[Any] = []
        end = perf_counter() + self.turn
        while self._waiting and len(group) != self._limit and (not group or perf_counter() < end):
            group.append(self._waiting.popleft())
            values.append(run_job(group[-1][0], self._tx))
        return values

    def _commit(self) -> Exception | None:
        try:
            self._connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            self._wrote_at = -math.inf
            return error
        return None

    def _wrote(
        self,
        loop: asyncio.AbstractEventLoop,
        group: list[_Waiting],
        values: list[Any],
        error: Exception | None,
    ) -> None:
        if error is None:
            self._wrote_at = perf_counter()
        self._end(loop, group, values, error)

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        group: list[_Waiting],
        values: list[Any],
        error: Exception | None,
    ) -> None:
        """After the commit: everybody in the group is told."""
        if error is None:
            for (_, future), value in zip(group, values, strict=True):
                if not future.cancelled():
                    future.set_result(value)
        else:
            _fail(group, error)
        self._go_on(loop)

    def _undo(self, group: list[_Waiting], error: Exception) -> None:
        """After an error before the commit. It is that of the last job; those before it run again, without it."""
        self._roll_back()
        if not group or _concerns_all(error):
            self._wrote_at = -math.inf
            _fail(group or list(self._waiting), error)
            if not group:  # no transaction could be begun
                self._waiting.clear()
        elif len(group) == 1:
            self._limit = None
            _fail(group, error)
        else:
            self._limit = len(group) - 1
            self._waiting.extendleft(reversed(group))

    def _may_wait(self, error: Exception) -> bool:
        """Whether another program holds the file, and has not done so for too long."""
        now = perf_counter()
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
            return False
        self._held_since = self._held_since or now
        if now - self._held_since < self.patience:
            return True
        self._held_since = None
        return False

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting:
            loop.call_soon(self._begin, loop)
        else:
            self._idle.set()

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            return  # SQLite has rolled back by itself (a full disk); the cause is reported by the caller


def _fail(group: Sequence[_Waiting], error: Exception) -> None:
    for _, future in group:
        if not future.cancelled():
            future.set_exception(translate(error))


def _concerns_all(error: Exception) -> bool:
    """Whether the database itself failed (full, locked, unreadable), and no statement of one job."""
    generic = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR
    return isinstance(error, sqlite3.OperationalError) and not generic


def translate(error: Exception) -> Exception:
    """A failure of the database becomes a sentence; that of one statement, which is a bug, stays what it is."""
    if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError
    ):
        translated = StoreError(damage(error) or f"The database cannot be used now: {error}{_mend(error)}.")
        translated.__cause__ = error
        return translated
    return error


def damage(error: Exception) -> str | None:
    """What to say of a file that SQLite cannot understand; None where something else is wrong."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return None
    return (
        f"The database file is damaged, or is none ({error}): stop bridge, and put a backup in its place "
        "(docs/backup.md); or change database.url."
    )


def _mend(error: Exception) -> str:
    """What a person can do, behind what SQLite says."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return "; make room on its disk, and bridge goes on by itself"
        case sqlite3.SQLITE_IOERR:
            return "; its disk takes no more, or fails: look at the room on it, and at the log of the system"
        case sqlite3.SQLITE_READONLY:
            return "; its file or disk is read-only: look at the rights, the mount, and the log of the system"
        case _:
            return ""
