"""The report pumps: one for each lane (gateway@host), opened when it gets its first report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from bridge.core.model import Millis
from bridge.flows.rules import ReportRules
from bridge.flows.status import HostState
from bridge.metrics import Metrics
from bridge.store import reports
from bridge.store.reports import DueReport
from bridge.store.tx import Store
from bridge.transport import Transport
from bridge.worker.hosts import Hosts
from bridge.worker.lane import LaneContext, LanePump, ReportTarget
from bridge.worker.leased import LeasedStock
from bridge.worker.leases import Held
from bridge.worker.settler import Settler
from bridge.worker.stock import OwnedStock, Stock
from bridge.worker.waiting import Key

__all__ = ["ReportPumps", "ReportTarget"]


class ReportPumps:
    """All lanes. `hand_over` new reports; `look_again` where only the store knows what is due."""

    def __init__(
        self,
        store: Store,
        rules: ReportRules,
        target: ReportTarget,
        transport: Transport,
        clock: Callable[[], Millis],
        metrics: Metrics,
        held: Held,
    ) -> None:
        self._store = store
        self._clock = clock
        self._held = held
        self._settler = Settler(store, clock)
        self._hosts = Hosts(target.max_in_flight, target.max_per_second)
        self._ctx = LaneContext(rules, target, transport, clock, metrics, self._settler, self._hosts)
        self._lanes: dict[str, LanePump] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Opens a lane for everything that is owed already."""
        self._tasks.append(asyncio.create_task(self._settler.run()))
        await self.look_everywhere()

    def hand_over(self, due: Sequence[DueReport]) -> None:
        """New reports, now that their commit is done."""
        for report in due:
            lane = self._lane(report.lane)
            if lane is not None:
                lane.hand_over(report)

    def look_again(self, lanes: Iterable[str]) -> None:
        """These lanes have reports in the store that were not handed over."""
        for name in lanes:
            lane = self._lane(name)
            if lane is not None:
                lane.look_again()

    async def look_everywhere(self) -> None:
        """Looks up every lane that has something to send."""
        self.look_again({*self._lanes, *await self._store.read(reports.lanes)})

    def start_anew(self) -> None:
        """The clock went back, and the times of what waits were changed in the store."""
        for lane in self._lanes.values():
            lane.start_anew()

    def compare(self, owed: Mapping[str, int]) -> None:
        """What the store says is owed, by lane."""
        for name, count in owed.items():
            if name in self._lanes:
                self._lanes[name].compare(count)
            else:
                self.look_again([name])

    def buried(self, given_up: Iterable[tuple[str, Key]]) -> None:
        """Reports that were given up while they waited; the next ones of their messages may go."""
        for name, key in given_up:
            if name in self._lanes:
                self._lanes[name].buried(key)
        self.look_again({name for name, _ in given_up})

    async def stop(self) -> None:
        self._stopping = True
        for lane in self._lanes.values():
            await lane.stop()

    async def drain(self) -> None:
        """Waits for the requests under way, and for their outcomes to be stored."""
        for lane in self._lanes.values():
            await lane.drain()
        await self._settler.stop()
        await asyncio.gather(*self._tasks)

    def abandon(self) -> None:
        """Ends the requests under way: their reports are due again at the next start."""
        for lane in self._lanes.values():
            lane.abandon()
        for task in self._tasks:
            task.cancel()

    def hosts_alone(self) -> list[HostState]:
        """Hosts that get nothing now but a probe."""
        return self._hosts.alone()

    def hosts_down(self) -> dict[str, str]:
        """Their names, with the reason."""
        return {each.host: each.reason for each in self.hosts_alone()}

    def _stock(self, lane: str) -> Stock:
        seconds = self._store.lease_seconds
        if seconds is None:
            return OwnedStock(lane, self._store, self._clock)
        return LeasedStock(lane, self._store, self._clock, self._held, seconds)

    def _lane(self, name: str) -> LanePump | None:
        lane = self._lanes.get(name)
        if lane is None and not self._stopping:
            lane = self._lanes[name] = LanePump(name, self._ctx, self._stock(name))
            self._tasks.append(asyncio.create_task(lane.run(), name=lane.name))
        return lane
