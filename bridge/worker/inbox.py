"""The inbox pump: understands callback bodies that were kept, many in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bridge.core.model import Millis
from bridge.flows import callbacks
from bridge.flows.rules import Rules
from bridge.metrics import Metrics
from bridge.store import inbox
from bridge.store.reports import DueReport
from bridge.store.tx import Store
from bridge.worker.pump import Pump

__all__ = ["InboxPump"]

_MAX_ELEMENTS = 5000  # in one transaction
_MAX_BYTES = 8 * 1024 * 1024


class InboxPump(Pump):
    """Drains the inbox. `waiting` counts the elements that wait, for the bound that callbacks are held to."""

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
        self.waiting = 0

    def arrived(self, elements: int) -> None:
        """A body with so many new elements was kept."""
        self.waiting += elements
        self.wake()

    async def recount(self) -> None:
        """Asks the store how many wait."""
        self.waiting, oldest = await self._store.search(inbox.waiting)
        self._metrics.inbox_lag.set(0 if oldest is None else (self._clock() - oldest) / 1000)

    async def step(self) -> float | None:
        """Applies the oldest bodies."""
        batches = await self._store.read(lambda tx: inbox.waiting_batches(tx, _MAX_ELEMENTS, _MAX_BYTES))
        if not batches:
            return None
        self._reported(await callbacks.process(self._store, self._rules, batches, self._clock()))
        count = sum(batch.elements for batch in batches)
        self.waiting = max(0, self.waiting - count)
        self._metrics.callback_elements.inc(count)
        return 0.0
