"""The report pump: one lane (gateway@host) beside the other, each draining its own due reports.

A host has a breaker, a bound on requests in flight and a pace; a host together with an api_key can be paused. A lane
that waits holds up no other lane, a report that waits holds up no report of another message.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import structlog
from msgspec import Struct

from bridge.core.model import MessageId, Millis, Status, id_text
from bridge.flows import reporting
from bridge.flows.rules import ReportRules
from bridge.metrics import Metrics
from bridge.secret import Secret
from bridge.smartico import (
    Hopeless,
    Refusal,
    StatusReply,
    TryLater,
    Unauthorized,
    build_status_request,
    check_callback_url,
    read_status_reply,
)
from bridge.store import reports
from bridge.store.reports import DueReport, Settlement
from bridge.store.tx import Store, Tx
from bridge.transport import Transport
from bridge.worker.breaker import Breaker
from bridge.worker.pump import Pump

__all__ = ["ReportPumps", "ReportTarget"]

_log = structlog.get_logger()
_LOAD = 256  # reports read from the store at a time
_SETTLE_EVERY = 0.01  # seconds; outcomes of this long share a write


class ReportTarget(Struct, frozen=True):
    """How reports are sent: the settings of `[smartico]`. `api_key` gives the key of a gateway."""

    api_key: Callable[[str], Secret]
    callback_hosts: Sequence[str]
    allow_insecure_callbacks: bool
    timeout_seconds: float
    max_in_flight: int
    max_per_second: float


class Host:
    """What all lanes of one host share."""

    def __init__(self, name: str, target: ReportTarget) -> None:
        self.name = name
        self.breaker = Breaker(8, first=1.0, longest=10.0)
        self.slots = asyncio.Semaphore(target.max_in_flight)
        self._gap = 1 / target.max_per_second if target.max_per_second else 0.0
        self._next = 0.0

    async def pace(self) -> None:
        """Waits for this host's next turn, where `max_per_second` is set."""
        if self._gap:
            now = asyncio.get_running_loop().time()
            self._next = max(now, self._next + self._gap)
            await asyncio.sleep(self._next - now)


class ReportPumps:
    """All lanes. `wake` with the lanes that have new reports; `run` from the start on."""

    def __init__(
        self,
        store: Store,
        rules: ReportRules,
        target: ReportTarget,
        transport: Transport,
        clock: Callable[[], Millis],
        metrics: Metrics,
    ) -> None:
        self.store = store
        self.rules = rules
        self.target = target
        self.transport = transport
        self.clock = clock
        self.metrics = metrics
        self.settler = _Settler(self)
        self._lanes: dict[str, LanePump] = {}
        self._hosts: dict[str, Host] = {}
        self._pauses: dict[tuple[str, str], Breaker] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Opens a lane for everything that is owed already."""
        self._tasks.append(asyncio.create_task(self.settler.run()))
        await self.wake_all()

    def wake(self, lanes: Sequence[str] | set[str]) -> None:
        """These lanes have reports that are due now or later."""
        for name in lanes:
            lane = self._lanes.get(name)
            if lane is None and not self._stopping:
                lane = self._lanes[name] = LanePump(name, self)
                self._tasks.append(asyncio.create_task(lane.run(), name=f"report:{name}"))
            if lane is not None:
                lane.wake()

    async def wake_all(self) -> None:
        """Looks up every lane that has something to send."""
        self.wake(await self.store.read(reports.lanes))

    async def stop(self) -> None:
        self._stopping = True
        for lane in self._lanes.values():
            await lane.stop()

    async def drain(self) -> None:
        """Waits for the requests under way, and for their outcomes to be stored."""
        for lane in self._lanes.values():
            await lane.drain()
        await self.settler.stop()
        await asyncio.gather(*self._tasks)

    def abandon(self) -> None:
        """Ends the requests under way: their reports are due again at the next start."""
        for lane in self._lanes.values():
            lane.abandon()
        for task in self._tasks:
            task.cancel()

    def host(self, name: str) -> Host:
        if name not in self._hosts:
            self._hosts[name] = Host(name, self.target)
        return self._hosts[name]

    def pause(self, host: str, api_key: Secret) -> Breaker:
        """The breaker that a 401 or 403 opens: one for a host together with a key."""
        return self._pauses.setdefault((host, api_key.reveal()), Breaker(1, first=1.0, longest=15.0))

    def hosts_down(self) -> dict[str, str]:
        """Hosts that are left alone now, with the reason."""
        down = {name: host.breaker.reason for name, host in self._hosts.items() if host.breaker.is_open}
        return down | {host: pause.reason for (host, _), pause in self._pauses.items() if pause.is_open}


class LanePump(Pump):
    """The reports of one gateway to one host."""

    def __init__(self, lane: str, pumps: ReportPumps) -> None:
        super().__init__(f"report:{lane}")
        self._lane = lane
        self._pumps = pumps
        self._in_flight: set[tuple[MessageId, Status]] = set()
        self._gateway, _, host = lane.partition("@")
        self._host = pumps.host(host)
        self._api_key = pumps.target.api_key(self._gateway)
        self._pause = pumps.pause(host, self._api_key)

    async def step(self) -> float | None:
        """Sends what is due, as far as the host lets us."""
        wait = self._wait()
        if wait > 0:
            return wait
        limit = _LOAD + len(self._in_flight)
        now = self._pumps.clock()
        # What ends while the store is read may still look due there: it counts as under way for this round.
        busy = set(self._in_flight)
        due = await self._pumps.store.read(lambda tx: reports.due_reports(tx, self._lane, now, limit))
        busy |= self._in_flight
        fresh = [each for each in due if (each.message_id, each.status) not in busy]
        for report in fresh:
            if not await self._start(report):
                return self._wait() or 0.0
        return 0.0 if fresh else await self._until_next(now)

    def _wait(self) -> float:
        now = self._pumps.clock()
        return max(self._host.breaker.wait(now), self._pause.wait(now))

    async def _until_next(self, now: Millis) -> float | None:
        """Seconds until the next report is due; those due now are under way, and each that ends wakes the lane."""
        due_at = await self._pumps.store.read(lambda tx: reports.next_due(tx, self._lane, now))
        return None if due_at is None else max(0.001, (due_at - self._pumps.clock()) / 1000)

    async def _start(self, report: DueReport) -> bool:
        """Sends one report when there is a free place; False when the host is to be left alone."""
        await self._host.slots.acquire()
        await self._host.pace()
        now = self._pumps.clock()
        if self.stopping or not self._allowed(now):
            self._host.slots.release()
            return False
        self._in_flight.add((report.message_id, report.status))
        self.spawn(self._send(report))
        return True

    def _allowed(self, now: Millis) -> bool:
        if self._pause.wait(now) > 0 or not self._host.breaker.allows(now):
            return False
        return self._pause.allows(now)

    async def _send(self, report: DueReport) -> None:
        try:
            settlement = await self._attempt(report)
        except Exception as error:
            _log.exception("a report failed on our side", ext_message_id=id_text(report.message_id))
            self._cancel_probes()
            settlement = self._judge(report, TryLater("internal", type(error).__name__, None, False), None)
        finally:
            self._host.slots.release()
        self._pumps.settler.add(self._lane, settlement, lambda: self._settled(report))

    def _settled(self, report: DueReport) -> None:
        self._in_flight.discard((report.message_id, report.status))
        self.wake()

    async def _attempt(self, report: DueReport) -> Settlement:
        target = self._pumps.target
        # The list may have changed since the message was accepted.
        host = check_callback_url(report.callback_url, target.callback_hosts, target.allow_insecure_callbacks)
        if isinstance(host, Refusal):
            self._cancel_probes()
            return self._judge(report, Hopeless("callback_url is not allowed any more"), None)
        request = build_status_request(
            report.callback_url,
            type=report.type,
            ext_message_id=id_text(report.message_id),
            status=report.status,
            api_key=self._api_key,
            timeout=target.timeout_seconds,
        )
        started = asyncio.get_running_loop().time()
        reply = read_status_reply(await self._pumps.transport.exchange(request), self._api_key)
        latency = asyncio.get_running_loop().time() - started
        self._pumps.metrics.report_seconds.observe(latency)
        self._pumps.metrics.reports.labels(report.gateway, type(reply).__name__).inc()
        counts = self._watch(reply)
        return self._judge(report, reply, round(latency * 1000), counts=counts)

    def _judge(
        self, report: DueReport, reply: StatusReply, latency_ms: int | None, *, counts: bool = True
    ) -> Settlement:
        settlement = reporting.judge(
            report,
            reply,
            self._pumps.rules,
            self._pumps.clock(),
            jitter=random.uniform(-1, 1),
            latency_ms=latency_ms,
            counts=counts,
        )
        if settlement.state == "done":
            self._pumps.metrics.report_age.observe((self._pumps.clock() - report.owed_at) / 1000)
        return settlement

    def _cancel_probes(self) -> None:
        """Whatever this attempt was to find out, it did not."""
        self._host.breaker.cancel_probe()
        self._pause.cancel_probe()

    def _watch(self, reply: StatusReply) -> bool:
        """Tells the breakers; False when the attempt came while the host was known to be down."""
        now, breaker = self._pumps.clock(), self._host.breaker
        if isinstance(reply, TryLater) and reply.counts_for_breaker:
            was_open = breaker.is_open
            self._pause.cancel_probe()
            if breaker.failed(now, reply.reason):
                _log.error("status reports wait: the host is down", host=self._host.name, reason=reply.reason)
            return not was_open
        if breaker.succeeded():
            _log.info("status reports go out again", host=self._host.name)
        if isinstance(reply, Unauthorized):
            if self._pause.failed(now, reply.reason):
                _log.error(
                    "status reports wait: the api_key is refused", host=self._host.name, reason=reply.reason
                )
        elif self._pause.succeeded():
            _log.info("the api_key is accepted again", host=self._host.name)
        return True


class _Settler:
    """Stores outcomes, those of ten milliseconds in one write; whoever waits for one is told after the commit."""

    def __init__(self, pumps: ReportPumps) -> None:
        self._pumps = pumps
        self._waiting: list[tuple[str, Settlement, Callable[[], None]]] = []
        self._pump = Pump("settle")
        self._added = asyncio.Event()
        self._stopped = False

    def add(self, lane: str, settlement: Settlement, then: Callable[[], None]) -> None:
        self._waiting.append((lane, settlement, then))
        self._added.set()

    async def stop(self) -> None:
        self._stopped = True
        self._added.set()

    async def run(self) -> None:
        while self._waiting or not self._stopped:
            await self._added.wait()
            self._added.clear()
            if not self._stopped:
                await asyncio.sleep(_SETTLE_EVERY)
            await self._flush()

    async def _flush(self) -> None:
        group, self._waiting = self._waiting, []
        if not group:
            return
        settled = [(lane, settlement) for lane, settlement, _ in group]

        async def job(tx: Tx) -> None:
            await reporting.settle(tx, settled, self._pumps.clock())

        await self._pump.insist(lambda: self._pumps.store.write(job))
        for _, _, then in group:
            then()
