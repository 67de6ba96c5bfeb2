"""The change of `database.pii_key`: every value that another key sealed, or none, is sealed anew with the present one.

A walk through all columns seals; another one looks whether anything was missed (by an instance that was not restarted
yet, or by a transaction that was under way), until a walk finds nothing. Only then the former key is forgotten. What
was sealed anew is recognised, so that a walk that was interrupted can begin from the start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from bridge.core.model import Millis
from bridge.errors import BridgeError
from bridge.pii import SealedWith
from bridge.store.audit import add_audit
from bridge.store.keys import end_rotation, is_rotating
from bridge.store.sealed import SEALED, Part, Sealed, count_rows, look, seal_anew
from bridge.store.tx import Job, Row, Store, Tx

__all__ = ["Rotated", "Rotation", "WrongKeyError", "count_values"]

Step = Literal["sealing", "checking", "done"]
_WALKS = 5


class Rotated(Struct, frozen=True):
    """How far a rotation is: rows looked at in this step, of how many; values sealed anew in all steps.

    `unreadable`: values that neither key opens, found in this step; they stay as they are.
    """

    step: Step
    rows: int
    of: int
    resealed: int
    unreadable: int


class WrongKeyError(BridgeError):
    """The rotation cannot be done with the keys of this process."""


class Rotation:
    """One rotation, in steps that nobody has to wait for. After an error a new one begins from the start."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of = 0
        self._resealed = 0
        self._walk = 0  # how many were begun
        self._done = False

    @property
    def state(self) -> Rotated:
        """How far it is."""
        step: Step = "done" if self._done else "sealing" if self._walk <= 1 else "checking"
        if not self._walk:
            return Rotated(step, 0, 0, 0, 0)
        return Rotated(step, self._rows, max(self._of, self._rows), self._resealed, self._unreadable)

    async def step(self, actor: str, now: Millis) -> Rotated:
        """Looks at the next few hundred values. Raises WrongKeyError where it cannot be done with these keys."""
        if not self._store.vault.encrypts:
            raise WrongKeyError("database.pii_key is empty: set the key that is to be used from now on.")
        if not self._walk:
            await self._begin_walk()
        if self._column < len(SEALED):
            await self._look(SEALED[self._column], actor, now)
        elif not self._found:
            await self._store.write(self._end(actor, now))
            self._done = True
        elif self._walk < _WALKS:
            await self._begin_walk()
        else:
            raise WrongKeyError(
                "Values are being sealed with another key all the time: restart every bridge with the new settings, "
                "then repeat it."
            )
        return self.state

    async def _begin_walk(self) -> None:
        self._of = await self._store.search(count_rows)
        self._walk += 1
        self._column = 0
        self._place: Row | None = None
        self._rows = 0
        self._found = 0
        self._unreadable = 0

    async def _look(self, column: Sealed, actor: str, now: Millis) -> None:
        async def job(tx: Tx) -> tuple[Part, list[dict[str, object]]]:
            part = await look(tx, column, self._place)
            return part, seal_anew(tx, column, part.others)

        part, values = await self._store.search(job)
        if values:
            await self._store.write(self._replace(column, values, actor, now))
        self._resealed += len(values)
        self._found += len(values)
        self._rows += part.rows
        self._unreadable += part.counts.get(SealedWith.UNKNOWN, 0)
        self._place = part.place
        if part.place is None:
            self._column += 1

    def _replace(
        self, column: Sealed, values: Sequence[dict[str, object]], actor: str, now: Millis
    ) -> Job[None]:
        async def job(tx: Tx) -> None:
            await tx.run_many(column.statement, values)
            if not self._resealed:
                await add_audit(tx, now, actor, "keys.rotate", {"step": "begun"})

        return job

    def _end(self, actor: str, now: Millis) -> Job[None]:
        async def job(tx: Tx) -> None:
            if self._resealed or await is_rotating(tx):
                detail = {"step": "done", "resealed": self._resealed, "unreadable": self._unreadable}
                await add_audit(tx, now, actor, "keys.rotate", detail)
            await end_rotation(tx)

        return job


async def count_values(store: Store, tell: Callable[[int, int], None]) -> Mapping[SealedWith, int]:
    """How many values are sealed with what. `tell` is called with the rows that were looked at, of how many."""
    of, rows = await store.search(count_rows), 0
    counts: Counter[SealedWith] = Counter()
    for column in SEALED:
        place: Row | None = None
        more = True
        while more:
            part = await store.search(_look(column, place))
            place, more = part.place, part.place is not None
            rows += part.rows
            counts.update(part.counts)
            tell(rows, max(of, rows))
    return counts


def _look(column: Sealed, place: Row | None) -> Job[Part]:
    async def job(tx: Tx) -> Part:
        return await look(tx, column, place)

    return job
