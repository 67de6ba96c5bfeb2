"""The counts that metrics and bounds go by: how much of what waits, looked up again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic

import structlog
from prometheus_client import Gauge

from bridge.core.model import Millis, id_time
from bridge.errors import StoreError
from bridge.metrics import Metrics
from bridge.store.tx import Row, Store, Tx
from bridge.worker.pump import Pump

__all__ = ["Backlog", "CountPump"]

_log = structlog.get_logger()
_EVERY = 5.0  # seconds
_REST = 9  # of what a round took


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


class CountPump(Pump):
    """Counts in every process, also in one that only answers: its bounds are about the whole database."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], Millis],
        metrics: Metrics,
        backlog: Backlog,
        *,
        recount_inbox: Callable[[], Awaitable[None]],
        compare: Callable[[Mapping[str, int]], None],
        hosts_down: Callable[[], Iterable[str]],
        leap: Callable[[], Millis],
    ) -> None:
        super().__init__("count")
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._backlog = backlog
        self._recount_inbox = recount_inbox
        self._compare = compare
        self._hosts_down = hosts_down
        self._leap = leap
        self._leapt = False

    async def step(self) -> float | None:
        """One round. Where counting takes long, it takes no more than a tenth of the time."""
        began = monotonic()
        await self._try()
        self._watch_clock()
        await self._count()
        return max(_EVERY, _REST * (monotonic() - began))

    async def _try(self) -> None:
        """Also while nobody has anything to write: a full disk is told before it is needed."""
        try:
            await self._store.check()
        except StoreError as error:
            self._metrics.database_writable.set(0)
            _log.error("the database cannot be written", error=error.sentence)
        else:
            self._metrics.database_writable.set(1)

    def _watch_clock(self) -> None:
        leap = self._leap() / 1000
        self._metrics.clock_leap.set(leap)
        if leap and not self._leapt:
            _log.error(
                "the clock has leapt; it is believed once it has kept to that for an hour", seconds=leap
            )
        elif self._leapt and not leap:
            _log.info("the time is that of the clock again")
        self._leapt = bool(leap)

    async def _count(self) -> None:
        read = self._store.search
        now = self._clock()
        waiting = await read(lambda tx: tx.all("count_sends"))
        oldest = await read(lambda tx: _oldest(tx, {row[0] for row in waiting}))
        owed = await read(lambda tx: tx.all("count_pending_reports", later=now))
        dead = await read(lambda tx: tx.one("count_dead_reports"))
        reviews = await read(lambda tx: tx.all("count_reviews"))
        forwards = await read(lambda tx: tx.all("count_pending_forwards", later=now))
        dead_forwards = await read(lambda tx: tx.one("count_dead_forwards"))
        size = await read(lambda tx: tx.one("database_bytes"))
        self._compare({row[0]: row[1] for row in owed})
        self._recount_backlog(waiting)
        _fill(self._metrics.sends_waiting, waiting)
        _fill(self._metrics.sends_oldest, [(gateway, _seconds(now - at)) for gateway, at in oldest])
        _fill(self._metrics.reports_waiting, [row[:2] for row in owed])
        _fill(self._metrics.reports_overdue, [(row[0], _seconds(now - row[2])) for row in owed])
        _fill(self._metrics.review_open, reviews)
        _fill(self._metrics.forwards_waiting, [row[:2] for row in forwards])
        _fill(self._metrics.host_left_alone, [(host, 1) for host in self._hosts_down()])
        self._metrics.reports_dead.set(dead[0] if dead else 0)
        self._metrics.forwards_dead.set(dead_forwards[0] if dead_forwards else 0)
        self._metrics.database_bytes.set(size[0] if size else 0)
        await self._recount_inbox()
        self._metrics.counted_at.set(now / 1000)

    def _recount_backlog(self, sends: Sequence[Row]) -> None:
        pending: Counter[str] = Counter()
        for gateway, phase, count in sends:
            if phase != "review":
                pending[gateway] += count
        self._backlog.recount(dict(pending))


async def _oldest(tx: Tx, gateways: Iterable[str]) -> list[tuple[str, Millis]]:
    """When the oldest message of each gateway was accepted that waits for anything but a person."""
    rows = [(gateway, await tx.one("oldest_send", gateway=gateway)) for gateway in sorted(gateways)]
    return [(gateway, id_time(row[0])) for gateway, row in rows if row]


def _seconds(late: Millis) -> float:
    return max(0, late) / 1000


def _fill(gauge: Gauge, rows: Sequence[Row]) -> None:
    """The labels and the count of each row; labels that are gone are gone."""
    gauge.clear()
    for *labels, count in rows:
        gauge.labels(*labels).set(count)
