"""One lane of status reports: those of one gateway to one host.

What there is to send is its stock (`bridge.worker.stock`). A lane that waits holds up no other lane, a report that
waits holds up no report of another message.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import structlog
from msgspec import Struct
from msgspec.structs import replace

from bridge.core.model import Millis, id_text
from bridge.flows import reporting
from bridge.flows.rules import ReportRules
from bridge.metrics import Metrics
from bridge.secret import Secret
from bridge.smartico import (
    Hopeless,
    Refusal,
    StatusAddress,
    StatusReply,
    TryLater,
    Unauthorized,
    check_callback_url,
    read_status_reply,
)
from bridge.store.reports import DueReport, Settlement
from bridge.transport import Transport
from bridge.worker.hosts import Hosts
from bridge.worker.pump import Pump
from bridge.worker.settler import Settler
from bridge.worker.stock import LOAD, Stock
from bridge.worker.waiting import Key, key_of

__all__ = ["LaneContext", "LanePump", "ReportTarget"]

_log = structlog.get_logger()
_ADDRESSES = 256  # that are kept, ready to be sent to


class ReportTarget(Struct, frozen=True):
    """How reports are sent: the settings of `[smartico]`. `api_key` gives the key of a gateway."""

    api_key: Callable[[str], Secret]
    callback_hosts: Sequence[str]
    allow_insecure_callbacks: bool
    timeout_seconds: float
    max_in_flight: int
    max_per_second: float


class LaneContext(Struct, frozen=True):
    """What all lanes work with."""

    rules: ReportRules
    target: ReportTarget
    transport: Transport
    clock: Callable[[], Millis]
    metrics: Metrics
    settler: Settler
    hosts: Hosts


class LanePump(Pump):
    """Sends what is due, through as many senders as may be in flight."""

    def __init__(self, lane: str, ctx: LaneContext, stock: Stock) -> None:
        super().__init__(f"report:{lane}")
        self._ctx = ctx
        self._gateway, _, host = lane.partition("@")
        self._host = ctx.hosts.host(host)
        self._api_key = ctx.target.api_key(self._gateway)
        self._pause = ctx.hosts.pause(host, self._api_key)
        self._addresses: dict[tuple[str, str], StatusAddress | None] = {}
        self._senders = 0
        self._stopped = asyncio.Event()
        self._stock = stock

    # --- what is to be sent ---

    def hand_over(self, report: DueReport) -> None:
        """One more report is due, now or later. It is in the store, so it may be left there."""
        self._stock.hand_over(report)
        self.wake()

    def look_again(self) -> None:
        """The store may have what memory does not hold."""
        self._stock.look_again()
        self.wake()

    def start_anew(self) -> None:
        """The clock went back."""
        self._stock.start_anew()
        self.wake()

    def compare(self, owed: int) -> None:
        """The store says how many wait."""
        self._stock.compare(owed)
        self.wake()

    def buried(self, key: Key) -> None:
        """A report was given up while it waited."""
        self._stock.forget(key)

    def settled(self, report: DueReport, settlement: Settlement) -> None:
        """What came of an attempt is stored; a report that is still pending is due again."""
        self._stock.forget(key_of(report))
        if settlement.due_at is not None:
            self._stock.again(
                replace(
                    report,
                    due_at=settlement.due_at,
                    attempts=report.attempts + settlement.attempts,
                    retries=settlement.retries,
                    refusals=settlement.refusals,
                    not_founds=settlement.not_founds,
                )
            )
            self.wake()

    # --- sending ---

    async def stop(self) -> None:
        await super().stop()
        self._stopped.set()

    async def step(self) -> float | None:
        """Sets senders to work, as far as there is work and the host lets us."""
        wait = self._wait()
        if wait > 0:
            await self._stock.let_go()
            return wait
        now = self._ctx.clock()
        if self._stock.wants(now):
            probing = self._host.breaker.is_open or self._pause.is_open
            await self._stock.load(now, 1 if probing else LOAD)
        ready = self._stock.ready(now)
        for _ in range(min(ready, self._ctx.target.max_in_flight - self._senders)):
            self._senders += 1
            self.spawn(self._send_some())
        if ready:
            return None  # the senders take what becomes due meanwhile, and the last one wakes us
        next_at = self._stock.next_at()
        return None if next_at is None else max(0.001, (next_at - self._ctx.clock()) / 1000)

    def _wait(self) -> float:
        now = self._ctx.clock()
        return max(self._host.breaker.wait(now), self._pause.wait(now))

    async def _send_some(self) -> None:
        """Sends one report after the other until nothing may go. The host's slots go round among its lanes."""
        try:
            while not self.stopping and await self._send_next():
                if self._stock.wants(self._ctx.clock()):
                    self.wake()
        finally:
            self._senders -= 1

    async def _send_next(self) -> bool:
        async with self._host.slots:
            if not self._stock.ready(self._ctx.clock()):
                return False  # before it takes a turn of the pace
            await self._host.pace(self._stopped)
            now = self._ctx.clock()
            report = None if self.stopping else self._stock.take(now)
            if report is None:
                return False
            if not self._allowed(now):
                self._stock.put_back(report)
                return False
            settlement = await self._guarded_attempt(report)
        self._ctx.settler.add(self, report, settlement)
        return True

    def _allowed(self, now: Millis) -> bool:
        if self._pause.wait(now) > 0 or not self._host.breaker.allows(now):
            return False
        return self._pause.allows(now)

    async def _guarded_attempt(self, report: DueReport) -> Settlement:
        try:
            return await self._attempt(report)
        except Exception as error:
            _log.exception("a report failed on our side", ext_message_id=id_text(report.message_id))
            self._cancel_probes()
            return self._judge(report, TryLater("internal", type(error).__name__, None, False), None)

    async def _attempt(self, report: DueReport) -> Settlement:
        address = self._address(report)
        if address is None:
            self._cancel_probes()
            return self._judge(report, Hopeless("callback_url is not allowed any more"), None)
        request = address.request(id_text(report.message_id), report.status, self._ctx.target.timeout_seconds)
        loop = asyncio.get_running_loop()
        started = loop.time()
        reply = read_status_reply(await self._ctx.transport.exchange(request), self._api_key)
        latency = loop.time() - started
        self._ctx.metrics.report_seconds.observe(latency)
        self._ctx.metrics.report_attempts_of(self._gateway, type(reply).__name__).inc()
        return self._judge(report, reply, round(latency * 1000), counts=self._watch(reply))

    def _address(self, report: DueReport) -> StatusAddress | None:
        """Where the report goes. The list of hosts may have changed since the message was accepted."""
        key = (report.callback_url, report.type)
        if key not in self._addresses:
            if len(self._addresses) >= _ADDRESSES:
                self._addresses.clear()
            target = self._ctx.target
            refused = isinstance(
                check_callback_url(
                    report.callback_url, target.callback_hosts, target.allow_insecure_callbacks
                ),
                Refusal,
            )
            self._addresses[key] = None if refused else StatusAddress(*key, self._api_key)
        return self._addresses[key]

    def _judge(
        self, report: DueReport, reply: StatusReply, latency_ms: int | None, *, counts: bool = True
    ) -> Settlement:
        now = self._ctx.clock()
        settlement = reporting.judge(
            report,
            reply,
            self._ctx.rules,
            now,
            jitter=random.uniform(-1, 1),
            latency_ms=latency_ms,
            counts=counts,
        )
        if settlement.state == "done":
            self._ctx.metrics.report_age.observe((now - report.owed_at) / 1000)
            if report.received_at is not None:
                self._ctx.metrics.callback_age.observe((now - report.received_at) / 1000)
        return settlement

    # --- how the host is ---

    def _cancel_probes(self) -> None:
        """Whatever this attempt was to find out, it did not."""
        self._host.breaker.cancel_probe()
        self._pause.cancel_probe()

    def _watch(self, reply: StatusReply) -> bool:
        """Tells the breakers; False when the attempt came while the host was known to be down."""
        now, breaker = self._ctx.clock(), self._host.breaker
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
