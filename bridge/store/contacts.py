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
    "Contact",
    "OptOut",
    "Reach",
    "close_channel_of_address",
    "delete_contact",
    "get_contact",
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
    """Removes a contact and its closed channels; says whether there was one."""
    contact = await get_contact(tx, ext_user_id)
    if contact is None:
        return False
    await tx.run("delete_contact", ext_user_id=ext_user_id)
    await tx.run("open_all_channels", subject=_of_user(ext_user_id))
    for address_hash in _address_hashes(tx, contact):
        if not await tx.all("contacts_with_address", hash=address_hash):
            await tx.run("open_all_channels", subject=_of_address(address_hash))
            await tx.run("forget_inbound", handset_hash=address_hash)
    return True


class Reach(Struct, frozen=True):
    """How a contact is reached by phone. `phone` is sealed, as a message keeps it; `closed`: opted out."""

    phone: bytes | None
    phone_hash: bytes | None
    phone_masked: str | None
    closed: bool


async def reach(tx: Tx, ext_user_ids: Sequence[str], channel: str) -> dict[str, Reach]:
    """What sending needs to know of those contacts that exist."""
    rows = await tx.any_of("reach", ext_user_ids, channel=channel)
    return {row[0]: Reach(row[1], row[2], row[3], bool(row[4])) for row in rows}


async def get_opt_outs(tx: Tx, contact: Contact) -> list[OptOut]:
    """Every channel that is closed for the contact, by channel."""
    found: dict[str, OptOut] = {}
    for subject in _subjects(tx, contact):
        for row in await tx.all("get_opt_outs", subject=subject):
            found.setdefault(row[0], OptOut(*row))
    return [found[channel] for channel in sorted(found)]


async def set_opt_outs(tx: Tx, contact: Contact, channels: set[str], reason: str, now: Millis) -> None:
    """Makes exactly these channels closed: a missing one is closed, any other is opened again."""
    closed = {each.channel for each in await get_opt_outs(tx, contact)}
    for channel in sorted(channels - closed):
        await tx.run(
            "close_channel",
            subject=_of_user(contact.ext_user_id),
            channel=channel,
            closed_at=now,
            reason=reason,
        )
    for channel in sorted(closed - channels):
        for subject in _subjects(tx, contact):
            await tx.run("open_channel", subject=subject, channel=channel)


async def close_channel_of_address(
    tx: Tx, address_hash: bytes, channel: str, reason: str, now: Millis
) -> None:
    """Closes a channel for an address and for every contact that has it now."""
    rows = await tx.all("contacts_with_address", hash=address_hash)
    for subject in (_of_address(address_hash), *(_of_user(row[0]) for row in rows)):
        await tx.run("close_channel", subject=subject, channel=channel, closed_at=now, reason=reason)


def _subjects(tx: Tx, contact: Contact) -> list[str]:
    return [_of_user(contact.ext_user_id), *map(_of_address, _address_hashes(tx, contact))]


def _address_hashes(tx: Tx, contact: Contact) -> list[bytes]:
    return [tx.vault.hash(address) for address in (contact.phone, contact.email) if address]


def _of_user(ext_user_id: str) -> str:
    return f"user:{ext_user_id}"


def _of_address(address_hash: bytes) -> str:
    return f"address:{address_hash.hex()}"
