"""The contact directory, and the channels that people closed: for themselves, and for a number."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from bridge.store import contacts
from bridge.store.contacts import Contact, OptOut
from bridge.store.tx import Row, Store, Tx

if TYPE_CHECKING:
    from tests.store.conftest import Select

NOW = 1_795_234_921_250
PHONE = "+447700900123"
OTHER_PHONE = "+447700900124"
EMAIL = "jane.doe@example.com"
JANE = Contact("jane", PHONE, EMAIL)


async def put(store: Store, contact: Contact) -> None:
    await store.write(lambda tx: contacts.put_contact(tx, contact, NOW))


async def get(store: Store, ext_user_id: str) -> Contact | None:
    return await store.read(lambda tx: contacts.get_contact(tx, ext_user_id))


async def set_opt_outs(store: Store, contact: Contact, *channels: str, now: int = NOW) -> None:
    await store.write(lambda tx: contacts.set_opt_outs(tx, contact, set(channels), "asked", now))


async def close(store: Store, address: str, channel: str = "SMS") -> None:
    """Somebody with that address wrote STOP."""
    await store.write(
        lambda tx: contacts.close_channel_of_address(tx, tx.vault.hash(address), channel, "wrote STOP", NOW)
    )


async def opted_out(store: Store, ext_user_id: str, address: str | None, channel: str = "SMS") -> bool:
    """Whether a contact with that phone number may not be sent to."""
    if await get(store, ext_user_id) is None:
        await put(store, Contact(ext_user_id, address))
    found = await store.read(lambda tx: contacts.reach(tx, [ext_user_id], channel))
    return found[ext_user_id].closed


async def closed(store: Store, contact: Contact) -> list[OptOut]:
    return await store.read(lambda tx: contacts.get_opt_outs(tx, contact))


# --- contacts ---


async def test_a_contact_comes_back(store: Store) -> None:
    """Addresses come back in the clear; missing ones are missing; unknown people are unknown."""
    await put(store, JANE)
    await put(store, Contact("phone only", PHONE))
    await put(store, Contact("nothing"))
    assert await get(store, "jane") == JANE
    assert await get(store, "phone only") == Contact("phone only", PHONE, None)
    assert await get(store, "nothing") == Contact("nothing")
    assert await get(store, "Jane") is None


async def test_a_contact_is_replaced_whole(store: Store, select: Select) -> None:
    """Putting a contact again replaces every address: what is not there any more cannot be found any more."""
    await put(store, JANE)
    await put(store, Contact("jane", None, "new@example.com"))
    assert await get(store, "jane") == Contact("jane", None, "new@example.com")
    rows = await select("SELECT phone, phone_hash, phone_masked, email_masked FROM contacts")
    assert rows == [(None, None, None, "n•••••@example.com")]


async def test_a_contact_prints_no_address(store: Store) -> None:
    """What may end in a log shows nothing of a contact."""
    assert PHONE not in f"{JANE} {[JANE]!r}"
    assert EMAIL not in f"{JANE}"


async def test_odd_ids(store: Store) -> None:
    """Any text is an id, also one that looks like something of ours."""
    for ext_user_id in ("address:00", "user:jane", "'; DROP TABLE contacts; --", "😀", " "):
        await put(store, Contact(ext_user_id, PHONE))
        assert await get(store, ext_user_id) == Contact(ext_user_id, PHONE)


# --- closed channels ---


async def test_a_channel_closed_for_a_contact(store: Store) -> None:
    """Exactly the named channels are closed, for that contact, whatever address is used."""
    await put(store, JANE)
    await set_opt_outs(store, JANE, "SMS", "EMAIL")
    assert await opted_out(store, "jane", PHONE)
    assert await opted_out(store, "jane", None)
    assert await opted_out(store, "jane", EMAIL, "EMAIL")
    assert not await opted_out(store, "jane", PHONE, "WHATSAPP")
    assert not await opted_out(store, "john", OTHER_PHONE)
    assert await closed(store, JANE) == [OptOut("EMAIL", NOW, "asked"), OptOut("SMS", NOW, "asked")]


async def test_a_channel_is_opened_again(store: Store) -> None:
    """What is not named any more is open again, and what stays closed keeps its time and its reason."""
    await put(store, JANE)
    await set_opt_outs(store, JANE, "SMS", "EMAIL")
    await set_opt_outs(store, JANE, "EMAIL", "WHATSAPP", now=NOW + 5)
    assert not await opted_out(store, "jane", PHONE)
    assert await closed(store, JANE) == [OptOut("EMAIL", NOW, "asked"), OptOut("WHATSAPP", NOW + 5, "asked")]
    await set_opt_outs(store, JANE)
    assert await closed(store, JANE) == []


async def test_stop_closes_the_channel_for_everybody_with_that_number(store: Store) -> None:
    """A STOP concerns every contact with that number, those who come later, and the number itself."""
    await put(store, JANE)
    await put(store, Contact("john", PHONE))
    await put(store, Contact("mary", OTHER_PHONE))
    await close(store, PHONE)
    assert await opted_out(store, "jane", PHONE)
    assert await opted_out(store, "john", PHONE)
    assert not await opted_out(store, "mary", OTHER_PHONE)
    assert not await opted_out(store, "jane", PHONE, "WHATSAPP")
    await put(store, Contact("late", PHONE))
    assert await opted_out(store, "late", PHONE)
    assert await opted_out(store, "nobody", PHONE)
    # A person who gets another number stays opted out; the number alone decides for whoever has it next.
    assert await opted_out(store, "jane", OTHER_PHONE)


async def test_stop_of_an_unknown_number(store: Store) -> None:
    """A STOP from a number that no contact has counts for whoever has it later."""
    await close(store, PHONE)
    await put(store, JANE)
    assert await opted_out(store, "jane", PHONE)
    assert await closed(store, JANE) == [OptOut("SMS", NOW, "wrote STOP")]


async def test_stop_of_an_address(store: Store) -> None:
    """An e-mail address is closed like a number."""
    await put(store, JANE)
    await close(store, EMAIL, "EMAIL")
    assert await opted_out(store, "jane", EMAIL, "EMAIL")
    assert not await opted_out(store, "jane", PHONE, "SMS")


async def test_stop_twice(store: Store) -> None:
    """A channel that is closed keeps the time and the reason of the first closing."""
    await put(store, JANE)
    await set_opt_outs(store, JANE, "SMS", now=NOW - 5)
    await close(store, PHONE)
    await close(store, PHONE)
    assert await closed(store, JANE) == [OptOut("SMS", NOW - 5, "asked")]


async def test_who_opens_a_channel_opens_it(store: Store) -> None:
    """When an operator opens a channel of a contact, a STOP from its number does not keep it closed."""
    await put(store, JANE)
    await close(store, PHONE)
    await set_opt_outs(store, JANE)
    assert not await opted_out(store, "jane", PHONE)
    assert await closed(store, JANE) == []


@pytest.mark.parametrize("closing", ["address", "user", "by hand"])
async def test_a_channel_in_any_case(store: Store, closing: str) -> None:
    """However a channel was written when it was closed, it is closed, and naming it again keeps it so."""
    await put(store, JANE)
    if closing == "address":
        await close(store, EMAIL, "newsletter")
    elif closing == "user":
        await store.write(lambda tx: contacts.close_channel_of_user(tx, "jane", "newsletter", "asked", NOW))
    else:
        await set_opt_outs(store, JANE, "Newsletter")
    assert await opted_out(store, "jane", EMAIL, "newsletter")
    await set_opt_outs(store, JANE, *(each.channel for each in await closed(store, JANE)))
    assert await opted_out(store, "jane", EMAIL, "newsletter")
    await set_opt_outs(store, JANE, "newsletter")
    assert await opted_out(store, "jane", EMAIL, "NEWSLETTER")
    assert [each.channel for each in await closed(store, JANE)] == ["NEWSLETTER"]


async def test_channels_from_before_they_were_in_capitals(store: Store) -> None:
    """Bringing the database up to date keeps every channel closed, once."""
    engine = "sqlite" if store.lease_seconds is None else "postgres"
    script = (
        files(f"bridge.store.{engine}")
        .joinpath("migrations", "0006_channels.sql")
        .read_text(encoding="utf-8")
    )
    await put(store, JANE)

    async def job(tx: Tx) -> list[Row]:
        for channel, at in (("newsletter", 1), ("NEWSLETTER", 2), ("News", 3), ("SMS", 4)):
            await tx.run("close_channel", subject="user:jane", channel=channel, closed_at=at, reason="asked")
        for statement in script.split(";")[:-1]:
            await tx.select(statement, ())
        return await tx.select("SELECT channel, closed_at FROM opt_outs ORDER BY channel", ())

    assert [tuple(row) for row in await store.write(job)] == [("NEWS", 3), ("NEWSLETTER", 2), ("SMS", 4)]


# --- erasing ---


async def erase(store: Store, ext_user_id: str) -> bool:
    async def job(tx: Tx) -> bool:
        addresses = await contacts.own_addresses(tx, ext_user_id)
        for address in addresses:
            await contacts.forget_address(tx, address)
        await contacts.forget_channels(tx, ext_user_id)
        return await contacts.delete_contact(tx, ext_user_id)

    return await store.write(job)


async def test_an_erased_contact(store: Store, select: Select) -> None:
    """Nothing of an erased person is left: neither the contact nor its closed channels, by id or by address."""
    await put(store, JANE)
    await set_opt_outs(store, JANE, "WHATSAPP")
    await close(store, PHONE)
    assert await erase(store, "jane")
    assert await get(store, "jane") is None
    assert await select("SELECT * FROM opt_outs") == []
    assert not await erase(store, "jane")


async def test_erasing_one_of_two_with_a_number(store: Store) -> None:
    """While another contact has the number, the closed channel of the number stays."""
    await put(store, JANE)
    await put(store, Contact("john", PHONE))
    await close(store, PHONE)
    await erase(store, "jane")
    assert await opted_out(store, "john", PHONE)
    assert await opted_out(store, "somebody", PHONE)
