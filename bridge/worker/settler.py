"""Stores what came of the attempts at status reports, those of ten milliseconds in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from bridge.core.model import Millis, id_text
from bridge.flows import reporting
from bridge.store import reports
from bridge.store.reports import DueReport, Settlement
from bridge.store.tx import Row, Store, Tx
from bridge.worker.pump import Pump

__all__ = ["Settler"]

_log = structlog.get_logger()
_EVERY = 0.01  # seconds


class _Lane(Protocol):
    def settled(self, report: DueReport, settlement: Settlement) -> None:
        """What came of this report is stored."""

    def hand_over(self, report: DueReport) -> None:
        """This report may go next."""


_Outcome = tuple[_Lane, DueReport, Settlement]


class Settler:
    """Lanes `add` outcomes, and are told after the commit; then the next report of the message may go."""

    def __init__(self, store: Store, clock: Callable[[], Millis]) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[_Outcome] = []
        self._pump = Pump("settle")
        self._added = asyncio.Event()
        self._stopped = False

    def add(self, lane: _Lane, report: DueReport, settlement: Settlement) -> None:
        self._waiting.append((lane, report, settlement))
        self._added.set()

    async def stop(self) -> None:
        self._stopped = True
        self._added.set()

    async def run(self) -> None:
        while self._waiting or not self._stopped:
            await self._added.wait()
            self._added.clear()
            if not self._stopped:
                await asyncio.sleep(_EVERY)
            await self._flush()

    async def _flush(self) -> None:
        group, self._waiting = self._waiting, []
        if not group:
            return
        try:
            await self._settle(group)
        except Exception:
            _log.exception("outcomes of reports could not be stored together; each is tried by itself")
            for each in group:
                await self._settle_alone(each)

    async def _settle_alone(self, outcome: _Outcome) -> None:
        """After a bug of ours. A report whose outcome cannot be stored goes again after the next start."""
        try:
            await self._settle([outcome])
        except Exception:
            _log.exception("an outcome could not be stored", ext_message_id=id_text(outcome[1].message_id))

    async def _settle(self, group: list[_Outcome]) -> None:
        settled = [(report.lane, settlement) for _, report, settlement in group]

        async def job(tx: Tx) -> tuple[list[Row], float]:
            return await reporting.settle(tx, settled, self._clock()), tx.began

        rows, since = await self._pump.insist(lambda: self._store.write(job))
        released = {row[0]: row for row in rows}
        for lane, report, settlement in group:
            lane.settled(report, settlement)
            row = released.pop(report.message_id, None)
            if row is not None:
                lane.hand_over(reports.follow_up(row, report, since))
