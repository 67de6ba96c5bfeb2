"""Silence: messages that a provider took, and of whose end it has told nothing for longer than a message lives.

They are found by walking through the messages once, in the order of time, as they grow old enough. Then the provider is
asked, where that is possible. What it says of an end is news like a callback; where it says nothing, a person has to
look. Never is an end guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from bridge.core.lifecycle import FINAL, advance
from bridge.core.model import MessageId, Millis, State, first_id, id_time
from bridge.core.retry import doubling
from bridge.flows.rules import Rules
from bridge.providers.protocol import LookupFailed, TellResult, Told
from bridge.store import messages, review, silence
from bridge.store.messages import MessageView
from bridge.store.reports import DueReport
from bridge.store.review import Kind, Member
from bridge.store.saving import Saving
from bridge.store.silence import Looked, Silent
from bridge.store.tx import Store, Tx

__all__ = ["Finding", "Question", "Settled", "ask_again", "settle", "take_on"]

_ROWS = 500  # messages that one look sees: a few milliseconds in a thread
_FIRST_LOOK_BACK_MS = 7 * 86_400_000  # where no message was looked at before
_FAILURES = 6  # questions without a usable answer, then a person has to look
_FIRST_RETRY_MS = 60_000
_LONGEST_RETRY_MS = 3_600_000


class Finding:
    """`step` by step through the messages, as they grow old. Several processes may do so with one database.

    The place is kept in the database too, so that a process that starts goes on where one stopped.
    """

    def __init__(self, store: Store, rules: Rules) -> None:
        self._store = store
        self._after = rules.silent_after()
        self._place = b""

    @property
    def shortest_ms(self) -> Millis | None:
        """After so long the first provider's messages are silent; None: nobody's ever are."""
        return min(self._after.values(), default=None)

    async def step(self, now: Millis) -> int | None:
        """Looks at the next messages, and says how many were there; None: no others are old enough now."""
        if not self._after:
            return None
        before = first_id(now - min(self._after.values()) + 1)
        looked = await self._store.search(lambda tx: self._look(tx, before))
        after = self._after  # settings that know a provider no more say nothing of its messages
        found = [each for each in looked.open if each[1] in after]
        more = looked.count == _ROWS
        if found or (looked.count and not more):

            async def keep(tx: Tx) -> None:
                await silence.watch(tx, found, after)
                await silence.keep_place(tx, looked.place)

            await self._store.write(keep)
        self._place = looked.place
        return looked.count if more else None

    async def _look(self, tx: Tx, before: MessageId) -> Looked:
        kept = await silence.place(tx)
        if kept is None:  # days are enough to begin with, and months would be a flood
            kept = first_id(id_time(before) - _FIRST_LOOK_BACK_MS)
        return await silence.look(tx, max(kept, self._place), before, _ROWS)


class Question(Struct, frozen=True):
    """Messages that are overdue, and the ids under which their provider knows them. `looked`: rows behind it."""

    silent: Sequence[Silent]
    ids: Mapping[str, tuple[MessageId, int | None]]
    looked: int


class Settled(Struct, frozen=True):
    """The reports that are due next, how many messages the provider told the end of, how many are under review now."""

    due: Sequence[DueReport]
    ended: int = 0
    reviewed: int = 0


async def take_on(tx: Tx, rules: Rules, provider: str, now: Millis, limit: int) -> Question:
    """The next messages of a provider that it is to be asked for."""
    after_ms = rules.provider_rules[provider].silent_after_ms
    silent, looked = await silence.claim(tx, provider, after_ms, now, limit)
    ids = await silence.ids_at_provider(tx, provider, [each.message_id for each in silent])
    return Question(silent, ids, looked)


async def ask_again(tx: Tx, message_id: MessageId, provider: str, now: Millis) -> None:
    """The provider is to be asked for this message at once."""
    await tx.run("add_silent", message_id=message_id, provider=provider, due_at=now, news_at=now)


async def settle(
    tx: Tx, rules: Rules, provider: str, question: Question, result: TellResult | None, now: Millis
) -> Settled:
    """Stores what the provider said of overdue messages; None: it cannot be asked."""
    settling = _Settling(tx, rules, provider, now)
    return await settling.settle(question, result)


class _Settling:
    """One transaction's work on overdue messages of one provider."""

    def __init__(self, tx: Tx, rules: Rules, provider: str, now: Millis) -> None:
        self._tx = tx
        self._rules = rules
        self._provider = provider
        self._now = now
        self._mapping = rules.mappings[provider]
        self._saving = Saving(tx, now, rules.settle_ms)
        self._done: list[MessageId] = []
        self._ended = self._reviewed = 0

    async def settle(self, question: Question, result: TellResult | None) -> Settled:
        wanted = [each.message_id for each in question.silent]
        still = await silence.known(self._tx, wanted)  # the others were settled by somebody else
        loaded = await messages.load_messages(self._tx, sorted(still))
        names: dict[MessageId, list[tuple[str, int | None]]] = {}
        for name, (message_id, step) in question.ids.items():
            names.setdefault(message_id, []).append((name, step))
        for each in question.silent:
            if each.message_id not in still:
                continue
            message = loaded.get(each.message_id)
            if message is None or message.snapshot.state not in silence.OPEN:
                self._done.append(each.message_id)  # it ended while the provider was asked
            else:
                await self._one(message, each, sorted(names.get(message.id, ())), result)
        await silence.drop(self._tx, self._done)
        return Settled(await self._saving.write(), self._ended, self._reviewed)

    async def _one(
        self,
        message: MessageView,
        silent: Silent,
        names: Sequence[tuple[str, int | None]],
        result: TellResult | None,
    ) -> None:
        match result:
            case None:
                await self._to_review(message)
            case LookupFailed(reason):
                await self._failed(message, silent, reason)
            case Told(known):
                if await self._apply(message, names, result):
                    self._done.append(message.id)
                    self._ended += 1
                elif any(name in known for name, _ in names):
                    await self._to_review(
                        message, "and the provider says nothing final of it when it is asked"
                    )
                else:
                    await self._to_review(message, "and the provider does not know it when it is asked")

    async def _apply(self, message: MessageView, names: Sequence[tuple[str, int | None]], told: Told) -> bool:
        """What the provider said is news, by the same tables as a callback. Whether it was the end of the message."""
        steps = self._rules.gateway(message.gateway).cascade_steps
        for name, step in names:
            ended = told.ended.get(name)
            if ended is None or not self._mapping.knows(ended.event, ended.status):
                continue
            happening = self._mapping.meaning(ended.event, ended.status)
            if not isinstance(happening, State) or happening not in FINAL:
                continue
            if step is None and steps > 1:
                step = 1  # noqa: PLW2901 - the id of the whole cascade is that of its first step
            mail = message.type == "email"
            vocabulary = self._rules.vocabulary
            transition = advance(message.snapshot, happening, vocabulary, step=step, steps=steps, mail=mail)
            if transition.after != message.snapshot:
                message = self._saving.add(message, transition)
                words = f"{ended.event} {ended.status}"
                await self._step(message.id, "looked_up", words)
        return message.snapshot.state in FINAL

    async def _failed(self, message: MessageView, silent: Silent, reason: str) -> None:
        """No answer says nothing; after a while a person should know that nothing is known."""
        failures = silent.lookups + 1
        if failures >= _FAILURES:
            await self._step(message.id, "looked_up", reason)
            await self._to_review(message, "and the provider cannot be asked")
            return
        delay = doubling(failures, first=_FIRST_RETRY_MS, longest=_LONGEST_RETRY_MS)
        await silence.postpone(self._tx, silent, self._now + int(delay))

    async def _to_review(self, message: MessageView, what: str = "") -> None:
        hours = self._rules.provider_rules[self._provider].silent_after_ms / 3_600_000
        cause = ", ".join(filter(None, (f"no final callback after {hours:.3g} h", what)))
        await self._step(message.id, "silent", cause)
        await review.add_to_review(
            self._tx,
            Kind.SILENT,
            cause,
            Member(message.id),
            provider=self._provider,
            sample=f"message {message.id.hex()} of gateway {message.gateway}",
            at=self._now,
        )
        self._done.append(message.id)
        self._reviewed += 1

    async def _step(self, message_id: MessageId, kind: str, detail: str) -> None:
        await messages.add_step(self._tx, message_id, self._now, kind, detail)
