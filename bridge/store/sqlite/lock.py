"""The lock that makes one process the owner of a SQLite file. The operating system lets go of it with the process."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType

from bridge.errors import StoreError

__all__ = ["OwnerLock", "read_owner"]

_TRIES = 4
_PAUSE = 0.05  # seconds


def lock_path(database: Path) -> Path:
    return database.with_name(database.name + ".lock")


class OwnerLock:
    """Held while a process may write. `note` tells others where the owner answers. Raises StoreError when taken."""

    def __init__(self, database: Path) -> None:
        self._path = lock_path(database)
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"The lock file {self._path} cannot be opened ({error.strerror}); check the folder and its "
                "rights, and database.url."
            ) from error
        if not self._take():
            os.close(self._file)
            raise StoreError(
                f"Another process already serves {database}: one process owns a SQLite database. "
                "Stop it first, or use PostgreSQL for several instances."
            )
        self.note({})

    def _take(self) -> bool:
        for _ in range(_TRIES):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE)  # `read_owner` of another process holds a shared lock for an instant
            else:
                return True
        return False

    def note(self, owner: dict[str, str]) -> None:
        """Writes who the owner is; anyone may read it while the lock is held."""
        data = json.dumps({"pid": str(os.getpid()), **owner}).encode()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, data, 0)

    def release(self) -> None:
        """Lets go; a second time nothing happens."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1  # the number may belong to another file from now on

    def __enter__(self) -> OwnerLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def read_owner(database: Path) -> dict[str, str] | None:
    """What the running owner noted of itself; None where nobody holds the lock."""
    try:
        file = os.open(lock_path(database), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parse(os.read(file, 4096))
    else:
        return None
    finally:
        os.close(file)


def _parse(data: bytes) -> dict[str, str]:
    try:
        owner = json.loads(data)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}
