"""Pruning: what is old goes, in small steps that nobody has to wait for. `bridge.store.pruning` has the rules.

Each kind is walked through in the order of its key, and the place is remembered in memory: rows that must stay are not
looked at again by every round. A kind that came to its end rests for a minute, and an hour after it was begun it is
begun from the start again, for what had to stay then may be finished now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from msgspec import Struct

from bridge.core.model import Millis
from bridge.store.pruning import START, Found, Prunable, Until, delete, find
from bridge.store.tx import Row, Store, Tx

__all__ = ["Pruned", "Pruning", "Retention"]

_DAY_MS = 86_400_000
_REPEATED_MS = 2 * _DAY_MS  # providers repeat a body for 24 hours: its digest must be known for longer
_UNSETTLED_MS = 7 * _DAY_MS  # a message that was sent: its outcome may come so much later
_REST_MS = 60_000
_ANEW_MS = 3_600_000

# Rows that one step looks at: on SQLite about five milliseconds of the event loop where all of them go.
_ROWS: Mapping[Prunable, int] = {Prunable.MESSAGES: 128, Prunable.BATCHES: 64, Prunable.BODIES: 64}
_OTHER_ROWS = 256


class Retention(Struct, frozen=True):
    """How long things are kept, in whole days, 1 or more: `retention_days` and `raw_retention_days` of the settings."""

    days: int
    raw_days: int

    def until(self, now: Millis) -> Until:
        """The moments that follow. What belongs to messages is kept no longer than they are, repeats apart."""
        kept = self.days * _DAY_MS
        raw = min(self.raw_days * _DAY_MS, kept)
        return Until(
            texts=now - raw,
            bodies=now - raw if raw < _REPEATED_MS else None,
            batches=now - max(raw, _REPEATED_MS),
            messages=now - kept,
            unsettled=now - max(kept, _UNSETTLED_MS),
            rest=now - max(kept, _REPEATED_MS),
        )


class Pruned(Struct, frozen=True):
    """One step: how many rows of a kind went. 0: those that were looked at must stay."""

    kind: Prunable
    count: int


class _Sweep:
    """One kind on its way from the first key to the last."""

    def __init__(self, kind: Prunable) -> None:
        self.kind = kind
        self.place: Row = START[kind]
        self.began: Millis | None = None
        self.rests_until: Millis = 0

    def begin(self, now: Millis) -> bool:
        """Whether there may be something to do now."""
        if self.rests_until - _REST_MS <= now < self.rests_until:
            return False  # earlier: the clock went back
        rested = self.rests_until > 0
        if self.began is None or (rested and now - self.began >= _ANEW_MS):
            self.began, self.place = now, START[self.kind]
        self.rests_until = 0
        return True

    def went(self, found: Found, now: Millis) -> None:
        self.place = found.place
        if not found.more:
            self.rests_until = now + _REST_MS


class Pruning:
    """`step` by step, for as long as one likes. Several processes may do so with one database.

    `dry_run`: only counts, on a database that is open to read as well.
    """

    def __init__(self, store: Store, retention: Retention, *, dry_run: bool = False) -> None:
        self._store = store
        self._retention = retention
        self._dry_run = dry_run
        whole = retention.until(0).bodies is None
        kinds = [kind for kind in Prunable if not (whole and kind is Prunable.BODIES)]
        self._sweeps = deque(map(_Sweep, kinds))

    async def step(self, now: Millis) -> Pruned | None:
        """One transaction; None: there is nothing to do now. Raises StoreError; then nothing of the step was done.

        While `now` stays the same, repeating it until None prunes everything that is old.
        """
        for _ in range(len(self._sweeps)):
            sweep = self._sweeps[0]
            if sweep.begin(now):
                found = await self._look(sweep, now)
                sweep.went(found, now)
                return Pruned(sweep.kind, len(found.keys))
            self._sweeps.rotate(-1)  # the next kind has its turn, however much comes of this one meanwhile
        return None

    async def _look(self, sweep: _Sweep, now: Millis) -> Found:
        kind, place, until = sweep.kind, sweep.place, self._retention.until(now)
        limit = _ROWS.get(kind, _OTHER_ROWS)

        async def look(tx: Tx) -> Found:
            return await find(tx, kind, place, until, limit)

        async def prune(tx: Tx) -> Found:
            found = await look(tx)
            if found.keys:
                await delete(tx, kind, found.keys)
            return found

        return await (self._store.search(look) if self._dry_run else self._store.write(prune))
