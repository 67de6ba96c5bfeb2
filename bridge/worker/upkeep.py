"""The upkeep pump: what is not caused by an event but by time passing. Messages, reports and orphans that grew old."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from bridge.core.model import Millis
from bridge.flows import callbacks, reporting, sending
from bridge.flows.rules import Rules
from bridge.store import sends
from bridge.store.reports import DueReport
from bridge.store.tx import Store, Tx
from bridge.worker.pump import Pump
from bridge.worker.waiting import Key

__all__ = ["UpkeepPump"]

_log = structlog.get_logger()
_EVERY = 5.0  # seconds
_CHUNK = 1000  # rows in one transaction


class UpkeepPump(Pump):
    """Runs every few seconds, in small steps, beside the other pumps."""

    def __init__(
        self,
        store: Store,
        rules: Rules,
        clock: Callable[[], Millis],
        *,
        reported: Callable[[Sequence[DueReport]], None],
        buried: Callable[[Sequence[tuple[str, Key]]], None],
    ) -> None:
        super().__init__("upkeep")
        self._store = store
        self._rules = rules
        self._clock = clock
        self._reported = reported
        self._buried = buried
        # Short limits (tests, the demo) are looked after more often.
        shortest = min(
            [rules.reports.max_age_ms, *(gateway.max_age_ms for gateway in rules.gateways.values())]
        )
        self._every = min(_EVERY, max(0.1, shortest / 4000))

    async def step(self) -> float | None:
        """One round."""
        for provider in await self._store.search(sends.providers):
            await self._expire(provider)
        await self._until_done(self._bury)
        if self._store.lease_seconds is not None:
            await self._until_done(self._adopt)
        await self._until_done(lambda: callbacks.review_old_orphans(self._store, self._clock(), _CHUNK))
        return self._every

    async def _until_done(self, work: Callable[[], Awaitable[int]]) -> None:
        while not self.stopping:
            if await work() < _CHUNK:
                return

    async def _expire(self, provider: str) -> None:
        async def job(tx: Tx) -> tuple[int, list[DueReport]]:
            return await sending.expire(tx, self._rules, provider, self._clock(), _CHUNK)

        count = _CHUNK
        while count == _CHUNK and not self.stopping:
            count, due = await self._store.write(job)
            self._reported(due)
            if count:
                _log.warning(
                    "messages failed: they could not be sent in time", provider=provider, count=count
                )

    async def _adopt(self) -> int:
        return await callbacks.adopt_stragglers(
            self._store, self._rules, self._clock(), self._reported, _CHUNK
        )

    async def _bury(self) -> int:
        buried = await reporting.bury_aged(self._store, self._rules.reports, self._clock(), _CHUNK)
        self._buried(buried)
        return len(buried)
