"""The status of the service for whoever asks: counted at most once a second, however many ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.core.model import Millis
from bridge.flows.status import Conditions, Counts, Status, count
from bridge.store.tx import Store

__all__ = ["Board"]

_FRESH = 1000  # milliseconds
_REST = 10  # where counting takes long: it takes no more than a tenth of the time


class Board:
    """Counts of the whole database, and how the peers of this process are (`conditions`, as they are at the moment)."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], Millis],
        role: str,
        settle_ms: int,
        conditions: Callable[[], Conditions],
    ) -> None:
        self._store = store
        self._clock = clock
        self._role = role
        self._settle_ms = settle_ms
        self._conditions = conditions
        self._lock = asyncio.Lock()
        self._counts: Counts | None = None
        self._fresh_until: Millis = 0

    async def now(self) -> Status:
        """What is going on. Raises StoreError."""
        async with self._lock:  # who comes while it is being counted gets the same
            now, counts = self._clock(), self._counts
            if counts is None or not counts.at <= now < self._fresh_until:
                counts = self._counts = await self._store.search(lambda tx: count(tx, now, self._settle_ms))
                self._fresh_until = now + max(_FRESH, _REST * (self._clock() - now))
        return Status(self._role, counts, self._conditions())
