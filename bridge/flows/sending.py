"""Sending: what became of messages that were handed to a provider, and what is done about those that perhaps were.

The worker claims a batch (from then on it is *perhaps sent*), performs the exchange, and settles the result here. A
message goes back to the queue only when it is certain that it was not taken; after an ambiguous outcome the provider
is asked for it, and `unknown_send` decides when the provider knows nothing.

A result may come late: its lease ran out, another instance took the message over and perhaps handed it over again. What
a hand-over came to counts only while it is the latest one; only that the provider took the message always counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec.structs import replace

from bridge.core.lifecycle import advance
from bridge.core.model import MessageId, Millis, State, id_from_text, id_text, id_time
from bridge.core.retry import doubling
from bridge.flows.applying import adopt_orphans
from bridge.flows.rules import Rules
from bridge.providers.protocol import (
    Accepted,
    Blocked,
    Deferred,
    Found,
    ItemResult,
    LookupFailed,
    LookupResult,
    NoTrace,
    NotTaken,
    PerhapsTaken,
    Refused,
)
from bridge.store import inbox, messages, review, sends, silence
from bridge.store.messages import MessageView
from bridge.store.reports import DueReport
from bridge.store.review import Kind, Member
from bridge.store.saving import Saving
from bridge.store.sends import Send, SendState
from bridge.store.tx import Tx

__all__ = [
    "Result",
    "decided_at",
    "expire",
    "fail_unsent",
    "give_back",
    "prove",
    "recover",
    "settle",
    "settle_lookup",
    "take_back",
]

Result = ItemResult | NotTaken | Blocked

_LEFT_MS = 3_600_000
ERASED = ("erased", "the contact was deleted")
_FIRST_LOOKUP_MS = 1000
_LONGEST_LOOKUP_MS = 15_000
_FIRST_RETRY_MS = 5_000  # of a message that was deferred for a reason of its own; a greylist wants minutes
_LONGEST_RETRY_MS = 300_000
# What a provider's table may say of messages that it took; without that they are submitted.
_TAKEN = ("taken", "")


async def settle(
    tx: Tx, rules: Rules, provider: str, results: Sequence[tuple[Send, Result]], now: Millis
) -> list[DueReport]:
    """Stores what became of claimed messages. Gives the reports that are due next."""
    settling = _Settling(tx, rules, provider, now)
    ids = [send.message_id for send, _ in results]
    states = await sends.states(tx, ids)
    await settling.load(ids)
    for send, result in results:
        if isinstance(result, Accepted) or _is_latest(states.get(send.message_id), send, result):
            await settling.result(send.message_id, result)
    return await settling.write()


def _is_latest(state: SendState | None, send: Send, result: Result) -> bool:
    """Whether no other hand-over came after this one, and nothing is known yet that the result would not add to."""
    if state is None or state.handed_at != send.handed_at:
        return False
    return state.phase == "handed" or not isinstance(result, PerhapsTaken)


async def settle_lookup(
    tx: Tx, rules: Rules, provider: str, send: Send, result: LookupResult, asked_at: Millis, now: Millis
) -> list[DueReport]:
    """Stores what the provider knew of a perhaps-sent message when it was asked, and decides when its time was up."""
    settling = _Settling(tx, rules, provider, now)
    await settling.lookup(send, result, asked_at)
    return await settling.write()


async def prove(tx: Tx, rules: Rules, provider: str, named: Sequence[str], now: Millis) -> list[DueReport]:
    """Callbacks name these messages, perhaps by our own ids: those of them that were perhaps sent, were.

    Also those that are to be sent again: only who had the message can name its id. What is being handed over at this
    moment learns of it with its answer. Gives the reports that are due next. A provider that can be asked has ids of
    its own, and is asked.
    """
    own = {message_id: text for text in named if (message_id := id_from_text(text)) is not None}
    if rules.providers[provider].asks or not own:
        return []
    settling = _Settling(tx, rules, provider, now)
    for message_id, state in (await sends.states(tx, sorted(own))).items():
        if state.provider == provider and state.phase != "handed":
            await settling.found(message_id, own[message_id])
    return await settling.write()


async def expire(
    tx: Tx, rules: Rules, provider: str, now: Millis, limit: int = 1000
) -> tuple[int, list[DueReport]]:
    """Fails messages that could not be sent within their gateway's `max_age_hours`. Says how many."""
    rows = await tx.all("expired_sends", provider=provider, now=now, limit=limit)
    settling = _Settling(tx, rules, provider, now)
    await settling.load([message_id for (message_id,) in rows])
    for (message_id,) in rows:
        await settling.fail(message_id, "expired", "could not be sent in time")
    return len(rows), await settling.write()


async def review_left(tx: Tx, rules: Rules, provider: str, now: Millis, limit: int = 1000) -> int:
    """Shows a person what a provider perhaps took that left the settings, for nobody can ask it. Says how many.

    Not before an hour: where several processes share the database, another one may know the provider.
    """
    rows = await tx.all("left_sends", provider=provider, until=now - _LEFT_MS, limit=limit)
    settling = _Settling(tx, rules, provider, now)
    for (message_id,) in rows:
        await settling.leave_to_a_person(
            message_id, "perhaps sent, and its provider is not in the settings any more"
        )
    await settling.write()
    return len(rows)


async def fail_erased(
    tx: Tx, rules: Rules, message_id: MessageId, provider: str, now: Millis
) -> list[DueReport]:
    """Fails what can never be sent: its person was erased. Gives the reports that are due next."""
    settling = _Settling(tx, rules, provider, now)
    await settling.fail(message_id, *ERASED)
    return await settling.write()


async def fail_unsent(tx: Tx, rules: Rules, ext_user_id: str, now: Millis) -> list[DueReport]:
    """Fails what is still queued for a person who was erased, and forgets the address of the rest."""
    due: list[DueReport] = []
    for message_id, phase, provider in await tx.all("sends_of_user", ext_user_id=ext_user_id):
        if phase == "queued":
            due += await fail_erased(tx, rules, message_id, provider, now)
        else:
            await tx.run("forget_destination", message_id=message_id, nothing=tx.vault.seal(b""))
    return due


async def recover(tx: Tx, rules: Rules, provider: str, now: Millis) -> int:
    """What a process that ended (or lost its lease) was perhaps handing over: to the look-up, never straight out."""
    rows = await tx.all("handed_sends", provider=provider)
    settling = _Settling(tx, rules, provider, now)
    for (message_id,) in rows:
        await settling.ask(message_id, "the bridge stopped before the provider's answer was stored", now)
    await settling.write()
    return len(rows)


async def give_back(tx: Tx, rules: Rules, provider: str, claimed: Sequence[Send], now: Millis) -> None:
    """At an orderly stop: messages that were claimed, and whose request never left, are queued again."""
    not_taken = NotTaken("stopped", "the bridge stopped before it was handed over")
    await settle(tx, rules, provider, [(send, not_taken) for send in claimed], now)


async def take_back(tx: Tx, rules: Rules, provider: str, claimed_at: Sequence[Millis], now: Millis) -> int:
    """Queues again what this process claimed at these times without learning of it: nothing of that has left."""
    rows = await tx.any_of("own_claims", claimed_at, provider=provider)
    settling = _Settling(tx, rules, provider, now)
    for message_id in sorted(row[0] for row in rows):
        await settling.result(message_id, NotTaken("lost", "the connection to the database was lost before"))
    await settling.write()
    return len(rows)


def decided_at(rules: Rules, provider: str, send: Send) -> Millis:
    """From when on the missing trace of a perhaps-sent message decides: after the time-out, and a while more."""
    provider_rules = rules.provider_rules[provider]
    handed_at = send.handed_at if send.handed_at is not None else send.created_at
    return handed_at + provider_rules.patience_ms(asks=rules.providers[provider].asks)


def _taken_state(rules: Rules, provider: str) -> State:
    """What a message is once this provider took it; one that left the settings takes none."""
    mapping = rules.mappings.get(provider)
    happening = mapping.meaning(*_TAKEN) if mapping and mapping.knows(*_TAKEN) else State.SUBMITTED
    return happening if isinstance(happening, State) else State.SUBMITTED


class _Settling:
    """One transaction's work on sends of one provider. What most of them have in common is written in lists."""

    def __init__(self, tx: Tx, rules: Rules, provider: str, now: Millis) -> None:
        self._tx = tx
        self._rules = rules
        self._provider = provider
        self._now = now
        self._saving = Saving(tx, now, rules.settle_ms)
        self._loaded: dict[MessageId, MessageView] = {}
        self._accepted: list[tuple[MessageId, str]] = []
        self._taken: State = _taken_state(rules, provider)
        self._left: list[MessageId] = []

    async def load(self, message_ids: Sequence[MessageId]) -> None:
        """Loads messages that will be needed."""
        self._loaded |= await messages.load_messages(self._tx, message_ids)

    async def write(self) -> list[DueReport]:
        """Writes what is not written yet. Gives the reports that are due next."""
        await self._tx.run_many("delete_send", [{"message_id": each} for each in self._left])
        await review.settle_subjects(self._tx, self._left, self._now)
        await messages.add_provider_ids(self._tx, self._provider, self._accepted)
        await self._watch_late()
        due = await self._saving.write()
        roots = [provider_message_id for _, provider_message_id in self._accepted]
        if not roots:
            return due
        return due + await adopt_orphans(self._tx, self._rules, self._provider, roots, self._now)

    async def _watch_late(self) -> None:
        """Messages that the provider took so late that those of their age may have been looked at for their silence."""
        rules = self._rules.provider_rules.get(self._provider)
        after_ms = rules.silent_after_ms if rules else 0
        taken = dict.fromkeys(each for each, _ in self._accepted)
        late = [each for each in taken if after_ms and id_time(each) + after_ms // 2 <= self._now]
        if late:
            found = [(each, self._provider, self._now) for each in late]
            await silence.watch(self._tx, found, {self._provider: after_ms})

    async def result(self, message_id: MessageId, result: Result) -> None:
        match result:
            case Accepted(provider_message_id, alias):
                await self._submitted(message_id, provider_message_id, alias)
            case Refused(code, reason):
                await self._end(message_id, State.REJECTED, code, reason)
            case PerhapsTaken(reason):
                await self.ask(message_id, reason, self._now + _FIRST_LOOKUP_MS)
            case Deferred(_, reason):
                await self._defer(message_id, reason)
            case NotTaken(_, reason) | Blocked(_, reason):
                await self._requeue(message_id, "not_taken", reason)
            case _:
                assert_never(result)

    async def lookup(self, send: Send, result: LookupResult, asked_at: Millis) -> None:
        state = (await sends.states(self._tx, [send.message_id])).get(send.message_id)
        if state is None or state.phase != "lookup" or state.handed_at != send.handed_at:
            return  # settled meanwhile; an old answer decides nothing
        match result:
            case Found(provider_message_id):
                await self.found(send.message_id, provider_message_id)
            case NoTrace():
                await self._no_trace(send, asked_at)
            case LookupFailed(reason):
                await self._lookup_failed(send, reason, asked_at)
            case _:
                assert_never(result)

    async def ask(self, message_id: MessageId, reason: str, due_at: Millis) -> None:
        """The message is perhaps sent: from `due_at` on the provider is asked for it."""
        self._move(await self._load(message_id), State.UNKNOWN)
        await self._step(message_id, "perhaps_sent", reason)
        await self._tx.run("look_up_send", message_id=message_id, due_at=due_at, lookups=0)

    async def found(self, message_id: MessageId, provider_message_id: str) -> None:
        await self._step(message_id, "lookup_found", provider_message_id)
        await self._submitted(message_id, provider_message_id)

    async def leave_to_a_person(self, message_id: MessageId, cause: str) -> None:
        send = await sends.get_send(self._tx, message_id)
        if send is None:
            return
        message = await self._load(message_id)
        if message.snapshot.state is State.QUEUED:
            self._move(message, State.UNKNOWN)
        await self._to_review(send, cause)

    async def fail(self, message_id: MessageId, code: str, reason: str) -> None:
        await self._end(message_id, State.FAILED, code, reason)

    # --- outcomes ---

    async def _submitted(self, message_id: MessageId, provider_message_id: str, alias: str = "") -> None:
        message = await self._load(message_id)
        if (
            message.provider_message_id != provider_message_id
        ):  # else it is written again, after a commit that was cut
            message = replace(message, provider_message_id=provider_message_id, submitted_at=self._now)
        self._move(message, self._taken)
        self._accepted += [(message_id, each) for each in (provider_message_id, alias) if each]
        self._left.append(message_id)

    async def _end(self, message_id: MessageId, state: State, code: str, reason: str) -> None:
        message = replace(await self._load(message_id), error_code=code, error_text=reason)
        self._move(message, state)
        self._left.append(message_id)

    async def _defer(self, message_id: MessageId, reason: str) -> None:
        send = await sends.get_send(self._tx, message_id)
        tries = send.tries + 1 if send else 1
        delay = doubling(tries, first=_FIRST_RETRY_MS, longest=_LONGEST_RETRY_MS)
        await self._requeue(message_id, "deferred", reason, due_at=self._now + int(delay), tries=tries)

    async def _requeue(
        self,
        message_id: MessageId,
        kind: str,
        reason: str,
        *,
        due_at: Millis | None = None,
        tries: int | None = None,
    ) -> None:
        send = await sends.get_send(self._tx, message_id)
        if send is not None and send.erased:
            await self.fail(message_id, *ERASED)
            return
        message = await self._load(message_id)
        if message.snapshot.state is not State.QUEUED:
            self._move(message, State.QUEUED)
        await self._step(message_id, kind, reason)
        await self._tx.run(
            "requeue_send",
            message_id=message_id,
            due_at=self._now if due_at is None else due_at,
            tries=(send.tries if send else 0) if tries is None else tries,
        )

    async def _no_trace(self, send: Send, asked_at: Millis) -> None:
        own = id_text(send.message_id)
        if await inbox.awaited(self._tx, self._provider, [own]):
            await self.found(send.message_id, own)  # a callback names the message by our id: it was taken
            return
        if asked_at < decided_at(self._rules, self._provider, send):
            await self._ask_again(send)
            return
        match self._rules.provider_rules[self._provider].unknown_send:
            case "resend":
                await self._resend(send)
            case "fail":
                await self.fail(
                    send.message_id, "unknown", "perhaps sent, and the provider has no trace of it"
                )
            case _:
                await self._to_review(send, "perhaps sent, and the provider has no trace of it")

    async def _resend(self, send: Send) -> None:
        """Sends it again; where that is decided without a look-up, ever later."""
        delay, tries = 0.0, send.tries + 1
        if not self._rules.providers[self._provider].asks:
            delay = doubling(tries, first=_FIRST_LOOKUP_MS, longest=_LONGEST_LOOKUP_MS)
        reason = "the provider has no trace of it"
        await self._requeue(send.message_id, "sent_again", reason, due_at=self._now + int(delay), tries=tries)

    async def _lookup_failed(self, send: Send, reason: str, asked_at: Millis) -> None:
        """No answer says nothing, so it decides nothing; but it is shown once a message could not be sent any more."""
        too_old = send.created_at + self._rules.gateway(send.gateway).max_age_ms
        if asked_at < max(too_old, decided_at(self._rules, self._provider, send)):
            await self._ask_again(send)
        else:
            await self._to_review(send, f"perhaps sent, and the provider cannot be asked ({reason})")

    async def _ask_again(self, send: Send) -> None:
        lookups = send.lookups + 1
        delay = int(doubling(lookups, first=_FIRST_LOOKUP_MS, longest=_LONGEST_LOOKUP_MS))
        due_at = self._now + delay
        decided = decided_at(self._rules, self._provider, send)
        if self._now < decided:
            due_at = min(due_at, decided)
        await self._tx.run("look_up_send", message_id=send.message_id, due_at=due_at, lookups=lookups)

    async def _to_review(self, send: Send, cause: str) -> None:
        await self._tx.run("review_send", message_id=send.message_id)
        await self._step(send.message_id, "review", cause)
        await review.add_to_review(
            self._tx,
            Kind.UNKNOWN_SEND,
            cause,
            Member(send.message_id),
            provider=self._provider,
            sample=f"message {send.message_id.hex()} of gateway {send.gateway}",
            at=self._now,
        )

    # --- parts ---

    async def _load(self, message_id: MessageId) -> MessageView:
        if message_id not in self._loaded:
            await self.load([message_id])
        return self._loaded[message_id]

    def _move(self, message: MessageView, state: State) -> None:
        transition = advance(message.snapshot, state, self._rules.vocabulary)
        self._loaded[message.id] = self._saving.add(message, transition)

    async def _step(self, message_id: MessageId, kind: str, detail: str) -> None:
        await messages.add_step(self._tx, message_id, self._now, kind, detail)
