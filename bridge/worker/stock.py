"""The reports of one lane that this process may send, where it owns the database alone.

New reports come in memory, right after the commit that made them owed, and so do those that are to be tried again; the
store is read only for what memory does not hold: at the start, after a replay, and when more waits than memory may
hold. (`bridge.worker.leased` has the other kind, for a database that several processes share.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from bridge.core.model import Millis
from bridge.store import reports
from bridge.store.reports import DueReport
from bridge.store.tx import Store
from bridge.worker.waiting import Key, Waiting, key_of

__all__ = ["LOAD", "MISSED", "OwnedStock", "Stock"]

_log = structlog.get_logger()
LOAD = 256  # reports read from the store at a time
_MOST = 10_000  # reports of one lane that memory holds; about 700 bytes each
_GATHER_EVERY = 5_000  # milliseconds between tries to hold everything again
MISSED = 12  # comparisons in a row that find fewer reports here than in the store: a minute of them
_FOREVER: Millis = 1 << 62


class Stock(Protocol):
    """What a lane has to send."""

    def hand_over(self, report: DueReport) -> None:
        """One more report is due, now or later. It is in the store, so it may be left there."""

    def again(self, report: DueReport) -> None:
        """A report that was taken is due again, at another time."""

    def forget(self, key: Key) -> None:
        """This report is settled."""

    def look_again(self) -> None:
        """The store may have what memory does not hold."""

    def start_anew(self) -> None:
        """The clock went back, and the times of what waits were changed in the store."""

    def compare(self, owed: int) -> None:
        """The store says how many wait."""

    def wants(self, now: Millis) -> bool:
        """Whether it is time to `load`."""

    async def load(self, now: Millis, limit: int = LOAD) -> None:
        """Takes what is due from the store, about so many. Raises StoreError."""

    async def let_go(self) -> None:
        """Nothing may go for a while: others that can send may have it. Raises StoreError."""

    def ready(self, now: Millis) -> int:
        """How many may go now."""

    def take(self, now: Millis) -> DueReport | None:
        """The next one that may go now; it counts as under way until it is forgotten."""

    def put_back(self, report: DueReport) -> None:
        """What was taken could not go: it is the next one again."""

    def next_at(self) -> Millis | None:
        """When there may be more to do; None: when somebody hands something over."""


class OwnedStock:
    """See `Stock`."""

    def __init__(self, lane: str, store: Store, clock: Callable[[], Millis]) -> None:
        self._lane = lane
        self._store = store
        self._clock = clock
        self._waiting = Waiting()
        self._complete = False  # memory holds all that is pending in the store
        self._stored_at: Millis | None = 0  # when the store has something due that memory does not hold
        self._gathered_at: Millis = 0
        self._reading = False
        self._missed = 0
        self._ended: set[Key] = set()  # while the store is being read

    def hand_over(self, report: DueReport) -> None:
        if self._complete and len(self._waiting) >= _MOST:
            self._complete = False
            self._waiting.forget_waiting()
            self._expect(0)
        if self._complete:
            self._waiting.add(report)
        else:
            self._expect(report.due_at)

    def again(self, report: DueReport) -> None:
        self.hand_over(report)

    def forget(self, key: Key) -> None:
        self._waiting.done(key)
        if self._reading:
            self._ended.add(key)

    def look_again(self) -> None:
        self._complete = False
        self._expect(0)

    def start_anew(self) -> None:
        self._waiting.forget_waiting()
        self._gathered_at = 0
        self.look_again()

    def compare(self, owed: int) -> None:
        """Should more be known there than here for a while, it is looked again.

        Every way in which a report becomes due hands it over or says so; this is the net below them. Once says little:
        what is under way is counted at one moment there, and at another here.
        """
        missing = self._complete and owed > len(self._waiting) and not self._waiting.ready(self._clock())
        self._missed = self._missed + 1 if missing else 0
        if self._missed >= MISSED:
            _log.warning("reports were not known to their lane", lane=self._lane, owed=owed)
            self._missed = 0
            self.look_again()

    def ready(self, now: Millis) -> int:
        return self._waiting.ready(now)

    def take(self, now: Millis) -> DueReport | None:
        return self._waiting.take(now)

    def put_back(self, report: DueReport) -> None:
        self._waiting.put_back(report)

    def next_at(self) -> Millis | None:
        times = [at for at in (self._waiting.next_at(), self._stored_at) if at is not None]
        return min(times) if times else None

    def wants(self, now: Millis) -> bool:
        return self._stored_at is not None and self._stored_at <= now and self.ready(now) < LOAD

    async def let_go(self) -> None:
        """There are no others."""

    async def load(self, now: Millis, limit: int = LOAD) -> None:  # noqa: ARG002 - memory may as well hold more
        """Takes the oldest of those that are due in the store; once there are few, all that are pending."""
        self._stored_at = None
        try:
            await self._load_due(now)
        except BaseException:
            self._expect(now)  # nothing is known of what is due
            raise

    async def _load_due(self, now: Millis) -> None:
        limit = LOAD + len(self._waiting)  # those known here may be among them
        if await self._read(now, limit) == limit:
            self._expect(now)
        elif now - self._gathered_at >= _GATHER_EVERY:
            self._gathered_at = now
            everything = await self._read(_FOREVER, _MOST) < _MOST
            self._complete = everything and self._stored_at is None  # else something came while it was read
            if not everything:
                await self._expect_next(now)
        else:
            await self._expect_next(now)

    async def _expect_next(self, now: Millis) -> None:
        due_at = await self._store.read(lambda tx: reports.next_due(tx, self._lane, now))
        if due_at is not None:
            self._expect(due_at)

    def _expect(self, at: Millis) -> None:
        self._stored_at = at if self._stored_at is None else min(at, self._stored_at)

    async def _read(self, until: Millis, limit: int) -> int:
        """Adds what is due until then, and is not here yet; says how many rows there were."""
        self._reading = True
        self._ended.clear()
        try:
            found = await self._store.read(lambda tx: reports.due_reports(tx, self._lane, until, limit))
        finally:
            self._reading = False
        for report in found:
            if key_of(report) not in self._ended:
                self._waiting.add(report)
        return len(found)
