"""The reports of one lane that this process may send, where several processes share the database.

What this process made owed is leased to it from the start, and handed over in memory; what others left (a report that
is due again, one whose owner ended) it finds by looking, every second. What waits here longer than its lease holds is
let go of, without a word: whoever looks next takes it. What is to be tried again later belongs to nobody until then.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.core.model import Millis
from bridge.store import reports
from bridge.store.reports import DueReport
from bridge.store.tx import Store
from bridge.worker.leases import Held
from bridge.worker.stock import LOAD
from bridge.worker.waiting import Key, Waiting, key_of

__all__ = ["LeasedStock"]

_MOST = 2_000  # reports of one lane that memory holds: no more than go out before their leases end
_POLL = 1_000  # milliseconds between looks


class LeasedStock:
    """See `Stock`. `held`: the reports that are under way."""

    def __init__(
        self, lane: str, store: Store, clock: Callable[[], Millis], held: Held, seconds: float
    ) -> None:
        self._lane = lane
        self._store = store
        self._clock = clock
        self._held = held
        # An attempt begins while the lease is sure to be renewed before it ends: that happens every third of its time.
        self._usable = seconds / 2
        self._waiting = Waiting()
        self._since: dict[Key, float] = {}  # of those that wait: since when they are leased
        self._look_at: Millis = 0
        self._looking = False
        self._ended: set[Key] = set()  # while the store is being read

    def hand_over(self, report: DueReport) -> None:
        if len(self._waiting) < _MOST:
            self._add(report, report.since)
        else:
            self._expect(report.due_at)

    def again(self, report: DueReport) -> None:
        """It belongs to nobody until then."""
        self._expect(report.due_at)

    def forget(self, key: Key) -> None:
        self._waiting.done(key)
        self._since.pop(key, None)
        self._held.drop([key[0]])
        if self._looking:
            self._ended.add(key)

    def look_again(self) -> None:
        self._expect(0)

    def start_anew(self) -> None:
        self._waiting.forget_waiting()
        self._since.clear()
        self._look_at = 0

    def compare(self, owed: int) -> None:
        """Others send them, too."""

    def ready(self, now: Millis) -> int:
        return self._waiting.ready(now)

    def take(self, now: Millis) -> DueReport | None:
        while (report := self._waiting.take(now)) is not None:
            since = self._since.pop(key_of(report))
            if self._held.now() - since < self._usable:
                self._held.add([report.message_id], since)
                return report
            self._waiting.done(key_of(report))
            self._expect(now)
        return None

    def put_back(self, report: DueReport) -> None:
        """It is let go of: it could not go because the host is down or we stop."""
        self.forget(key_of(report))
        self._expect(self._clock())

    def next_at(self) -> Millis | None:
        waiting = self._waiting.next_at()
        return self._look_at if waiting is None else min(waiting, self._look_at)

    def wants(self, now: Millis) -> bool:
        return self._look_at <= now and self.ready(now) < LOAD

    async def let_go(self) -> None:
        ids = sorted({message_id for message_id, _ in self._since})
        if ids:
            self._waiting.forget_waiting()
            self._since.clear()
            await self._store.write(lambda tx: reports.let_go(tx, ids))

    async def load(self, now: Millis, limit: int = LOAD) -> None:
        """Claims what is due and nobody's."""
        self._look_at = now + _POLL
        most = limit + len(self._waiting)  # those known here may be among them
        if await self._claim(now, most) == most and limit == LOAD:
            self._expect(now)

    async def _claim(self, now: Millis, limit: int) -> int:
        self._looking = True
        self._ended.clear()
        try:
            found = await self._store.claim(lambda tx: reports.due_reports(tx, self._lane, now, limit))
        finally:
            self._looking = False
        for report in found:
            if key_of(report) not in self._ended:
                self._add(report, report.since)
        return len(found)

    def _add(self, report: DueReport, since: float) -> None:
        key = key_of(report)
        if key not in self._waiting:
            self._waiting.add(report)
            self._since[key] = since
        elif key in self._since:
            self._since[key] = max(since, self._since[key])

    def _expect(self, at: Millis) -> None:
        self._look_at = min(at, self._look_at)
