"""What a store is to the flows: transactions over named statements.

A *job* is a coroutine function over a `Tx`; it loads, asks the pure middle, stores, and touches nothing but the
database, for the engine may run it again (SQLite rolls a whole group back when a neighbour fails; PostgreSQL ends one
of two transactions that wait for each other). The statements are in `queries.sql`; the modules beside this one give
them their types.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from bridge.pii import Vault

__all__ = ["Job", "Row", "Store", "Tx", "distinct"]

T = TypeVar("T")
Row = tuple[Any, ...]


class Tx(Protocol):
    """One transaction. `values` are named as in the statement.

    `shared`: other processes change the same rows at the same time. Then what is taken on is leased, since `began` or
    later (seconds, see `bridge.store.leases.steady`), and what is about to be changed was locked when it was loaded.
    """

    vault: Vault
    shared: bool
    began: float

    async def all(self, query: str, **values: Any) -> list[Row]:
        """All rows."""

    async def one(self, query: str, **values: Any) -> Row | None:
        """The first row, if any."""

    async def any_of(self, query: str, keys: Sequence[Any], **values: Any) -> list[Row]:
        """All rows for any of the keys, `IN (:list)` in the statement; in no order. No keys: no rows."""

    async def run(self, query: str, **values: Any) -> int:
        """Changes rows, and says how many."""

    async def run_many(self, query: str, rows: Sequence[dict[str, Any]]) -> None:
        """Changes rows, once for each set of values; no two sets concern the same row."""

    async def select(self, sql: str, values: Sequence[Any]) -> list[Row]:
        """A search whose text `bridge.store.search` has put together; `?` for values."""


async def distinct(tx: Tx, query: str) -> list[str]:
    """Every value of the first column of an index, one step of it a value, however many rows share one.

    `query` gives the first value above `after`.
    """
    found: list[str] = []
    row = await tx.one(query, after="")
    while row:
        found.append(row[0])
        row = await tx.one(query, after=row[0])
    return found


Job = Callable[[Tx], Coroutine[Any, Any, T]]


class Store(Protocol):
    """A database. All methods raise StoreError when it cannot be used now.

    `lease_seconds`: several processes share the database, and how long what one of them took on stays its own without
    being renewed. None: this process owns it alone.
    """

    vault: Vault
    lease_seconds: float | None

    async def write(self, job: Job[T]) -> T:
        """Runs the job in a transaction; its value comes back after the commit is on disk."""

    async def read(self, job: Job[T]) -> T:
        """Runs a quick job at once: only committed rows are seen, and nothing can be changed."""

    async def search(self, job: Job[T]) -> T:
        """As `read`, for a job that may take long: it holds up nobody."""

    async def claim(self, job: Job[T]) -> T:
        """Runs a quick job that takes work on: a write where others could take it, too, else a `read`."""

    async def check(self) -> None:
        """Raises StoreError when nothing can be written now, without waiting for better times."""

    def tell(self, topic: str) -> None:
        """Wakes the workers of the other processes: there is new work of this kind. It may get lost."""

    def listen(self, heard: Callable[[str], None]) -> None:
        """Calls `heard` with the topics that other processes `tell`."""

    async def close(self) -> None:
        """Lets running jobs end, then lets go of the database."""
