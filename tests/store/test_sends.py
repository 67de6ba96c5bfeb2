"""The outbox of messages: what is claimed, in which order, and who may be handed over again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.core.model import MessageId
from bridge.store import sends
from bridge.store.sends import Send
from bridge.store.tx import Store, Tx
from tests.store.conftest import end_leases

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Select

NOW = 1_795_234_921_250
PHONE = "+447700900123"
TEXT = "Hello Jane, your code is 4711"


async def claim(store: Store, *, now: int = NOW, limit: int = 100, provider: str = "revicom") -> list[Send]:
    return await store.write(lambda tx: sends.claim(tx, provider, now, limit))


async def look_up(store: Store, message_id: MessageId, *, due_at: int, lookups: int = 0) -> None:
    await store.write(
        lambda tx: tx.run("look_up_send", message_id=message_id, due_at=due_at, lookups=lookups)
    )


def ids(batch: list[Send]) -> list[MessageId]:
    return [send.message_id for send in batch]


async def test_a_claim_gives_what_is_to_be_sent(store: Store, add_message: AddMessage) -> None:
    """A claimed message carries everything that the provider has to be told, in the clear, and when it was claimed."""
    message_id = await add_message()
    assert await claim(store, now=NOW + 5) == [
        Send(message_id, "sms", "SMS", PHONE, "Amazing", TEXT, NOW + 5, 0, NOW, ext_user_id="user-1")
    ]


async def test_nothing_is_claimed_twice(store: Store, add_message: AddMessage) -> None:
    """A claimed message is perhaps sent: no later claim gives it again, and no two claims share one."""
    wanted = {await add_message() for _ in range(30)}
    batches = await asyncio.gather(*(claim(store, limit=4) for _ in range(10)))
    claimed = [message_id for batch in batches for message_id in ids(batch)]
    assert len(claimed) == len(set(claimed)) == 30
    assert set(claimed) == wanted
    assert await claim(store) == []


async def test_the_oldest_go_first(store: Store, add_message: AddMessage) -> None:
    """Messages are claimed in the order of their time, up to the limit; those not due yet and others' wait."""
    second = await add_message(at=NOW - 5)
    first = await add_message(at=NOW - 10)
    third = await add_message(at=NOW - 5)
    await add_message(at=NOW + 1)
    await add_message(at=NOW - 20, provider="other")
    assert ids(await claim(store, limit=2)) == [first, second]
    assert ids(await claim(store, limit=2)) == [third]
    assert ids(await claim(store, limit=2, provider="other")) != []


async def test_only_what_was_not_taken_is_claimed_again(store: Store, add_message: AddMessage) -> None:
    """Queued again it can be claimed anew; under look-up or review it cannot, whatever time it is."""
    queued, asked, shown = [await add_message() for _ in range(3)]
    await claim(store)
    await store.write(lambda tx: tx.run("requeue_send", message_id=queued, due_at=NOW + 10, tries=1))
    await look_up(store, asked, due_at=NOW)
    await store.write(lambda tx: tx.run("review_send", message_id=shown))
    assert await claim(store, now=NOW + 9) == []
    (again,) = await claim(store, now=NOW + 10)
    assert (again.message_id, again.handed_at) == (queued, NOW + 10)
    assert await claim(store, now=NOW + 10**9) == []


async def test_lookups(store: Store, add_message: AddMessage) -> None:
    """A perhaps-sent message is asked for when it is due, with the time at which it was handed over and the tries."""
    message_id = await add_message()
    await claim(store, now=NOW + 5)
    await look_up(store, message_id, due_at=NOW + 100, lookups=3)

    async def due(now: int) -> list[Send]:
        return await store.read(lambda tx: sends.due_lookups(tx, "revicom", now, 10))

    assert await due(NOW + 99) == []
    (send,) = await due(NOW + 100)
    assert (send.message_id, send.handed_at, send.lookups) == (message_id, NOW + 5, 3)


async def test_when_the_next_is_due(store: Store, add_message: AddMessage) -> None:
    """The next time is that of the phase asked for; where nothing waits there is none."""

    async def next_due(phase: str) -> int | None:
        return await store.read(lambda tx: sends.next_due(tx, "revicom", phase, NOW))

    assert await next_due("queued") is None
    first, second = await add_message(at=NOW), await add_message(at=NOW - 5)
    assert await next_due("queued") == NOW - 5
    await claim(store)
    assert await next_due("queued") is None
    await look_up(store, first, due_at=NOW + 7)
    await look_up(store, second, due_at=NOW + 3)
    assert await next_due("lookup") == NOW + 3


async def test_what_is_too_old_is_neither_due_nor_claimed(store: Store, add_message: AddMessage) -> None:
    """A message past its age must not leave, however the pump and the upkeep race after a long stop."""
    await add_message(at=NOW - 1000, lives=1000)
    assert await store.read(lambda tx: sends.next_due(tx, "revicom", "queued", NOW)) is None
    assert await claim(store) == []


async def test_a_send_that_is_gone(store: Store, add_message: AddMessage, select: Select) -> None:
    """What left the outbox is neither claimed nor found there; its message and its text stay."""
    message_id = await add_message()
    await store.write(lambda tx: tx.run("delete_send", message_id=message_id))
    assert await claim(store) == []
    assert await store.read(lambda tx: sends.get_send(tx, message_id)) is None
    assert await select("SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM texts)") == [(1, 1)]


async def test_an_erased_send(store: Store, add_message: AddMessage) -> None:
    """After an erasure the outbox holds neither number nor text: a send without them has empty ones."""
    message_id = await add_message()

    async def erase(tx: Tx) -> None:
        await tx.run("forget_destination", message_id=message_id, nothing=tx.vault.seal(b""))
        await tx.run("forget_text", message_id=message_id)

    await store.write(erase)
    send = await store.read(lambda tx: sends.get_send(tx, message_id))
    assert send is not None
    assert (send.destination, send.body) == ("", "")


async def test_a_send_prints_no_address(store: Store, add_message: AddMessage) -> None:
    """What may end in a log names the message and nothing personal."""
    message_id = await add_message()
    (send,) = await claim(store)
    assert repr(send) == f"<Send {message_id.hex()}>"
    assert PHONE not in f"{[send]}"


async def test_what_a_crash_left(store: Store, add_message: AddMessage) -> None:
    """Messages that were claimed and never settled are found again, per provider; leased ones when that is over."""
    left = [await add_message() for _ in range(2)]
    await add_message(at=NOW + 50)
    await claim(store)

    async def found(provider: str) -> list[MessageId]:
        return [row[0] for row in await store.read(lambda tx: tx.all("handed_sends", provider=provider))]

    assert await found("revicom") == ([] if store.lease_seconds else left)
    await end_leases(store)
    assert await found("revicom") == left
    assert await found("other") == []


async def test_what_is_too_old(store: Store, add_message: AddMessage) -> None:
    """Queued messages past their time are found, and not those that are perhaps sent."""
    old, claimed, young = (
        await add_message(lives=10),
        await add_message(lives=10, provider="other"),
        await add_message(lives=11),
    )
    await claim(store, provider="other")

    async def expired(now: int) -> set[MessageId]:
        query = {"provider": "revicom", "now": now, "limit": 10}
        return {row[0] for row in await store.read(lambda tx: tx.all("expired_sends", **query))}

    assert await expired(NOW + 9) == set()
    assert await expired(NOW + 10) == {old}
    assert await expired(NOW + 11) == {old, young}
    other = {"provider": "other", "now": NOW + 99, "limit": 10}
    assert claimed not in {row[0] for row in await store.read(lambda tx: tx.all("expired_sends", **other))}


async def test_counts(store: Store, add_message: AddMessage) -> None:
    """The outbox is counted by gateway and phase."""
    for gateway in ("sms", "sms", "sms", "whatsapp"):
        await add_message(gateway=gateway)
    await claim(store, limit=1)
    counts = await store.read(lambda tx: tx.all("count_sends"))
    assert sorted(counts) == [("sms", "handed", 1), ("sms", "queued", 2), ("whatsapp", "queued", 1)]
