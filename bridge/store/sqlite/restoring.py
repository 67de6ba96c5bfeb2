"""A backup takes the place of the database."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

from bridge.core.model import Millis
from bridge.errors import StoreError
from bridge.pii import Vault
from bridge.store.keys import open_vault
from bridge.store.sqlite import backup, migrate
from bridge.store.sqlite.engine import SqliteTx, connect, damage, run_job
from bridge.store.sqlite.lock import OwnerLock

__all__ = ["kept_path", "restore"]

_BESIDE = ("", "-wal", "-shm")  # of a file that was not closed, the log belongs to it and to no other
# Whoever restores a backup does not know what was sent since.
_DOUBT = "UPDATE sends SET phase = 'handed', handed_at = ? WHERE phase = 'queued'"


def kept_path(path: Path) -> Path:
    """Where the database is kept that was there before."""
    return path.with_name(f"{path.name}.before-restore")


def restore(source: Path, path: Path, pii_key: str, now: Millis) -> int:
    """Puts a copy of `source` at `path`; what is there is kept beside it. Raises StoreError; then nothing has changed.

    What waited to be sent when the backup was made may have been sent since: it counts as perhaps sent, so that the
    provider is asked for it first. Says how many messages that are.
    """
    kept, new = kept_path(path), path.with_name(f"{path.name}.restoring")
    if not source.is_file():
        raise StoreError(f"{source} is no file: name a backup.")
    if kept.exists():
        raise StoreError(
            f"{kept} is there from an earlier restore: move it away, or delete it, and try again."
        )
    with ExitStack() as undo:
        undo.enter_context(OwnerLock(path))
        _remove(new)
        undo.callback(_remove, new)
        backup(source, new)
        doubtful = _prepare(new, pii_key, now)
        try:
            for end in _BESIDE:
                if (old := Path(f"{path}{end}")).exists():
                    old.rename(f"{kept}{end}")
            new.rename(path)
            _sync(path.parent)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be replaced ({error.strerror}); {kept} is what it was."
            ) from error
    return doubtful


def _prepare(copy: Path, pii_key: str, now: Millis) -> int:
    """Looks whether it is whole and can be opened, and notes what is not known any more."""
    with closing(connect(copy, read_only=False)) as connection:
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise StoreError(f"The backup is damaged ({found}): take another one.")
            migrate(connection)
            run_job(open_vault(pii_key), SqliteTx(connection, Vault(b"")))
            doubtful = connection.execute(_DOUBT, (now,)).rowcount
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise StoreError(damage(error) or f"The backup cannot be used ({error}).") from error
    return doubtful


def _remove(path: Path) -> None:
    for end in _BESIDE:
        Path(f"{path}{end}").unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
