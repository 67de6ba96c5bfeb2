"""What the elements of callbacks make of messages: the one way in which a callback changes anything.

Used for batches as they arrive, for orphans when their message becomes known, and for replays. Each element stands
alone; the same element again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from msgspec import Raw, json
from msgspec.structs import replace

from bridge.core.lifecycle import FINAL, NEGATIVE, Happening, Transition, advance
from bridge.core.model import (
    DeliveryReport,
    Element,
    InboundMessage,
    Malformed,
    Mark,
    MessageId,
    Millis,
    id_text,
)
from bridge.core.moments import format_time
from bridge.core.redact import redact
from bridge.flows.rules import Rules, opt_out_keyword
from bridge.flows.samples import sample_of
from bridge.store import contacts, forwards, inbox, messages, review
from bridge.store.inbox import Arrived, Understood
from bridge.store.messages import MessageView
from bridge.store.reports import DueReport
from bridge.store.review import Kind, Member
from bridge.store.saving import Saving
from bridge.store.tx import Tx

__all__ = ["Applying", "adopt_orphans", "arrived_elements"]

_HOUR_MS = 3_600_000
_CLOSING = frozenset({Mark.UNSUBSCRIBED, Mark.COMPLAINED})


def arrived_elements(rules: Rules, batch: inbox.Batch) -> Iterator[tuple[Arrived, Element]]:
    """The elements of a body, with their origin. Pure; raises nothing for what a peer may send."""
    for position, each in enumerate(rules.providers[batch.provider].parse_callback(batch.body)):
        arrived = _arrived(batch.provider, batch.id, position, batch.received_at, each.raw, each.element)
        yield arrived, each.element


def _arrived(
    provider: str, batch_id: int, position: int, at: Millis, raw: bytes, element: Element
) -> Arrived:
    report = element if isinstance(element, DeliveryReport) else None
    return Arrived(provider, batch_id, position, at, raw, inbox.element_digest(provider, raw, report))


async def adopt_orphans(
    tx: Tx, rules: Rules, provider: str, roots: Sequence[str], now: Millis
) -> list[DueReport]:
    """Applies the elements that waited for these provider ids. Gives the reports that are due next."""
    parse = rules.providers[provider].parse_callback
    applying = Applying(tx, rules, provider, now)
    elements: list[tuple[Arrived, Element]] = []
    for root in sorted(await inbox.awaited(tx, provider, roots)):
        orphans = await applying.take_orphans(root)
        elements += [(orphan, each.element) for orphan in orphans for each in parse(orphan.raw)]
    return await applying.apply(elements) if elements else []


class Applying:
    """One transaction's work on the elements of one provider: loads in lists, decides one by one, stores in lists.

    `orphaned`: the provider ids that new elements wait for; `news`: the batches in which anything was new.
    """

    def __init__(self, tx: Tx, rules: Rules, provider: str, now: Millis) -> None:
        self._tx = tx
        self._rules = rules
        self._provider = provider
        self._mapping = rules.mappings[provider]
        self._now = now
        self._saving = Saving(tx, now, rules.settle_ms)
        self._ids: dict[str, MessageId] = {}
        self._messages: dict[MessageId, MessageView] = {}
        self._outcomes: dict[tuple[MessageId, bytes], str] = {}
        self._understood: list[Understood] = []
        self._adopted: set[bytes] = set()
        self._ended: list[MessageId] = []
        self._ends_by: Millis = now - (self._silent_ms() or _HOUR_MS)
        self.orphaned: list[str] = []
        self.news: set[int] = set()

    async def apply(self, elements: Sequence[tuple[Arrived, Element]]) -> list[DueReport]:
        """Applies the elements in their order. Gives the reports that are due next."""
        await self._load([element for _, element in elements if isinstance(element, DeliveryReport)])
        for arrived, element in elements:
            await self.apply_one(arrived, element)
        await inbox.put_callbacks(self._tx, self._understood)
        due = await self._saving.write()
        await review.settle_subjects(self._tx, self._ended, self._now)
        return due

    def _silent_ms(self) -> Millis:
        rules = self._rules.provider_rules.get(self._provider)
        return min(rules.silent_after_ms, _HOUR_MS) if rules else 0

    async def take_orphans(self, root: str) -> list[Arrived]:
        """The elements that waited for this provider id. They are about to be applied, and so out of review."""
        orphans = await inbox.take_orphans(self._tx, self._provider, root)
        digests = [orphan.digest for orphan in orphans]
        await review.settle_subjects(self._tx, digests, self._now)
        self._adopted.update(digests)
        return orphans

    async def apply_one(self, arrived: Arrived, element: Element) -> None:
        match element:
            case DeliveryReport():
                await self._delivery_report(arrived, element)
            case InboundMessage():
                await self._inbound(arrived, element)
            case Malformed():
                await self._review(Kind.MALFORMED, element.reason, arrived)
            case _:
                assert_never(element)

    async def _load(self, reports: Sequence[DeliveryReport]) -> None:
        wanted = {each.provider_message_id for each in reports}
        wanted |= {each.cascade_id for each in reports if each.cascade_id}
        self._ids = await messages.find_by_provider_ids(self._tx, self._provider, sorted(wanted))
        known = sorted(set(self._ids.values()))
        self._messages = await messages.load_messages(self._tx, known)
        self._outcomes = await inbox.known_outcomes(self._tx, known)

    # --- delivery reports ---

    async def _delivery_report(self, arrived: Arrived, report: DeliveryReport) -> None:
        known = self._mapping.knows(report.event, report.status)
        message = self._message_of(report)
        if message is None:
            await self._orphan(arrived, report, known)
            return
        before = self._outcomes.get((message.id, arrived.digest))
        if before is not None and (before != "unmapped" or not known):
            if before == "unmapped" and arrived.digest in self._adopted:
                await self._unmapped(arrived, report)  # it waited twice, and still has to be looked at
            return
        if not known:
            await self._unmapped(arrived, report)
        await self._remember_id(message, report)
        outcome = await self._outcome(message, report, arrived) if known else "unmapped"
        self._outcomes[message.id, arrived.digest] = outcome
        self._understood.append(Understood(message.id, arrived, report, outcome))
        self.news.add(arrived.batch_id)
        if before is not None:
            await review.settle_subject(self._tx, arrived.digest, self._now)

    async def _orphan(self, arrived: Arrived, report: DeliveryReport, known: bool) -> None:
        root = report.cascade_id or report.provider_message_id
        if not await inbox.add_orphan(self._tx, root, arrived):
            return
        self.orphaned.append(root)
        self.news.add(arrived.batch_id)
        if not known:
            await self._unmapped(arrived, report)

    def _message_of(self, report: DeliveryReport) -> MessageView | None:
        message_id = self._ids.get(report.provider_message_id) or self._ids.get(report.cascade_id or "")
        return self._messages.get(message_id) if message_id else None

    async def _remember_id(self, message: MessageView, report: DeliveryReport) -> None:
        """A later step of a cascade has an id of its own, and elements may be waiting for that one."""
        if report.provider_message_id in self._ids:
            return
        self._ids[report.provider_message_id] = message.id
        await messages.add_provider_id(self._tx, message, report.provider_message_id, report.step)
        for orphan in await self.take_orphans(report.provider_message_id):
            for each in self._rules.providers[self._provider].parse_callback(orphan.raw):
                await self.apply_one(orphan, each.element)

    async def _outcome(self, message: MessageView, report: DeliveryReport, arrived: Arrived) -> str:
        message = self._messages[message.id]
        if report.price is not None:
            kept = await messages.set_price(
                self._tx, message, report.provider_message_id, report.price, self._now
            )
            return "applied" if kept else "superseded"
        happening = self._mapping.meaning(report.event, report.status)
        if happening is None:
            return "noted"
        if happening in _CLOSING:
            await self._close_channel(message, f"{report.event} {report.status}".strip())
        return self._happened(message, happening, report, arrived)

    async def _close_channel(self, message: MessageView, reported: str) -> None:
        """Nobody who complained, or wants nothing more, gets anything more on this channel."""
        reason = redact(f"{self._provider} reported: {reported}")
        row = await self._tx.one("person_of_message", id=message.id)
        ext_user_id, address = row or ("", None)
        if address is not None:
            await contacts.close_channel_of_address(self._tx, address, message.channel, reason, self._now)
        # Of a contact that is kept elsewhere only the user tells whose address it was; but a preview of an e-mail went
        # to somebody else.
        if message.type == "cim" or (self._rules.contacts_elsewhere and message.type != "email"):
            await contacts.close_channel_of_user(self._tx, ext_user_id, message.channel, reason, self._now)

    def _happened(
        self, message: MessageView, happening: Happening, report: DeliveryReport, arrived: Arrived
    ) -> str:
        steps = self._rules.gateway(message.gateway).cascade_steps
        transition = advance(
            message.snapshot,
            happening,
            self._rules.vocabulary,
            step=report.step,
            steps=steps,
            mail=message.type == "email",
        )
        if transition.after == message.snapshot:
            return "superseded"
        if happening in NEGATIVE and report.error_code is not None:
            text = self._mapping.error_codes.get(report.error_code)
            message = replace(message, error_code=report.error_code, error_text=text)
        moved = (transition.after.state, transition.after.marks) != (
            message.snapshot.state,
            message.snapshot.marks,
        )
        self._save(message, transition, arrived)
        return "applied" if moved or transition.reports else "held"

    def _save(self, message: MessageView, transition: Transition, arrived: Arrived) -> None:
        late = message.created_at <= self._ends_by  # nobody has missed the end of a younger one
        if late and message.snapshot.state not in FINAL and transition.after.state in FINAL:
            self._ended.append(message.id)
        self._messages[message.id] = self._saving.add(message, transition, arrived.received_at)

    # --- messages from handsets ---

    async def _inbound(self, arrived: Arrived, inbound: InboundMessage) -> None:
        if not self._mapping.knows(inbound.event, inbound.status):
            await self._unmapped(arrived, inbound)
            return
        address = self._tx.vault.hash(inbound.handset)
        message_id = await messages.newest_to_address(self._tx, address, inbound.channel, arrived.received_at)
        keyword = opt_out_keyword(inbound.text, self._rules.keywords)
        if not await inbox.add_inbound(self._tx, arrived, inbound, keyword, message_id):
            return
        self.news.add(arrived.batch_id)
        await review.settle_subject(self._tx, arrived.digest, self._now)
        if forwards.INBOUND in self._rules.forwards:
            await self._pass_on(arrived, inbound, address, keyword, message_id)
        if keyword:
            await self._opt_out(arrived, address, inbound.channel, keyword, message_id)

    async def _pass_on(
        self,
        arrived: Arrived,
        inbound: InboundMessage,
        address: bytes,
        keyword: str,
        message_id: MessageId | None,
    ) -> None:
        """Owes it to the operator's own API (docs/surfaces.md has the form)."""
        payload = {
            "provider": self._provider,
            "provider_message_id": inbound.provider_message_id,
            "channel": inbound.channel,
            "ext_user_id": await self._who(address, message_id),
            "ext_message_id": id_text(message_id) if message_id else None,
            "phone": inbound.handset,
            "text": inbound.text,
            "special_content": Raw(inbound.special.encode() or b"null"),
            "opt_out_keyword": keyword,
            "provider_time": format_time(inbound.at) if inbound.at is not None else None,
            "received_at": format_time(arrived.received_at),
        }
        source = f"{self._provider}/{inbound.provider_message_id}"
        body = json.encode(payload)
        await forwards.add_forward(self._tx, forwards.INBOUND, source, address.hex(), body, self._now)

    async def _who(self, address: bytes, message_id: MessageId | None) -> str | None:
        """Whose number it is: of the message that was answered, else of the one contact that has it."""
        row = await self._tx.one("person_of_message", id=message_id) if message_id else None
        if row:
            return str(row[0])
        users = await self._tx.all("contacts_with_address", hash=address)
        return users[0][0] if len(users) == 1 else None

    async def _opt_out(
        self, arrived: Arrived, address: bytes, channel: str, keyword: str, message_id: MessageId | None
    ) -> None:
        reason = f"the person wrote {keyword}"
        await contacts.close_channel_of_address(self._tx, address, channel, reason, self._now)
        if message_id is None:
            return
        if self._rules.contacts_elsewhere:
            user = await self._who(address, message_id)
            if user is not None:
                await contacts.close_channel_of_user(self._tx, user, channel, reason, self._now)
        if message_id not in self._messages:
            self._messages |= await messages.load_messages(self._tx, [message_id])
        message = self._messages[message_id]
        transition = advance(message.snapshot, Mark.UNSUBSCRIBED, self._rules.vocabulary)
        if transition.after != message.snapshot:
            self._save(message, transition, arrived)

    async def _unmapped(self, arrived: Arrived, element: DeliveryReport | InboundMessage) -> None:
        await self._review(Kind.UNMAPPED, redact(f"{element.event}/{element.status}"), arrived)

    async def _review(self, kind: Kind, cause: str, arrived: Arrived) -> None:
        self.news.add(arrived.batch_id)
        await review.add_to_review(
            self._tx,
            kind,
            cause,
            Member(arrived.digest, arrived.batch_id, arrived.position),
            provider=self._provider,
            sample=sample_of(arrived.raw),
            at=arrived.received_at,
        )
