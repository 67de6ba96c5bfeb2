"""The upkeep pump: what is not caused by an event but by time passing. Messages and reports that grew too old, orphans
that grew old, and the counts that metrics and bounds go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import structlog
from prometheus_client import Gauge

from bridge.core.model import Millis
from bridge.flows import callbacks, reporting, sending
from bridge.flows.rules import Rules
from bridge.metrics import Metrics
from bridge.store import sends
from bridge.store.reports import DueReport
from bridge.store.tx import Row, Store, Tx
from bridge.worker.pump import Pump
from bridge.worker.waiting import Key

__all__ = ["Backlog", "UpkeepPump"]

_log = structlog.get_logger()
_EVERY = 5.0  # seconds
_CHUNK = 1000  # rows in one transaction


class Backlog:
    """How many messages of each gateway wait for the provider; counted here, and counted anew now and then."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def accepted(self, gateway: str) -> None:
        self._counts[gateway] = self._counts.get(gateway, 0) + 1

    def left(self, gateway: str, count: int) -> None:
        self._counts[gateway] = max(0, self._counts.get(gateway, 0) - count)

    def recount(self, counts: dict[str, int]) -> None:
        self._counts = counts

    def of(self, gateway: str) -> int:
        return self._counts.get(gateway, 0)


class UpkeepPump(Pump):
    """Runs every few seconds, in small steps, beside the other pumps."""

    def __init__(
        self,
        store: Store,
        rules: Rules,
        clock: Callable[[], Millis],
        metrics: Metrics,
        backlog: Backlog,
        *,
        reported: Callable[[Sequence[DueReport]], None],
        buried: Callable[[Sequence[tuple[str, Key]]], None],
        compare: Callable[[Mapping[str, int]], None],
        recount_inbox: Callable[[], Awaitable[None]],
        hosts_down: Callable[[], Iterable[str]],
    ) -> None:
        super().__init__("upkeep")
        self._recount_inbox = recount_inbox
        self._hosts_down = hosts_down
        self._store = store
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._backlog = backlog
        self._reported = reported
        self._buried = buried
        self._compare = compare
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
        await self._until_done(lambda: callbacks.review_old_orphans(self._store, self._clock(), _CHUNK))
        await self._count()
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

    async def _bury(self) -> int:
        buried = await reporting.bury_aged(self._store, self._rules.reports, self._clock(), _CHUNK)
        self._buried(buried)
        return len(buried)

    async def _count(self) -> None:
        read = self._store.search
        waiting = await read(lambda tx: tx.all("count_sends"))
        owed = await read(lambda tx: tx.all("count_pending_reports"))
        dead = await read(lambda tx: tx.one("count_dead_reports"))
        reviews = await read(lambda tx: tx.all("count_reviews"))
        self._compare(dict(owed))
        self._recount_backlog(waiting)
        _fill(self._metrics.sends_waiting, waiting)
        _fill(self._metrics.reports_waiting, owed)
        _fill(self._metrics.review_open, reviews)
        _fill(self._metrics.host_left_alone, [(host, 1) for host in self._hosts_down()])
        self._metrics.reports_dead.set(dead[0] if dead else 0)
        await self._recount_inbox()

    def _recount_backlog(self, sends: Sequence[Row]) -> None:
        pending: Counter[str] = Counter()
        for gateway, phase, count in sends:
            if phase != "review":
                pending[gateway] += count
        self._backlog.recount(dict(pending))


def _fill(gauge: Gauge, rows: Sequence[Row]) -> None:
    """The labels and the count of each row; labels that are gone are gone."""
    gauge.clear()
    for *labels, count in rows:
        gauge.labels(*labels).set(count)
