"""What is in a database, table by table, and whether another one has the same: for `bridge db copy`.

Nothing here knows an engine: which tables and columns there are, the databases say themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from bridge.store.tx import Row

__all__ = ["Contents", "Digest", "Step", "Table", "Tell"]

Step = Literal["copied", "checked"]
_DIGITS = (1 << 256) - 1


class Table(Struct, frozen=True):
    """A table: its name, its columns, and how many rows it has."""

    name: str
    columns: tuple[str, ...]
    rows: int


Tell = Callable[[Step, Table, int], None]  # called with how many rows of a table that step has behind it


class Contents(Protocol):
    """All tables of a database as they were at one moment, in the order in which they were made."""

    tables: Sequence[Table]

    def rows(self, table: Table) -> Iterator[Row]:
        """The rows, its columns in the order of `Table.columns`; few are in memory. Raises StoreError."""


class Digest:
    """What two tables with the same rows have in common: how many, and the sum of the hashes of all.

    A sum, so that the order does not matter: neither engine has to sort, and a key in which PostgreSQL cannot keep a
    character may sort otherwise there.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._encode = msgspec.msgpack.Encoder().encode  # tells None, numbers, texts and bytes apart

    def add(self, row: Row) -> None:
        self.rows += 1
        self._sum = (self._sum + int.from_bytes(sha256(self._encode(row)).digest())) & _DIGITS

    def equals(self, other: Digest) -> bool:
        """Whether both have the same rows."""
        return (self.rows, self._sum) == (other.rows, other._sum)
