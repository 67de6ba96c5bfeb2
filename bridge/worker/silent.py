"""The pump of silence: one for each provider that tells how messages ended. Asks it for those whose end is overdue.

That is never urgent: one question at a time with a pause after it, none while the provider is left alone, and where it
gives no usable answers ever longer pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

import structlog

from bridge.core.breaker import Breaker
from bridge.core.exchange import Outcome, Reply
from bridge.core.model import Millis
from bridge.core.retry import doubling
from bridge.flows import silence
from bridge.flows.rules import Rules
from bridge.flows.silence import Question, Settled
from bridge.metrics import Metrics
from bridge.providers.protocol import MOST_TOLD, LookupFailed, Provider, TellResult, Told
from bridge.store import silence as rows
from bridge.store.reports import DueReport
from bridge.store.tx import Store, Tx
from bridge.transport import Transport
from bridge.worker.pump import Pump

__all__ = ["SilentPump"]

_log = structlog.get_logger()
_PAUSE = 1.0  # seconds between two questions
_LONGEST_PAUSE = 300.0  # where they bring no answer
_EVERY = 30.0  # seconds between looks at what may be overdue
_AT_ONCE = MOST_TOLD  # messages in one question
_NOTHING_TO_SEND_MS = 60_000


class SilentPump(Pump):
    """`breaker` and `slots` are those of the sends; `reported` gets the reports that are due next."""

    def __init__(
        self,
        provider: Provider,
        store: Store,
        rules: Rules,
        transport: Transport,
        clock: Callable[[], Millis],
        metrics: Metrics,
        *,
        breaker: Breaker,
        slots: asyncio.Semaphore,
        reported: Callable[[Sequence[DueReport]], None],
    ) -> None:
        super().__init__(f"silent:{provider.name}")
        self._provider = provider
        self._store = store
        self._rules = rules
        self._transport = transport
        self._clock = clock
        self._metrics = metrics
        self._breaker = breaker
        self._slots = slots
        self._reported = reported
        self._failures = 0
        self._not_before = 0.0
        # Short limits (tests) are looked after more often.
        after_ms = rules.provider_rules[provider.name].silent_after_ms
        self._every = min(_EVERY, max(0.1, after_ms / 20_000))

    async def step(self) -> float | None:
        """One question, or none. Gives the seconds until the next one."""
        name, now, moment = self._provider.name, self._clock(), monotonic()
        if moment < self._not_before:
            return self._not_before - moment
        if self._provider.asks and self._left_alone(now):
            return _PAUSE
        due_at = await self._store.read(lambda tx: rows.next_due(tx, name))
        if due_at is None or due_at > now:
            return self._every
        question = await self._store.write(lambda tx: silence.take_on(tx, self._rules, name, now, _AT_ONCE))
        if question.silent:
            await self._settle(question, await self._answer(question))
        return 0.0 if question.looked else self._every

    def _left_alone(self, now: Millis) -> bool:
        """Whether the sends leave the provider alone; not where they have had nothing to try it with for a while."""
        if not self._breaker.is_open:
            return False
        next_try_at = self._breaker.next_try_at
        return next_try_at is None or now < next_try_at + _NOTHING_TO_SEND_MS

    async def _answer(self, question: Question) -> TellResult | None:
        """What the provider says; None: it cannot be asked. Every answer is followed by a pause."""
        if not self._provider.asks:
            return None
        ids = sorted(question.ids)
        parts = [ids[start : start + MOST_TOLD] for start in range(0, len(ids), MOST_TOLD)]
        results = [await self._ask(part) for part in parts]
        failed = next((each for each in results if isinstance(each, LookupFailed)), None)
        self._failures = 0 if failed is None else self._failures + 1
        pause = doubling(max(1, self._failures), first=_PAUSE, longest=_LONGEST_PAUSE)
        self._not_before = monotonic() + pause
        if failed is not None:
            _log.warning("the provider does not say how messages ended", reason=failed.reason, pause=pause)
            return failed
        told = [each for each in results if isinstance(each, Told)]
        known = frozenset[str]().union(*(each.known for each in told))
        return Told(known, {name: ended for each in told for name, ended in each.ended.items()})

    async def _ask(self, ids: Sequence[str]) -> TellResult:
        """A few requests, one after the other."""
        name, outcomes = self._provider.name, list[Outcome]()
        for request in self._provider.build_tell(ids):
            async with self._slots:
                with self._metrics.provider_seconds.labels(name, "tell").time():
                    outcomes.append(await self._transport.exchange(request))
            answered = isinstance(outcomes[-1], Reply) and outcomes[-1].status < 300
            if not answered or self.stopping:
                break  # the others would fare no better
        result = self._provider.parse_tell(ids, outcomes)
        self._metrics.provider_requests.labels(name, type(result).__name__).inc()
        return result

    async def _settle(self, question: Question, result: TellResult | None) -> None:
        name = self._provider.name

        async def job(tx: Tx) -> Settled:
            return await silence.settle(tx, self._rules, name, question, result, self._clock())

        settled = await self.insist(lambda: self._store.write(job))
        self._reported(settled.due)
        self._metrics.silent.labels(name, "told").inc(settled.ended)
        self._metrics.silent.labels(name, "review").inc(settled.reviewed)
        if settled.reviewed:
            _log.warning(
                "messages without a final callback are under review", provider=name, count=settled.reviewed
            )
