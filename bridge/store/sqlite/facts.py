"""What can be said of a database file without reading its rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from bridge.errors import StoreError
from bridge.store.sqlite import schema_version
from bridge.store.sqlite.engine import connect

__all__ = ["FileFacts", "read_facts"]


class FileFacts(Struct, frozen=True):
    """A database file. `bytes` counts its write-ahead log, too."""

    bytes: int
    schema_version: int
    journal: str


def read_facts(path: Path) -> FileFacts:
    """Raises StoreError where it is no database."""
    try:
        with closing(connect(path, read_only=True)) as connection:
            journal = connection.execute("PRAGMA journal_mode").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(f"The file is no SQLite database ({error}); change database.url.") from error
    files = (path, path.with_name(path.name + "-wal"))
    return FileFacts(
        sum(file.stat().st_size for file in files if file.exists()), schema_version(path), journal
    )
