"""SQLite: one file, one owner, one writing connection, readers beside it."""

from __future__ import annotations

import os
import queue
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from bridge.errors import StoreError
from bridge.pii import Vault
from bridge.store.keys import open_vault, try_writing
from bridge.store.sqlite.engine import SqliteTx, Writer, connect, damage, run_job
from bridge.store.sqlite.lock import OwnerLock, read_owner
from bridge.store.sqlite.readers import Jobs, Looker, Reader
from bridge.store.tx import Job

__all__ = ["SqliteStore", "backup", "migrate", "open_reader", "open_store", "read_owner", "schema_version"]

T = TypeVar("T")

_MIGRATIONS = files("bridge.store.sqlite").joinpath("migrations")
_READERS = 3


class SqliteStore:
    """An open database; see `open_store` and `open_reader`. One process owns it: nobody else's work is in it."""

    lease_seconds: float | None = None

    def __init__(
        self,
        vault: Vault,
        writer: Writer | None,
        looker: Looker,
        readers: list[Reader],
        lock: OwnerLock | None,
    ) -> None:
        self.vault = vault
        self._looker = looker
        self._writer = writer
        self._readers = readers
        self.lock = lock

    async def write(self, job: Job[T]) -> T:
        if self._writer is None:
            raise StoreError("This command only reads the database.")
        return await self._writer.run(job)

    async def read(self, job: Job[T]) -> T:
        return self._looker.run(job)

    async def search(self, job: Job[T]) -> T:
        return await self._readers[0].run(job)  # all of them take from the same queue

    async def check(self) -> None:
        if self._writer is None or not self._writer.wrote_lately:
            await self.write(try_writing)

    async def claim(self, job: Job[T]) -> T:
        return await self.read(job)

    def tell(self, topic: str) -> None:
        """There are no others."""

    def listen(self, heard: Callable[[str], None]) -> None:
        """There is nobody to be heard."""

    async def close(self) -> None:
        self._looker.close()
        for reader in self._readers:
            reader.end()
        for reader in self._readers:
            await reader.close()
        if self._writer:
            await self._writer.close()
        if self.lock:
            self.lock.release()


def open_store(path: Path, pii_key: str, former_key: str = "") -> SqliteStore:
    """Becomes the owner of the file, creating it or bringing it up to date. Raises StoreError with the mend.

    `former_key`: database.pii_key_old.
    """
    if not path.parent.is_dir():
        raise StoreError(
            f"The folder {path.parent} of the database does not exist: create it, or change database.url "
            "(three slashes begin beside the settings file, four at the root)."
        )
    with ExitStack() as undo:
        lock = undo.enter_context(OwnerLock(path))
        _protect(path)
        writing = undo.enter_context(closing(connect(path, read_only=False)))
        migrate(writing)
        vault = _open_vault(writing, pii_key, former_key)
        looking, *reading = [
            undo.enter_context(closing(connect(path, read_only=True))) for _ in range(1 + _READERS)
        ]
        undo.pop_all()
    jobs: Jobs = queue.SimpleQueue()
    readers = [Reader(connection, vault, f"sqlite-reader-{n}", jobs) for n, connection in enumerate(reading)]
    return SqliteStore(vault, Writer(writing, vault), Looker(looking, vault), readers, lock)


def open_reader(path: Path, pii_key: str, former_key: str = "") -> SqliteStore:
    """Opens the file beside its owner, to read only. Raises StoreError with the mend."""
    with ExitStack() as undo:
        looking, reading = [undo.enter_context(closing(connect(path, read_only=True))) for _ in range(2)]
        if _known_version(looking) < latest_version():
            raise StoreError(
                f"The database {path} is not up to date: run bridge db migrate, or start bridge serve."
            )
        vault = _run(looking, open_vault(pii_key, former_key, read_only=True))
        undo.pop_all()
    reader = Reader(reading, vault, "sqlite-reader", queue.SimpleQueue())
    return SqliteStore(vault, None, Looker(looking, vault), [reader], None)


def schema_version(path: Path) -> int:
    """The number of the last migration that the file has seen; 0 where there is no file."""
    if not path.exists():
        return 0
    connection = connect(path, read_only=True)
    try:
        return _version(connection)
    finally:
        connection.close()


def latest_version() -> int:
    """The number of the last migration of this program."""
    return len(_scripts())


def migrate(connection: sqlite3.Connection) -> None:
    """Runs the migrations that the file has not seen, each in a transaction. A newer file is refused."""
    version, scripts = _known_version(connection), _scripts()
    try:
        for number, script in enumerate(scripts[version:], version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\n{_views()}\nPRAGMA user_version = {number};\nCOMMIT;"
            )
    except sqlite3.Error as error:
        raise StoreError(damage(error) or f"The database cannot be brought up to date ({error}).") from error


def backup(path: Path, target: Path) -> None:
    """Copies the database, also while it is being written, into a new file. Raises StoreError."""
    if target.exists():
        raise StoreError(f"{target} exists already: name a new file.")
    try:
        with closing(connect(path, read_only=True)) as source:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            _copy(source, target)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The backup into {target} failed ({error}).") from error


def _copy(source: sqlite3.Connection, target: Path) -> None:
    try:
        with closing(sqlite3.connect(target)) as copy:
            source.backup(copy)  # in one step: one of several begins anew whenever something is committed
    except BaseException:
        target.unlink()  # half a backup is none, and it would be in the way of the next one
        raise


def _protect(path: Path) -> None:
    """The file holds personal data: only its owner may read it. SQLite makes those beside it with the same rights."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            if file.exists():
                file.chmod(0o600)
    except OSError as error:
        raise StoreError(
            f"The database {path} cannot be opened ({error.strerror}); check the path and its rights."
        ) from error


def _version(connection: sqlite3.Connection) -> int:
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(
            damage(error) or f"The file is no SQLite database ({error}); change database.url."
        ) from error
    return version


def _known_version(connection: sqlite3.Connection) -> int:
    """The version of a file that this program can understand."""
    version = _version(connection)
    if version > latest_version():
        raise StoreError(
            "The database was written by a newer version of bridge: install that version, or restore a backup."
        )
    return version


def _scripts() -> list[str]:
    names = sorted(file.name for file in _MIGRATIONS.iterdir() if file.name[0].isdigit())
    return [_MIGRATIONS.joinpath(name).read_text(encoding="utf-8") for name in names]


def _views() -> str:
    return _MIGRATIONS.joinpath("views.sql").read_text(encoding="utf-8")


def _open_vault(connection: sqlite3.Connection, pii_key: str, former_key: str) -> Vault:
    """In one transaction: a database whose keys were written by half could be opened with none."""
    try:
        with connection:  # commits, or rolls back
            connection.execute("BEGIN")
            return _run(connection, open_vault(pii_key, former_key))
    except sqlite3.Error as error:
        raise StoreError(f"The database cannot be used ({error}).") from error


def _run(connection: sqlite3.Connection, job: Job[T]) -> T:
    try:
        return run_job(job, SqliteTx(connection, Vault(b"")))
    except sqlite3.Error as error:
        raise StoreError(damage(error) or f"The database cannot be used ({error}).") from error
