"""The send pump: one for each provider. Claims queued messages, hands them over, asks for those perhaps handed over.

At most `max_in_flight` requests at a time. While the provider cannot be reached, throttles or refuses us, nothing is
claimed but one message as a probe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from bridge.core.breaker import Breaker
from bridge.core.model import MessageId, Millis, id_text
from bridge.flows import sending
from bridge.flows.rules import Rules
from bridge.flows.sending import Result
from bridge.metrics import Metrics
from bridge.providers.protocol import (
    Answered,
    Blocked,
    Deferred,
    Invalid,
    LookupResult,
    NoTrace,
    NotTaken,
    OutgoingMessage,
    PerhapsTaken,
    Provider,
    Refused,
    SendResult,
    TooLarge,
)
from bridge.store import sends
from bridge.store.reports import DueReport
from bridge.store.sends import Send
from bridge.store.tx import Store, Tx
from bridge.transport import ProviderTransport
from bridge.worker.leases import Held
from bridge.worker.pump import Pump

__all__ = ["SendPump"]

_log = structlog.get_logger()
_LOOKUPS_AT_ONCE = 50
_POLL = 1.0  # seconds between looks at what others left
_NET = (
    5.0  # seconds between looks for what nobody told of: who brought it had been sent away before the commit
)
_GATHER = 0.05  # seconds; a message that waits for others still leaves within the promised 0.1
_DOUBTFUL = 3  # answers in a row that leave open what was taken: then the provider is left alone for a while


class SendPump(Pump):
    """Drains the outbox of one provider. `reported` gets the reports that are due next."""

    def __init__(
        self,
        provider: Provider,
        store: Store,
        rules: Rules,
        transport: ProviderTransport,
        clock: Callable[[], Millis],
        metrics: Metrics,
        *,
        max_in_flight: int,
        held: Held,
        reported: Callable[[Sequence[DueReport]], None],
        left: Callable[[str, int], None],
    ) -> None:
        super().__init__(f"send:{provider.name}")
        self._provider = provider
        self._store = store
        self._rules = rules
        self._transport = transport
        self._clock = clock
        self._metrics = metrics
        self._held = held
        self._reported = reported
        self._left = left
        # Where others share the database: what they leave is looked for, and taken over, now and then.
        self._every = _NET if store.lease_seconds is None else _POLL
        self._lease_ms = round((store.lease_seconds or 0) * 1000)
        self._claimed_at: Millis = 0
        # Claims of which it is not known whether they were, or still will be, stored: their times, and until when.
        self._lost_claims: dict[Millis, float] = {}
        self.slots = asyncio.Semaphore(max_in_flight)  # requests to the provider, whatever for
        self._asking: set[MessageId] = set()
        self._doubtful = 0
        self._lookups_at: Millis = 0  # when the store has to be asked again for look-ups
        # One failure is enough: a request that fails says the same of the next one.
        self.breaker = Breaker(1, first=1.0, longest=15.0)

    async def recover(self) -> None:
        """What a process that ended was perhaps handing over goes to the look-up.

        Where this process owns the database that is done at the start; else again and again, for whose lease ended.
        """
        name, now = self._provider.name, self._clock()
        count = await self._store.write(lambda tx: sending.recover(tx, self._rules, name, now))
        if count:
            _log.warning(
                "perhaps-sent messages after a crash; the provider is asked for them",
                provider=name,
                count=count,
            )
            self.recheck()

    def recheck(self) -> None:
        """Something outside (a replay) may have changed what is due."""
        self._lookups_at = 0
        self.wake()

    def start_anew(self) -> None:
        """The clock went back."""
        self._claimed_at = 0
        self.recheck()

    async def step(self) -> float | None:
        """Starts what can be started now. Gives the seconds until there may be more to do."""
        now = self._clock()
        if self._lost_claims:
            await self._take_back()
        lookups_due = await self._start_lookups(now)
        wait = self.breaker.wait(now)
        if wait > 0:
            return min(wait, lookups_due)
        await self.slots.acquire()
        batch = await self._claim()
        if batch:
            self.spawn(self._send_and_release(batch))
            if len(batch) < self._provider.max_batch:
                # The next ones gather for an instant: a request costs milliseconds, a message in it microseconds.
                await asyncio.sleep(_GATHER)
            return 0.0
        self.slots.release()
        return min(lookups_due, await self._until_queued())

    async def _claim(self) -> list[Send]:
        """The next batch, committed as perhaps sent; a single message where it is a probe. Holds one slot."""
        now, name = self._clock(), self._provider.name
        now = self._claimed_at = max(now, self._claimed_at + 1)  # the time of a claim is its name, too
        probe = self.breaker.is_open
        if not self.breaker.allows(now):
            return []
        limit = 1 if probe else self._provider.max_batch
        since = self._held.now()
        try:
            batch = await self._store.write(lambda tx: sends.claim(tx, name, now, limit))
        except BaseException:
            self.slots.release()
            self.breaker.cancel_probe()
            if self._lease_ms:
                self._lost_claims[now] = self._held.now() + 2 * self._lease_ms / 1000
            raise
        if not batch:
            self.breaker.cancel_probe()
        self._held.add(_ids(batch), since)
        return batch

    async def _take_back(self) -> None:
        """Claims whose commit was cut: if they were stored all the same, nobody handed over what they claimed."""
        name, lost, now = self._provider.name, sorted(self._lost_claims), self._clock()
        steady = self._held.now()
        await self._store.write(lambda tx: sending.take_back(tx, self._rules, name, lost, now))
        self._lost_claims = {at: until for at, until in self._lost_claims.items() if until > steady}

    async def _until_queued(self) -> float:
        """Seconds until the next queued message is due; where there is none, until it is time to look again."""
        name, now = self._provider.name, self._clock()
        due_at = await self._store.read(lambda tx: sends.next_due(tx, name, "queued", now))
        return self._every if due_at is None else min(self._every, max(0.0, (due_at - now) / 1000))

    # --- handing over ---

    async def _send_and_release(self, batch: list[Send]) -> None:
        try:
            await self._send(batch)
        except Exception as error:
            _log.exception("sending failed", provider=self._provider.name)
            self.breaker.cancel_probe()
            await self._doubt(batch, PerhapsTaken(f"internal error ({type(error).__name__})"))
        finally:
            self._held.drop(_ids(batch))
            self.slots.release()
            self.wake()

    async def _doubt(self, batch: list[Send], result: PerhapsTaken) -> None:
        """After a bug of our own: what is not settled yet is perhaps sent, and nothing else may be assumed."""
        for send in batch:
            try:
                await self._settle([send], [result])
            except Exception:
                _log.exception("a message could not be settled", ext_message_id=id_text(send.message_id))

    async def _send(self, batch: list[Send]) -> None:
        """Hands over a claimed batch, in halves where the provider refuses the whole for one message's sake."""
        if self.stopping or not self._held.all_valid(_ids(batch)):
            self.breaker.cancel_probe()
            await self._give_back(batch)
            return
        outgoing = [self._outgoing(send) for send in batch]
        with self._metrics.provider_seconds.labels(self._provider.name, "send").time():
            outcome = await self._transport.exchange(self._provider.build_send(outgoing))
        result = self._provider.parse_send(outgoing, outcome)
        self._metrics.provider_requests.labels(self._provider.name, type(result).__name__).inc()
        self._watch(result)
        if isinstance(result, Invalid | TooLarge) and len(batch) > 1:
            middle = len(batch) // 2
            await self._send(batch[:middle])
            await self._send(batch[middle:])
            return
        await self._settle(batch, _by_message(result, len(batch)))

    async def _settle(self, batch: Sequence[Send], results: Sequence[Result]) -> None:
        name = self._provider.name
        settled = list(zip(batch, results, strict=True))

        async def job(tx: Tx) -> list[DueReport]:
            return await sending.settle(tx, self._rules, name, settled, self._clock())

        self._reported(await self.insist(lambda: self._store.write(job)))
        if any(isinstance(result, PerhapsTaken) for result in results):
            self._lookups_at = 0
        for send, result in settled:
            self._metrics.sends.labels(send.gateway, type(result).__name__).inc()
            if not isinstance(result, NotTaken | Blocked | Deferred):
                self._left(send.gateway, 1)

    async def _give_back(self, batch: Sequence[Send]) -> None:
        name, now = self._provider.name, self._clock()
        await self.insist(
            lambda: self._store.write(lambda tx: sending.give_back(tx, self._rules, name, batch, now))
        )

    def _watch(self, result: SendResult) -> None:
        """Opens and closes the breaker, and alerts."""
        name, now = self._provider.name, self._clock()
        match result:
            case Blocked(code, reason):
                if self.breaker.failed(now, reason):
                    _log.error(
                        "the provider refuses us and is paused", provider=name, code=code, reason=reason
                    )
            case NotTaken(code, reason, retry_after):
                wanted = min(retry_after or 0.0, 60.0)
                if self.breaker.failed(now, reason, at_least=wanted):
                    _log.warning("the provider takes nothing now", provider=name, code=code, reason=reason)
            case PerhapsTaken(reason):
                self._doubtful += 1
                doubt = self.breaker.is_open or self._doubtful >= _DOUBTFUL
                if doubt and self.breaker.failed(now, reason):
                    _log.error("the provider gives no clear answers", provider=name, reason=reason)
            case _:
                self._doubtful = 0
                if self.breaker.succeeded():
                    _log.info("the provider takes messages again", provider=name)
        self._metrics.provider_paused.labels(name).set(self.breaker.is_open)

    def _outgoing(self, send: Send) -> OutgoingMessage:
        gateway = self._rules.gateway(send.gateway)
        return OutgoingMessage(
            message_id=send.message_id,
            channel=send.channel,
            destination=send.destination,
            sender=send.sender,
            body=send.body,
            ttl_seconds=gateway.ttl_seconds,
            short_links=gateway.short_links,
            ext_user_id=send.ext_user_id,
            extra=send.extra,
        )

    # --- looking up ---

    async def _start_lookups(self, now: Millis) -> float:
        """Asks for perhaps-sent messages that are due. Gives the seconds until the next one is."""
        if now < self._lookups_at:
            return (self._lookups_at - now) / 1000
        # Set before the store is read: what is said to be due meanwhile (0) must not be overwritten by an older view.
        latest = now + round(self._every * 1000)
        self._lookups_at = latest
        name, limit = self._provider.name, _LOOKUPS_AT_ONCE + len(self._asking)
        busy = set(self._asking)
        since = self._held.now()
        due = await self._store.claim(lambda tx: sends.due_lookups(tx, name, now, limit))
        busy |= self._asking
        for send in due:
            if send.message_id not in busy:
                self._asking.add(send.message_id)
                self._held.add([send.message_id], since)
                self.spawn(self._look_up(send))
        next_at = await self._store.read(lambda tx: sends.next_due(tx, name, "lookup", now, after=now))
        self._lookups_at = min(self._lookups_at, latest if next_at is None else next_at)
        return max(0.0, (self._lookups_at - now) / 1000)

    async def _look_up(self, send: Send) -> None:
        try:
            async with self.slots:
                if not self.stopping:
                    await self._ask(send)
        finally:
            self._asking.discard(send.message_id)
            self._held.drop([send.message_id])
            self.recheck()

    async def _ask(self, send: Send) -> None:
        name, outgoing = self._provider.name, self._outgoing(send)
        request = self._provider.build_lookup(outgoing)
        result: LookupResult = NoTrace()
        asked_at = self._clock()  # an answer says nothing of what came after the question
        if request is not None:
            with self._metrics.provider_seconds.labels(name, "lookup").time():
                outcome = await self._transport.exchange(request)
            result = self._provider.parse_lookup(outgoing, outcome)
        self._metrics.provider_requests.labels(name, type(result).__name__).inc()

        async def job(tx: Tx) -> list[DueReport]:
            return await sending.settle_lookup(tx, self._rules, name, send, result, asked_at, self._clock())

        self._reported(await self.insist(lambda: self._store.write(job)))


def _ids(batch: Sequence[Send]) -> list[MessageId]:
    return [send.message_id for send in batch]


def _by_message(result: SendResult, count: int) -> Sequence[Result]:
    """What a result that is not to be split means for each message."""
    match result:
        case Answered(items):
            return items
        case Invalid(code, reason) | TooLarge(code, reason):
            return [Refused(code, reason)] * count
        case NotTaken() | Blocked() | PerhapsTaken():
            return [result] * count
