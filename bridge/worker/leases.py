"""What is under way here, and until when nobody else may take it over. Its leases are renewed until it is done.

Only where several processes share the database: there a claim is a lease, with its owner in the row. Where this process
owns the database alone, everything holds for ever and nothing is renewed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from bridge.core.model import MessageId
from bridge.errors import StoreError
from bridge.store import leases, reports, sends
from bridge.store.leases import steady
from bridge.store.tx import Store
from bridge.worker.pump import Pump

__all__ = ["Held", "Leases"]

_log = structlog.get_logger()
_GIVE_BACK = 1.0  # seconds


class Held:
    """The messages of one kind of work that is under way here. Times are seconds of a clock that never goes back."""

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._clock = clock
        self._until: dict[MessageId, float] = {}

    def now(self) -> float:
        return self._clock()

    def add(self, message_ids: Iterable[MessageId], since: float) -> None:
        """These were leased no earlier than `since`."""
        for each in message_ids:
            self._until[each] = since + self._seconds

    def drop(self, message_ids: Iterable[MessageId]) -> None:
        """These are done, or given up."""
        for each in message_ids:
            self._until.pop(each, None)

    def all_valid(self, message_ids: Iterable[MessageId]) -> bool:
        """Whether nobody else can have taken any of them over."""
        now = self._clock()
        return all(self._until.get(each, 0.0) > now for each in message_ids)

    def ending(self) -> list[MessageId]:
        """Those whose lease is more than a third over."""
        soon = self._clock() + self._seconds * 2 / 3
        return sorted(each for each, until in self._until.items() if until < soon)

    def renewed(self, message_ids: Iterable[MessageId], since: float) -> None:
        """As `add`, for those that are not done meanwhile."""
        self.add([each for each in message_ids if each in self._until], since)


class Leases(Pump):
    """Renews them all, three times within the time that a lease holds."""

    def __init__(self, store: Store, clock: Callable[[], float] = steady) -> None:
        super().__init__("leases")
        self._store = store
        self._seconds = store.lease_seconds
        self.sends = Held(self._seconds, clock)
        self.reports = Held(self._seconds, clock)

    async def give_back(self) -> None:
        """At the end: others need not wait until our leases end. Should the database be away, they will."""
        if self._seconds is not None:
            try:
                async with asyncio.timeout(_GIVE_BACK):
                    await self._store.write(leases.give_back)
            except (StoreError, TimeoutError):
                _log.warning("leases could not be given back; they end by themselves")

    async def step(self) -> float | None:
        """One round."""
        if self._seconds is None:
            return None
        for held, renew in ((self.sends, sends.renew), (self.reports, reports.renew)):
            ending, since = held.ending(), held.now()
            if ending:
                held.renewed(await self._store.write(partial(renew, message_ids=ending)), since)
        return self._seconds / 3
