"""The upkeep pump: what is not caused by an event but by time passing. Messages, reports and orphans that grew old.

Beside that it prunes what nobody needs any more, and looks for messages whose end is overdue, a step at a time and with
pauses that are longer than the steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic

import structlog

from bridge.core.model import Millis
from bridge.core.timekeeper import PATIENCE_MS
from bridge.flows import callbacks, communications, forwarding, leaps, reporting, sending
from bridge.flows.pruning import Pruned, Pruning
from bridge.flows.rules import Rules
from bridge.flows.silence import Finding
from bridge.store import sends
from bridge.store.reports import DueReport
from bridge.store.tx import Store, Tx
from bridge.worker.pump import Pump
from bridge.worker.waiting import Key

__all__ = ["UpkeepPump"]

_log = structlog.get_logger()
_EVERY = 5.0  # seconds
_NOTE_EVERY_MS = 60_000  # between notes of the time
_CHUNK = 1000  # rows in one transaction
_BURY_REST = 9  # of the time that looking for old reports took: among a million it takes seconds
_PRUNE_PAUSE = 0.02  # seconds between two steps of pruning, at least
_PRUNE_SHARE = 5  # of so much time pruning takes one part
_FIND_EVERY = 60.0  # seconds between two looks for silent messages
_TELL_EVERY = 60.0  # seconds between two lines about pruning while it goes on


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
        recover: Callable[[], Awaitable[None]],
        pruning: Pruning,
        pruned: Callable[[Pruned], None],
        forwards_free: Callable[[], None],
        finding: Finding,
        went_back: Callable[[], None],
    ) -> None:
        super().__init__("upkeep")
        self._store = store
        self._rules = rules
        self._clock = clock
        self._reported = reported
        self._buried = buried
        self._recover = recover
        self._pruning = pruning
        self._pruned = pruned
        self._forwards_free = forwards_free
        self._went_back = went_back
        self._bury_at = 0.0
        self._noted: Millis | None = None  # the time, when it was noted last
        self._prune_from: Millis = 0
        self._give_up_from: Millis = 0
        self._gone: Counter[str] = Counter()  # since the last line about it
        self._finding = finding
        self._round_at = self._prune_at = self._find_at = self._told_at = 0.0
        # Short limits (tests, the demo) are looked after more often.
        shortest = min(
            [rules.reports.max_age_ms, *(gateway.max_age_ms for gateway in rules.gateways.values())]
        )
        self._every = min(_EVERY, max(0.1, shortest / 4000), (store.lease_seconds or 3 * _EVERY) / 3)

    async def step(self) -> float | None:
        """A round when it is time for one; between the rounds a step of pruning, and one of the search for silence."""
        if monotonic() >= self._round_at:
            await self._round()
            self._round_at = monotonic() + self._every
        if monotonic() >= self._prune_at and not self.stopping:
            self._prune_at = self._round_at  # also where it fails
            pause = await self._prune() if self._may_prune() else None
            if pause is not None:
                self._prune_at = monotonic() + pause
        if monotonic() >= self._find_at and not self.stopping:
            self._find_at = self._round_at
            self._find_at = monotonic() + await self._find_silent()
        return max(0.001, min(self._round_at, self._prune_at, self._find_at) - monotonic())

    async def note_time(self) -> None:
        """Notes it in the database, and finds out whether the clock has leapt. Raises StoreError."""
        now, before = self._clock(), self._noted
        noted = await leaps.note_time(self._store, now)
        self._prune_from = noted.prune_from
        self._give_up_from = noted.prune_from - leaps.AHEAD_MS + PATIENCE_MS if noted.prune_from else 0
        if noted.ahead:
            _log.warning(
                "the clock is far ahead of when bridge ran last; nothing is given up for an hour, or pruned for a day",
                seconds=noted.ahead // 1000,
            )
        # Where several share the database, the note may be another one's, whose clock is wrong.
        back = noted.back if self._store.lease_seconds is None else 0
        if before is not None and before - now > leaps.BACK_MS:
            back = before - now
        if back:
            _log.warning("the clock went back; what waits is brought forward", seconds=back // 1000)
            await leaps.bring_forward(self._store, now, back)
            self._went_back()
        self._noted = now

    def _may_prune(self) -> bool:
        """Not by a clock that has just leapt."""
        now, noted = self._clock(), self._noted
        return noted is not None and self._prune_from <= now <= noted + leaps.AHEAD_MS

    async def _round(self) -> None:
        if self._noted is None or not -leaps.BACK_MS <= self._clock() - self._noted < _NOTE_EVERY_MS:
            await self.note_time()
        if self._store.lease_seconds is not None:  # first: what comes then has to wait for searches
            await self._recover()
            await self._until_done(self._adopt)
        if self._clock() >= self._give_up_from:
            await self._give_up()
        await self._until_done(self._tie, communications.TIE_AT_ONCE)
        await self._until_done(lambda: callbacks.review_old_orphans(self._store, self._clock(), _CHUNK))

    async def _give_up(self) -> None:
        """What grew too old."""
        for provider in await self._store.search(sends.providers):
            await self._expire(provider)
            if provider not in self._rules.providers:
                await self._until_done(partial(self._review_left, provider))
        if monotonic() >= self._bury_at:
            began = monotonic()
            await self._until_done(self._bury)
            self._bury_at = monotonic() + _BURY_REST * (monotonic() - began)
        await self._until_done(self._bury_forwards)

    async def _prune(self) -> float | None:
        """One step; gives the seconds until the next one, None when there is nothing to do now."""
        began = monotonic()
        pruned = await self._pruning.step(self._clock())
        if pruned is not None and pruned.count:
            self._gone[pruned.kind] += pruned.count
            self._pruned(pruned)
        now = monotonic()
        if self._gone and (pruned is None or now - self._told_at >= _TELL_EVERY):
            _log.info("what was old is pruned", **self._gone)
            self._gone.clear()
            self._told_at = now
        return None if pruned is None else max(_PRUNE_PAUSE, (now - began) * (_PRUNE_SHARE - 1))

    async def _find_silent(self) -> float:
        """One step; gives the seconds until the next one."""
        began = monotonic()
        more = await self._finding.step(self._clock())
        if more is None:
            shortest = (self._finding.shortest_ms or 0) / 1000
            return min(_FIND_EVERY, max(0.1, shortest / 20)) if shortest else _FIND_EVERY
        return max(_PRUNE_PAUSE, (monotonic() - began) * (_PRUNE_SHARE - 1))

    async def _until_done(self, work: Callable[[], Awaitable[int]], chunk: int = _CHUNK) -> None:
        while not self.stopping:
            if await work() < chunk:
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

    async def _review_left(self, provider: str) -> int:
        return await self._store.write(
            lambda tx: sending.review_left(tx, self._rules, provider, self._clock(), _CHUNK)
        )

    async def _adopt(self) -> int:
        return await callbacks.adopt_stragglers(
            self._store, self._rules, self._clock(), self._reported, _CHUNK
        )

    async def _tie(self) -> int:
        return await communications.tie_waiting(self._store, self._clock())

    async def _bury_forwards(self) -> int:
        buried = await forwarding.bury_aged(self._store, self._rules.reports, self._clock(), _CHUNK)
        if buried:
            self._forwards_free()
        return buried

    async def _bury(self) -> int:
        buried = await reporting.bury_aged(self._store, self._rules.reports, self._clock(), _CHUNK)
        self._buried(buried)
        return len(buried)
