"""The reports of one lane that are in memory: those that may go now, those that are due later, those under way.

No clock, no store, no client. A report is known by its message and status; of two that are added under the same key
the first one stays until it is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import count

from bridge.core.model import MessageId, Millis, Status
from bridge.store.reports import DueReport

__all__ = ["Key", "Waiting", "key_of"]

Key = tuple[MessageId, Status]


def key_of(report: DueReport) -> Key:
    """What a report is known by."""
    return report.message_id, report.status


class Waiting:
    """In order of their time; of those that are due, in the order in which they were added."""

    def __init__(self) -> None:
        self._known: dict[Key, DueReport] = {}  # what was dropped is in the queues still, and here no more
        self._ready: deque[DueReport] = deque()
        self._later: list[tuple[Millis, int, DueReport]] = []
        self._number = count()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def add(self, report: DueReport) -> None:
        """One more, unless it is here already."""
        key = key_of(report)
        if key not in self._known:
            self._known[key] = report
            heappush(self._later, (report.due_at, next(self._number), report))

    def ready(self, now: Millis) -> int:
        """How many may go now."""
        while self._later and self._later[0][0] <= now:
            self._ready.append(heappop(self._later)[2])
        return len(self._ready)

    def take(self, now: Millis) -> DueReport | None:
        """The next one that may go now; it counts as under way until it is `done`."""
        while self.ready(now):
            report = self._ready.popleft()
            if self._known.get(key_of(report)) is report:
                return report
        return None

    def put_back(self, report: DueReport) -> None:
        """What was taken could not go: it is the next one again."""
        self._ready.appendleft(report)

    def done(self, key: Key) -> None:
        """It is here no more, wherever it was."""
        self._known.pop(key, None)

    def forget_waiting(self) -> None:
        """Only those under way stay: the rest is in the store."""
        for report in self._queued():
            if self._known.get(key_of(report)) is report:
                del self._known[key_of(report)]
        self._ready.clear()
        self._later.clear()

    def next_at(self) -> Millis | None:
        """When the first of those that are due later is."""
        return self._later[0][0] if self._later else None

    def _queued(self) -> Iterable[DueReport]:
        yield from self._ready
        for _, _, report in self._later:
            yield report
