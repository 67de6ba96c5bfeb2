"""One lane of status reports: those of one gateway to one host.

New reports come in memory, right after the commit that made them owed, and so do those that are to be tried again; the
store is read only for what memory does not hold: at the start, after a replay, and when more waits than memory may
hold. A lane that waits holds up no other lane, a report that waits holds up no report of another message.
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
from bridge.store import reports
from bridge.store.reports import DueReport, Settlement
from bridge.store.tx import Store
from bridge.transport import Transport
from bridge.worker.hosts import Hosts
from bridge.worker.pump import Pump
from bridge.worker.settler import Settler
from bridge.worker.waiting import Key, Waiting, key_of

__all__ = ["MISSED", "LaneContext", "LanePump", "ReportTarget"]

_log = structlog.get_logger()
_LOAD = 256  # reports read from the store at a time
_MOST = 10_000  # reports of one lane that memory holds; about 700 bytes each
_GATHER_EVERY = 5_000  # milliseconds between tries to hold everything again
MISSED = 12  # comparisons in a row that find fewer reports here than in the store: a minute of them
_FOREVER: Millis = 1 << 62


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

    store: Store
    rules: ReportRules
    target: ReportTarget
    transport: Transport
    clock: Callable[[], Millis]
    metrics: Metrics
    settler: Settler
    hosts: Hosts


class LanePump(Pump):
    """Sends what is due, through as many senders as may be in flight."""

    def __init__(self, lane: str, ctx: LaneContext) -> None:
        super().__init__(f"report:{lane}")
        self._lane = lane
        self._ctx = ctx
        self._gateway, _, host = lane.partition("@")
        self._host = ctx.hosts.host(host)
        self._api_key = ctx.target.api_key(self._gateway)
        self._pause = ctx.hosts.pause(host, self._api_key)
        self._addresses: dict[tuple[str, str], StatusAddress | None] = {}
        self._senders = 0
        self._stopped = asyncio.Event()
        self._waiting = Waiting()
        self._complete = False  # memory holds all that is pending in the store
        self._stored_at: Millis | None = 0  # when the store has something due that memory does not hold
        self._gathered_at: Millis = 0
        self._reading = False
        self._missed = 0
        self._ended: set[Key] = set()  # while the store is being read

    # --- what is to be sent ---

    def hand_over(self, report: DueReport) -> None:
        """One more report is due, now or later. It is in the store, so it may be left there."""
        if self._complete and len(self._waiting) >= _MOST:
            self._complete = False
            self._waiting.forget_waiting()
            self._expect(0)
        if self._complete:
            self._waiting.add(report)
        else:
            self._expect(report.due_at)
        self.wake()

    def look_again(self) -> None:
        """The store may have what memory does not hold."""
        self._complete = False
        self._expect(0)
        self.wake()

    def compare(self, owed: int) -> None:
        """The store says how many wait. Should more be known there than here for a while, it is looked again.

        Every way in which a report becomes due hands it over or says so; this is the net below them. Once says little:
        what is under way is counted at one moment there, and at another here.
        """
        missing = self._complete and owed > len(self._waiting) and not self._waiting.ready(self._ctx.clock())
        self._missed = self._missed + 1 if missing else 0
        if self._missed >= MISSED:
            _log.warning("reports were not known to their lane", lane=self._lane, owed=owed)
            self._missed = 0
            self.look_again()

    def buried(self, key: Key) -> None:
        """A report was given up while it waited."""
        self._forget(key)

    def settled(self, report: DueReport, settlement: Settlement) -> None:
        """What came of an attempt is stored; a report that is still pending is due again."""
        self._forget(key_of(report))
        if settlement.due_at is not None:
            self.hand_over(
                replace(
                    report,
                    due_at=settlement.due_at,
                    attempts=report.attempts + settlement.attempts,
                    retries=settlement.retries,
                    refusals=settlement.refusals,
                    not_founds=settlement.not_founds,
                )
            )

    def _forget(self, key: Key) -> None:
        self._waiting.done(key)
        if self._reading:
            self._ended.add(key)

    def _expect(self, at: Millis) -> None:
        self._stored_at = at if self._stored_at is None else min(at, self._stored_at)

    async def _load(self, now: Millis) -> None:
        """Takes the oldest of those that are due in the store; once there are few, all that are pending."""
        self._stored_at = None
        try:
            await self._load_due(now)
        except BaseException:
            self._expect(now)  # nothing is known of what is due
            raise

    async def _load_due(self, now: Millis) -> None:
        limit = _LOAD + len(self._waiting)  # those known here may be among them
        if await self._read(now, limit) == limit:
            self._expect(now)
        elif now - self._gathered_at >= _GATHER_EVERY:
            self._gathered_at = now
            everything = await self._read(_FOREVER, _MOST) < _MOST
            self._complete = everything and self._stored_at is None  # else something came while it was read
            if not everything:
                await self._expect_next(now)
        else:
            await self._expect_next(now)

    async def _expect_next(self, now: Millis) -> None:
        due_at = await self._ctx.store.read(lambda tx: reports.next_due(tx, self._lane, now))
        if due_at is not None:
            self._expect(due_at)

    async def _read(self, until: Millis, limit: int) -> int:
        """Adds what is due until then, and is not here yet; says how many rows there were."""
        self._reading = True
        self._ended.clear()
        try:
            found = await self._ctx.store.read(lambda tx: reports.due_reports(tx, self._lane, until, limit))
        finally:
            self._reading = False
        for report in found:
            if key_of(report) not in self._ended:
                self._waiting.add(report)
        return len(found)

    # --- sending ---

    async def stop(self) -> None:
        await super().stop()
        self._stopped.set()

    async def step(self) -> float | None:
        """Sets senders to work, as far as there is work and the host lets us."""
        wait = self._wait()
        if wait > 0:
            return wait
        now = self._ctx.clock()
        ready = self._waiting.ready(now)
        if self._stored_at is not None and self._stored_at <= now and ready < _LOAD:
            await self._load(now)
            ready = self._waiting.ready(now)
        for _ in range(min(ready, self._ctx.target.max_in_flight - self._senders)):
            self._senders += 1
            self.spawn(self._send_some())
        if ready:
            return None  # the senders take what becomes due meanwhile, and the last one wakes us
        times = [at for at in (self._waiting.next_at(), self._stored_at) if at is not None]
        return max(0.001, (min(times) - self._ctx.clock()) / 1000) if times else None

    def _wait(self) -> float:
        now = self._ctx.clock()
        return max(self._host.breaker.wait(now), self._pause.wait(now))

    async def _send_some(self) -> None:
        """Sends one report after the other until nothing may go. The host's slots go round among its lanes."""
        try:
            while not self.stopping and await self._send_next():
                if self._stored_at is not None:
                    self.wake()
        finally:
            self._senders -= 1

    async def _send_next(self) -> bool:
        async with self._host.slots:
            if not self._waiting.ready(self._ctx.clock()):
                return False  # before it takes a turn of the pace
            await self._host.pace(self._stopped)
            now = self._ctx.clock()
            report = None if self.stopping else self._waiting.take(now)
            if report is None:
                return False
            if not self._allowed(now):
                self._waiting.put_back(report)
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
            if len(self._addresses) >= _LOAD:
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
