"""All rows of a database file, as they are at one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import StoreError
from bridge.store.copying import Table
from bridge.store.sqlite.engine import connect
from bridge.store.tx import Row

__all__ = ["FileContents", "open_contents"]

_AT_A_TIME = 250  # rows in memory
# Not those of SQLite itself, and not those that litestream keeps in the file.
_TABLES = """
SELECT name FROM sqlite_master
WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_litestream_*' ORDER BY rowid
"""


class FileContents:
    """See `bridge.store.copying.Contents` and `open_contents`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.tables: Sequence[Table] = [
            self._table(name) for (name,) in connection.execute(_TABLES).fetchall()
        ]

    def _table(self, name: str) -> Table:
        columns = self._connection.execute(f"PRAGMA table_info({_quoted(name)})").fetchall()
        count = self._connection.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0]  # noqa: S608
        return Table(name, tuple(column[1] for column in columns), count)

    def rows(self, table: Table) -> Iterator[Row]:
        names = ", ".join(map(_quoted, table.columns))
        try:
            cursor = self._connection.execute(f"SELECT {names} FROM {_quoted(table.name)}")  # noqa: S608
            while some := cursor.fetchmany(_AT_A_TIME):
                yield from some
        except sqlite3.Error as error:
            raise _unreadable(error) from error


@contextmanager
def open_contents(path: Path) -> Iterator[FileContents]:
    """Everything that is in the file now; whoever writes meanwhile is not seen. Raises StoreError."""
    connection = connect(path, read_only=True)
    try:
        connection.execute("BEGIN")
        contents = FileContents(connection)
    except sqlite3.Error as error:
        connection.close()
        raise _unreadable(error) from error
    try:
        yield contents
    finally:
        connection.close()


def _quoted(name: str) -> str:
    """A name from the schema of the file; the statements above consist of these alone."""
    return '"' + name.replace('"', '""') + '"'


def _unreadable(error: sqlite3.Error) -> StoreError:
    return StoreError(f"The SQLite database cannot be read ({error}): restore a backup.")
