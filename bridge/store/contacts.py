"""The contact directory in the store, and the channels that people closed. Functions over a `Tx`.

A channel is closed for a contact (its ext_user_id), for an address (its keyed hash: whoever has that number), or both.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from bridge.core.model import Millis
from bridge.pii import mask_email, mask_phone
from bridge.store.tx import Tx

__all__ = [
    "Address",
    "Contact",
    "OptOut",
    "OptOutChange",
    "Reach",
    "close_channel_of_address",
    "close_channel_of_user",
    "closed_subjects",
    "delete_contact",
    "email_address",
    "get_contact",
    "get_opt_out_changes",
    "get_opt_outs",
    "has_contacts",
    "of_address",
    "of_user",
    "phone_address",
    "put_contact",
    "reach",
    "set_opt_outs",
]


class Contact(Struct, frozen=True):
    """What the directory knows of an ext_user_id; addresses in the clear and normalised."""

    ext_user_id: str
    phone: str | None = None
    email: str | None = None

    def __repr__(self) -> str:
        return "<Contact>"


class OptOut(Struct, frozen=True):
    """A closed channel, since when and why."""

    channel: str
    closed_at: Millis
    reason: str


class OptOutChange(Struct, frozen=True):
    """That a channel was closed or opened, when and why."""

    at: Millis
    channel: str
    change: str
    reason: str


async def get_contact(tx: Tx, ext_user_id: str) -> Contact | None:
    row = await tx.one("get_contact", ext_user_id=ext_user_id)
    if row is None:
        return None
    phone, email = row[1], row[4]
    return Contact(
        row[0],
        tx.vault.open_text(phone) if phone is not None else None,
        tx.vault.open_text(email) if email is not None else None,
    )


async def has_contacts(tx: Tx) -> bool:
    """Whether anybody is in the directory."""
    return await tx.one("any_contact") is not None


async def put_contact(tx: Tx, contact: Contact, now: Millis) -> None:
    """Adds or replaces a contact."""
    vault, phone, email = tx.vault, contact.phone, contact.email
    await tx.run(
        "put_contact",
        ext_user_id=contact.ext_user_id,
        phone=vault.seal_text(phone) if phone else None,
        phone_hash=vault.hash(phone) if phone else None,
        phone_masked=mask_phone(phone) if phone else None,
        email=vault.seal_text(email) if email else None,
        email_hash=vault.hash(email) if email else None,
        email_masked=mask_email(email) if email else None,
        updated_at=now,
    )


async def delete_contact(tx: Tx, ext_user_id: str) -> bool:
    """Removes a contact; says whether there was one."""
    return await tx.run("delete_contact", ext_user_id=ext_user_id) > 0


async def own_addresses(tx: Tx, ext_user_id: str) -> list[bytes]:
    """The hashes of the addresses of a contact, and of those that messages to the user alone went to.

    Without those that another contact has as well.
    """
    contact = await get_contact(tx, ext_user_id)
    found = dict.fromkeys(_address_hashes(tx, contact) if contact else [])
    for (address,) in await tx.all("addresses_of_messages", ext_user_id=ext_user_id):
        if not await tx.one("message_of_another", hash=address, ext_user_id=ext_user_id):
            found[address] = None
    return [
        address
        for address in found
        if {row[0] for row in await tx.all("contacts_with_address", hash=address)} <= {ext_user_id}
    ]


async def forget_address(tx: Tx, address_hash: bytes) -> int:
    """Removes the closed channels of an address, and the messages that came from it; says how many those were."""
    await _forget_channels(tx, of_address(address_hash))
    return await tx.run("forget_inbound", handset_hash=address_hash)


async def forget_channels(tx: Tx, ext_user_id: str) -> int:
    """Removes the closed channels of a user, and all that was noted of them; says how many rows those were."""
    return await _forget_channels(tx, of_user(ext_user_id))


async def _forget_channels(tx: Tx, subject: str) -> int:
    opened = await tx.run("open_all_channels", subject=subject)
    return opened + await tx.run("forget_opt_out_changes", subject=subject)


def _name(channel: str) -> str:
    """As channels are closed and looked up: people write them in any case."""
    return channel.upper()


class Address(Struct, frozen=True):
    """A phone number or an e-mail address as a message keeps it: sealed, to search by, and to be shown."""

    sealed: bytes
    hash: bytes
    masked: str

    def __repr__(self) -> str:
        return "<Address>"


class Reach(Struct, frozen=True):
    """How a contact is reached. `closed`: opted out of the channel that was asked for."""

    phone: Address | None
    email: Address | None
    closed: bool


async def reach(tx: Tx, ext_user_ids: Sequence[str], channel: str) -> dict[str, Reach]:
    """What sending needs to know of those contacts that exist."""
    rows = await tx.any_of("reach", ext_user_ids, channel=_name(channel))
    return {row[0]: Reach(_address(*row[1:4]), _address(*row[4:7]), bool(row[7])) for row in rows}


def _address(sealed: bytes | None, hash_: bytes | None, masked: str | None) -> Address | None:
    return None if sealed is None or hash_ is None or masked is None else Address(sealed, hash_, masked)


def phone_address(tx: Tx, phone: str) -> Address:
    return Address(tx.vault.seal_text(phone), tx.vault.hash(phone), mask_phone(phone))


def email_address(tx: Tx, email: str) -> Address:
    return Address(tx.vault.seal_text(email), tx.vault.hash(email), mask_email(email))


async def closed_subjects(tx: Tx, channel: str, subjects: Sequence[str]) -> set[str]:
    """Those of the subjects (`of_user`, `of_address`) that the channel is closed for."""
    return {row[0] for row in await tx.any_of("closed_subjects", subjects, channel=_name(channel))}


async def get_opt_outs(tx: Tx, contact: Contact) -> list[OptOut]:
    """Every channel that is closed for the contact, by channel."""
    found: dict[str, OptOut] = {}
    for subject in _subjects(tx, contact):
        for row in await tx.all("get_opt_outs", subject=subject):
            found.setdefault(row[0], OptOut(*row))
    return [found[channel] for channel in sorted(found)]


async def get_opt_out_changes(tx: Tx, contact: Contact) -> list[OptOutChange]:
    """Every closing and reopening of a channel of the contact, oldest first."""
    rows = await tx.any_of("opt_out_changes_of", _subjects(tx, contact))
    return sorted({OptOutChange(*row) for row in rows}, key=lambda each: (each.at, each.channel, each.change))


async def set_opt_outs(tx: Tx, contact: Contact, channels: set[str], reason: str, now: Millis) -> None:
    """Makes exactly these channels closed: a missing one is closed, any other is opened again."""
    channels = {_name(each) for each in channels}
    closed = {each.channel for each in await get_opt_outs(tx, contact)}
    for channel in sorted(channels - closed):
        await _close(tx, of_user(contact.ext_user_id), channel, reason, now)
    for channel in sorted(closed - channels):
        for subject in _subjects(tx, contact):
            if await tx.run("open_channel", subject=subject, channel=channel):
                await _note(tx, subject, channel, "opened", reason, now)


async def close_channel_of_address(
    tx: Tx, address_hash: bytes, channel: str, reason: str, now: Millis
) -> None:
    """Closes a channel for an address and for every contact that has it now."""
    rows = await tx.all("contacts_with_address", hash=address_hash)
    for subject in (of_address(address_hash), *(of_user(row[0]) for row in rows)):
        await _close(tx, subject, channel, reason, now)


async def close_channel_of_user(tx: Tx, ext_user_id: str, channel: str, reason: str, now: Millis) -> None:
    """Closes a channel for a user, whatever the address."""
    await _close(tx, of_user(ext_user_id), channel, reason, now)


async def _close(tx: Tx, subject: str, channel: str, reason: str, now: Millis) -> None:
    channel = _name(channel)
    if await tx.run("close_channel", subject=subject, channel=channel, closed_at=now, reason=reason):
        await _note(tx, subject, channel, "closed", reason, now)


async def _note(tx: Tx, subject: str, channel: str, change: str, reason: str, now: Millis) -> None:
    await tx.run("add_opt_out_change", subject=subject, at=now, channel=channel, change=change, reason=reason)


def _subjects(tx: Tx, contact: Contact) -> list[str]:
    return [of_user(contact.ext_user_id), *map(of_address, _address_hashes(tx, contact))]


def _address_hashes(tx: Tx, contact: Contact) -> list[bytes]:
    return [tx.vault.hash(address) for address in (contact.phone, contact.email) if address]


def of_user(ext_user_id: str) -> str:
    """The subject of an opt-out: a user."""
    return f"user:{ext_user_id}"


def of_address(address_hash: bytes) -> str:
    """The subject of an opt-out: whoever has this address."""
    return f"address:{address_hash.hex()}"
