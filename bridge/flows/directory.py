"""The contact directory as people and scripts use it: checking, keeping, showing and erasing contacts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from bridge.core.model import Millis
from bridge.flows import sending
from bridge.flows.rules import Rules
from bridge.pii import normalise_email, normalise_phone
from bridge.store import audit, communications, contacts, forwards, review
from bridge.store.contacts import Contact, OptOut, OptOutChange
from bridge.store.reports import DueReport
from bridge.store.tx import Job, Store, Tx

__all__ = [
    "ContactDraft",
    "Erased",
    "KnownContact",
    "check",
    "erase",
    "find",
    "keep",
    "keep_many",
    "keep_one",
    "set_channels",
]

MAX_ID = 512
_CHUNK = 200
_CHANNEL = re.compile(r"[\w-]+(?:[./ :][\w-]+)*")  # SMS, RICH_CARDS, WhatsApp Business


class ContactDraft(Struct, frozen=True):
    """A contact that was checked. `opted_out` None: the closed channels stay as they are."""

    contact: Contact
    opted_out: frozenset[str] | None


class KnownContact(Struct, frozen=True):
    """A contact with its closed channels, and every change of them."""

    contact: Contact
    opt_outs: Sequence[OptOut]
    changes: Sequence[OptOutChange]


class Erased(Struct, frozen=True):
    """What was erased with a person: the contact itself, unsent messages that ended as failed, texts of messages, asset
    notifications, messages from the handset, and what was to be passed on or had been."""

    messages_failed: int
    texts: int
    contact: bool = False
    notifications: int = 0
    inbound: int = 0
    forwards: int = 0


def check(
    ext_user_id: str, phone: str, email: str, opted_out: Iterable[str] | None, default_region: str
) -> ContactDraft | str:
    """A contact from what somebody wrote, or why it is none. The sentence holds no address."""
    ext_user_id, phone, email = ext_user_id.strip(), phone.strip(), email.strip()
    if not ext_user_id:
        return "ext_user_id is empty"
    if len(ext_user_id) > MAX_ID or "\0" in ext_user_id:
        return f"ext_user_id is longer than {MAX_ID} characters, or holds a NUL"
    normal_phone = normalise_phone(phone, default_region) if phone else None
    if phone and normal_phone is None:
        return "phone is no number with a country code" if not default_region else "phone is no number"
    normal_email = normalise_email(email) if email else None
    if email and normal_email is None:
        return "email is no e-mail address"
    channels = None if opted_out is None else frozenset(each.upper() for each in opted_out)
    if channels and not all(_CHANNEL.fullmatch(each) for each in channels):
        return "opted_out names something that is no channel"
    return ContactDraft(Contact(ext_user_id, normal_phone, normal_email), channels)


async def keep(tx: Tx, draft: ContactDraft, reason: str, now: Millis) -> None:
    """Adds or replaces a contact; its closed channels become exactly `opted_out`, where given."""
    await contacts.put_contact(tx, draft.contact, now)
    if draft.opted_out is not None:
        await contacts.set_opt_outs(tx, draft.contact, set(draft.opted_out), reason, now)


async def set_channels(tx: Tx, contact: Contact, channels: frozenset[str], actor: str, now: Millis) -> None:
    """Makes exactly these channels closed, for a contact that need not be in the table, and notes who did."""
    await contacts.set_opt_outs(tx, contact, set(channels), f"set by {actor}", now)
    await _note(tx, actor, contact, now)


async def keep_one(tx: Tx, draft: ContactDraft, actor: str, now: Millis) -> None:
    """Adds or replaces a contact, and notes who did."""
    await keep(tx, draft, f"set by {actor}", now)
    await _note(tx, actor, draft.contact, now)


async def keep_many(store: Store, drafts: Sequence[ContactDraft], actor: str, now: Millis) -> None:
    """Keeps contacts, a few hundred in one transaction: nobody else has to wait for long.

    Who did, and how many there are, is noted before the first of them.
    """
    if drafts:
        detail = {"contacts": len(drafts)}
        await store.write(lambda tx: audit.add_audit(tx, now, actor, "contacts.import", detail))
    for start in range(0, len(drafts), _CHUNK):
        await store.write(_keep_chunk(drafts[start : start + _CHUNK], f"imported by {actor}", now))


def _keep_chunk(drafts: Sequence[ContactDraft], reason: str, now: Millis) -> Job[None]:
    async def job(tx: Tx) -> None:
        for draft in drafts:
            await keep(tx, draft, reason, now)

    return job


async def _note(tx: Tx, actor: str, contact: Contact, now: Millis) -> None:
    await audit.add_audit(tx, now, actor, "contact.set", {"user": contact.ext_user_id})


async def find(tx: Tx, ext_user_id: str, elsewhere: Contact | None = None) -> KnownContact | None:
    """What is known of a user; None where nothing is. `elsewhere`: what the operator's platform says."""
    contact = elsewhere or await contacts.get_contact(tx, ext_user_id)
    subject = contact or Contact(ext_user_id)
    changes = await contacts.get_opt_out_changes(tx, subject)
    if contact is None and not changes:
        return None
    return KnownContact(subject, await contacts.get_opt_outs(tx, subject), changes)


async def erase(
    tx: Tx, rules: Rules, ext_user_id: str, actor: str, now: Millis
) -> tuple[Erased, list[DueReport]] | None:
    """Erases the person: contact, texts, hashes; unsent messages fail, reports that are owed still go.

    Gives what was erased and the reports that are due next; None where nothing is known of the person.
    """
    addresses = await contacts.own_addresses(tx, ext_user_id)
    channels = await contacts.forget_channels(tx, ext_user_id)
    known = await contacts.delete_contact(tx, ext_user_id)
    inbound = 0
    for address in addresses:
        inbound += await contacts.forget_address(tx, address)
    passed_on = await _forget_forwards(tx, ext_user_id, addresses, now)
    notifications = await communications.forget(tx, ext_user_id)
    unsent = await tx.all("sends_of_user", ext_user_id=ext_user_id)
    due = await sending.fail_unsent(tx, rules, ext_user_id, now)
    texts = await tx.all("texts_of_user", ext_user_id=ext_user_id)
    await tx.run_many("forget_text", [{"message_id": message_id} for (message_id,) in texts])
    forgotten = await tx.run("forget_address", ext_user_id=ext_user_id)
    if not (known or channels or forgotten or notifications or inbound or passed_on):
        return None
    await tx.run("add_audit", at=now, actor=actor, action="contact.delete", detail="{}")
    erased = Erased(
        messages_failed=sum(phase == "queued" for _, phase, _ in unsent),
        texts=len(texts),
        contact=known,
        notifications=notifications,
        inbound=inbound,
        forwards=passed_on,
    )
    return erased, due


async def _forget_forwards(tx: Tx, ext_user_id: str, addresses: Sequence[bytes], now: Millis) -> int:
    """What was to be passed on of the person, or had been; says how much."""
    gone = await forwards.forget(tx, forwards.COMMUNICATION, ext_user_id)
    for address in addresses:
        gone += await forwards.forget(tx, forwards.INBOUND, address.hex())
    await review.settle_subjects(tx, gone, now)
    return len(gone)
