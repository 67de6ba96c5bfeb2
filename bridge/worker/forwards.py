"""Passing things on to the operator's own API: one pump for each destination, which is a kind of what is passed on.

What there is stands in the store alone; the pump claims as much as it may have under way. Of one key only the first is
ever due, so that what is claimed concerns different keys.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

import structlog
from msgspec import Struct

from bridge.core.breaker import Breaker
from bridge.core.exchange import Request
from bridge.core.model import Millis
from bridge.flows import forwarding
from bridge.flows.forwarding import Verdict, bridge_id, judge, read_outcome
from bridge.flows.rules import ReportRules
from bridge.flows.status import DOWN, HEADERS_REFUSED, HostState
from bridge.metrics import Metrics
from bridge.secret import Secret
from bridge.smartico import TryLater, Unauthorized
from bridge.store import forwards
from bridge.store.forwards import DueForward, Settlement
from bridge.store.together import Together
from bridge.store.tx import Store, Tx
from bridge.transport import Transport
from bridge.worker.hosts import state_of
from bridge.worker.pump import Pump

__all__ = ["MOST", "Destination", "ForwardPump"]

_log = structlog.get_logger()
MOST = 8  # requests to one destination at a time
_POLL = 1.0  # seconds between looks at what other processes kept, or left
_NET = (
    5.0  # seconds between looks for what nobody told of: who brought it had been sent away before the commit
)
_PAUSE = 1.0  # seconds until something is tried again that failed on our side


class Destination(Struct, frozen=True):
    """Where one kind is passed on to; `host` is its name for people. `timeout`: seconds for one request."""

    kind: str
    url: str
    host: str
    headers: Mapping[str, Secret]
    timeout: float

    def request(self, forward: DueForward) -> Request:
        """One request; the configured headers win over ours, but for the id."""
        given = {
            name: value.reveal() for name, value in self.headers.items() if name.lower() != "x-bridge-id"
        }
        headers = {"X-Bridge-Id": bridge_id(forward.kind, forward.source), **given}
        if "content-type" not in map(str.lower, given):
            headers["Content-Type"] = "application/json"
        return Request("POST", self.url, self.timeout, headers, forward.payload)


class ForwardPump(Pump):
    """Sends what is due. A destination that is down or refuses us is probed, and uses up no attempts."""

    def __init__(
        self,
        destination: Destination,
        store: Store,
        rules: ReportRules,
        transport: Transport,
        clock: Callable[[], Millis],
        metrics: Metrics,
    ) -> None:
        super().__init__(f"forward:{destination.kind}")
        self._destination = destination
        self._store = store
        self._rules = rules
        self._transport = transport
        self._clock = clock
        self._metrics = metrics
        self._breaker = Breaker(8, first=1.0, longest=10.0)
        self._pause = Breaker(1, first=1.0, longest=15.0)
        self._under_way: set[int] = set()
        self._together = Together(store, self._settle_all)

    @property
    def host(self) -> str:
        return self._destination.host

    @property
    def left_alone(self) -> str:
        """Why nothing is sent now but a probe; empty where all is well."""
        return self._breaker.reason if self._breaker.is_open else self._pause.reason

    def hosts_alone(self) -> list[HostState]:
        """The same, with all that is known of it."""
        states = (self._breaker, DOWN), (self._pause, HEADERS_REFUSED)
        return [state_of(self.host, breaker, what) for breaker, what in states if breaker.is_open]

    async def step(self) -> float | None:
        """Sets as much under way as is due and may go."""
        now = self._clock()
        wait = max(self._breaker.wait(now), self._pause.wait(now))
        if wait > 0:
            return wait
        probing = self._breaker.is_open or self._pause.is_open
        free = min(1 if probing else MOST, MOST - len(self._under_way))
        if not free:
            return None  # whoever ends wakes us
        claimed = await self._probe(now) if probing else await self._claim(now, free)
        for forward in claimed:
            self._under_way.add(forward.id)
            self.spawn(self._forward(forward))
        return None if len(claimed) == free else await self._until_next(now)

    async def _claim(self, now: Millis, limit: int) -> list[DueForward]:
        kind, under_way = self._destination.kind, frozenset(self._under_way)
        longer = round(self._destination.timeout * 1000)
        return await self._store.claim(
            lambda tx: forwards.due(tx, kind, now, limit, under_way=under_way, longer=longer)
        )

    async def _probe(self, now: Millis) -> list[DueForward]:
        """One, if there is one."""
        claimed: list[DueForward] = []
        try:
            if self._breaker.allows(now) and self._pause.allows(now):
                claimed = await self._claim(now, 1)
        finally:
            if not claimed:
                self._cancel_probes()
        return claimed

    async def _until_next(self, now: Millis) -> float | None:
        kind = self._destination.kind
        next_at = await self._store.read(lambda tx: forwards.next_due(tx, kind, now))
        longest = _NET if self._store.lease_seconds is None else _POLL
        return longest if next_at is None else min(max(0.001, (next_at - now) / 1000), longest)

    # --- one attempt ---

    async def _forward(self, forward: DueForward) -> None:
        try:
            settlement = await self._guarded_attempt(forward)
            await self.insist(lambda: self._together.add(settlement))
        except Exception:
            _log.exception("what came of passing something on could not be stored", forward=forward.id)
            await asyncio.sleep(_PAUSE)
        finally:
            self._under_way.discard(forward.id)

    async def _guarded_attempt(self, forward: DueForward) -> Settlement:
        try:
            return await self._attempt(forward)
        except Exception as error:
            _log.exception("passing something on failed on our side", forward=forward.id)
            self._cancel_probes()
            return self._judge(forward, TryLater("internal", type(error).__name__, None, False), None)

    async def _attempt(self, forward: DueForward) -> Settlement:
        loop = asyncio.get_running_loop()
        started = loop.time()
        verdict = read_outcome(await self._transport.exchange(self._destination.request(forward)))
        latency = loop.time() - started
        self._metrics.forwards.labels(forward.kind, type(verdict).__name__).inc()
        return self._judge(forward, verdict, round(latency * 1000), counts=self._watch(verdict))

    def _judge(
        self, forward: DueForward, verdict: Verdict, latency_ms: int | None, *, counts: bool = True
    ) -> Settlement:
        return judge(
            forward,
            verdict,
            self._rules,
            self._clock(),
            jitter=random.uniform(-1, 1),
            latency_ms=latency_ms,
            counts=counts,
        )

    async def _settle_all(self, tx: Tx, settlements: Sequence[Settlement]) -> list[None]:
        await forwarding.settle(tx, settlements, self._clock())
        return [None] * len(settlements)

    # --- how the destination is ---

    def _cancel_probes(self) -> None:
        self._breaker.cancel_probe()
        self._pause.cancel_probe()

    def _watch(self, verdict: Verdict) -> bool:
        """Tells the breakers; False when the attempt came while the destination was known to be down."""
        now, host = self._clock(), self.host
        if isinstance(verdict, TryLater) and verdict.counts_for_breaker:
            was_open = self._breaker.is_open
            self._pause.cancel_probe()
            if self._breaker.failed(now, verdict.reason):
                _log.error(
                    "what is to be passed on waits: the receiver is down", host=host, reason=verdict.reason
                )
            return not was_open
        if self._breaker.succeeded():
            _log.info("things are passed on again", host=host)
        if isinstance(verdict, Unauthorized):
            if self._pause.failed(now, verdict.reason):
                _log.error("what is to be passed on waits: we are refused", host=host, reason=verdict.reason)
        elif self._pause.succeeded():
            _log.info("the receiver takes things again", host=host)
        return True
