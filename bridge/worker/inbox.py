"""The inbox pump: understands callback bodies that were kept, many in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter

import structlog

from bridge.core.model import Millis
from bridge.errors import StoreError
from bridge.flows import callbacks
from bridge.flows.rules import Rules
from bridge.metrics import Metrics
from bridge.store import inbox
from bridge.store.reports import DueReport
from bridge.store.tx import Store
from bridge.worker.pump import Pump

__all__ = ["InboxPump"]

_MAX_BYTES = 8 * 1024 * 1024
_log = structlog.get_logger()
_BEHIND = 1000  # elements that wait: then receiving goes first
_POLL = 1.0  # seconds between looks at what others received, and between looks for stragglers
_BUSY = 0.05  # while something waits that another process has locked at this moment
_STRAGGLERS = 5_000  # milliseconds after the last work for which they are looked for
_REST = (
    2.0  # while it does: pauses, in lengths of the work before them (which on PostgreSQL is mostly waiting)
)


class InboxPump(Pump):
    """Drains the inbox. `waiting` is held against the bound that callbacks have."""

    def __init__(
        self,
        store: Store,
        rules: Rules,
        clock: Callable[[], Millis],
        metrics: Metrics,
        *,
        reported: Callable[[Sequence[DueReport]], None],
    ) -> None:
        super().__init__("inbox")
        self._store = store
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._reported = reported
        self._count = 0
        self._arrivals = 0
        self._shared = store.lease_seconds is not None
        self._adopted_at: Millis = 0
        self._adopting = False
        self._adopt_until: Millis = 0

    @property
    def waiting(self) -> int:
        """How many elements wait."""
        return max(
            0, self._count
        )  # below zero for a moment, when one is applied before it is said to have arrived

    def arrived(self, elements: int) -> None:
        """A body with so many new elements was kept."""
        self._count += elements
        self._arrivals += 1
        self.wake()

    async def recount(self) -> None:
        """Asks the store how many wait."""
        before = self._count
        waiting, oldest = await self._store.search(inbox.waiting)
        self._count += waiting - before  # what arrived or was applied meanwhile counts on
        self._metrics.inbox_lag.set(0 if oldest is None else (self._clock() - oldest) / 1000)
        if waiting:
            self.wake()  # a body may be stored that nobody told of: its caller had been sent away before the commit

    async def step(self) -> float | None:
        """Applies the oldest bodies. What a provider posts in bulk is kept first, and understood in the gaps."""
        started, arrivals = perf_counter(), self._arrivals
        batches = await self._store.claim(lambda tx: inbox.waiting_batches(tx, callbacks.PART, _MAX_BYTES))
        if self._shared:
            self._look_for_stragglers(found=bool(batches))
        if not batches:
            return self._until_next_look() if self._shared else None
        await callbacks.process(self._store, self._rules, batches, self._clock(), self._reported)
        count = sum(batch.elements for batch in batches)
        self._count -= count
        self._metrics.callback_elements.inc(count)
        if not self._shared and self._arrivals != arrivals and self._count > _BEHIND:
            await asyncio.sleep(_REST * (perf_counter() - started))
        return 0.0

    def _until_next_look(self) -> float:
        """Soon while there was work just now: others may have had all of it in hand at this moment."""
        return _BUSY if self.waiting or self._clock() < self._adopt_until else _POLL

    def _look_for_stragglers(self, *, found: bool) -> None:
        """Elements whose message another process learned of at that very moment (see `callbacks.adopt_stragglers`)."""
        now = self._clock()
        if found:
            self._adopt_until = now + _STRAGGLERS
        if self._adopting or now >= self._adopt_until or abs(now - self._adopted_at) < _POLL * 1000:
            return
        self._adopted_at = now
        self._adopting = True
        self.spawn(
            self._adopt_stragglers(now)
        )  # a search may have to wait for others; no callback waits for it

    async def _adopt_stragglers(self, now: Millis) -> None:
        try:
            await callbacks.adopt_stragglers(self._store, self._rules, now, self._reported)
        except StoreError as error:
            _log.warning("late elements could not be looked for; they will be", reason=error.sentence)
        finally:
            self._adopting = False
