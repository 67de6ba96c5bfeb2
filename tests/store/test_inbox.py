"""The inbox: bodies are kept once, elements are known by their meaning, orphans wait for their message."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from bridge.core.model import DeliveryReport, InboundMessage, Price
from bridge.store import inbox
from bridge.store.inbox import Arrived, Batch, Understood
from bridge.store.tx import Job, Store

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Select

NOW = 1_795_234_921_250
PHONE = "+447700900123"
REPORT = DeliveryReport("uuid-1", "delivered", "delivered", at=NOW, channel="SMS")


async def add(
    store: Store, body: bytes, *, elements: int = 1, state: str = "waiting", provider: str = "revicom"
) -> int | None:
    return await store.write(lambda tx: inbox.add_batch(tx, provider, body, elements, NOW, state))


async def waiting(
    store: Store, max_elements: int = 1000, max_bytes: int = 10**6, limit: int = 500
) -> list[Batch]:
    return await store.read(lambda tx: inbox.waiting_batches(tx, max_elements, max_bytes, limit))


def arrived(digest: bytes = b"d" * 16, *, batch: int = 1, position: int = 0, raw: bytes = b"{}") -> Arrived:
    return Arrived("revicom", batch, position, NOW, raw, digest)


# --- bodies ---


async def test_a_body_is_kept_as_it_came(store: Store) -> None:
    """The very bytes come back, whatever they are."""
    body = bytes(range(256)) * 10
    batch_id = await add(store, body, elements=3)
    assert batch_id is not None
    assert await waiting(store) == [Batch(batch_id, "revicom", body, NOW, 3)]
    assert await store.read(lambda tx: inbox.get_batch(tx, batch_id)) == Batch(
        batch_id, "revicom", body, NOW, 3
    )
    assert await store.read(lambda tx: inbox.get_batch(tx, batch_id + 1)) is None


async def test_the_same_body_again(store: Store) -> None:
    """A body that is known is not kept twice, also once it was understood; another provider's is another body."""
    first = await add(store, b"[1]")
    assert first is not None
    assert await add(store, b"[1]") is None
    assert await add(store, b"[1]", provider="other") is not None
    assert await add(store, b"[1] ") is not None
    await store.write(lambda tx: inbox.finish_batches(tx, [first]))
    assert await add(store, b"[1]") is None
    assert first not in [batch.id for batch in await waiting(store)]


async def test_bodies_are_given_in_the_order_of_their_arrival(store: Store) -> None:
    """The oldest come first, across providers, and only those that wait."""
    ids = [await add(store, b"[%d]" % number, provider=f"p{number % 3}") for number in range(9)]
    await add(store, b"not json", state=inbox.UNREADABLE)
    assert [batch.id for batch in await waiting(store)] == ids
    await store.write(lambda tx: inbox.finish_batches(tx, [ids[0] or 0, ids[5] or 0]))
    assert [batch.id for batch in await waiting(store)] == ids[1:5] + ids[6:]


@pytest.mark.parametrize(
    ("max_elements", "max_bytes", "limit", "count"),
    [(1000, 10**6, 500, 5), (30, 10**6, 500, 3), (29, 10**6, 500, 2), (1, 1, 500, 1), (1000, 10**6, 4, 4)],
)
async def test_how_many_at_once(
    store: Store, max_elements: int, max_bytes: int, limit: int, count: int
) -> None:
    """As many as stay within the bounds, but one at least: a body larger than every bound is not stuck."""
    for number in range(5):
        await add(store, b"[%d]" % number, elements=10)
    assert len(await waiting(store, max_elements, max_bytes, limit)) == count


async def test_bytes_bound_a_batch_of_bodies(store: Store) -> None:
    """Large bodies are given a few at a time, however few their elements are."""
    for number in range(4):
        await add(store, b"%d" % number + bytes(1000))
    assert len(await waiting(store, max_bytes=2500)) == 2


async def test_what_waits_is_counted(store: Store) -> None:
    """The lag is the elements of bodies that wait, and the time of the oldest."""
    assert await store.read(inbox.waiting) == (0, None)
    for at, elements in ((NOW + 5, 7), (NOW, 4), (NOW + 9, 0)):
        body = b"%d" % at
        await store.write(partial(inbox.add_batch, provider="revicom", body=body, elements=elements, now=at))
    assert await store.read(inbox.waiting) == (11, NOW)
    await store.write(lambda tx: inbox.finish_batches(tx, [batch.id for batch in [Batch(1, "", b"", 0, 0)]]))
    assert await store.read(inbox.waiting) == (4, NOW)


# --- what makes two elements the same ---


def digest(report: DeliveryReport | None = REPORT, raw: bytes = b"{}", provider: str = "revicom") -> bytes:
    return inbox.element_digest(provider, raw, report)


def test_an_element_is_known_by_its_meaning() -> None:
    """Other spacing or an unknown field more is the same element; for what has no meaning the bytes decide."""
    assert digest(raw=b"{}") == digest(raw=b'{"new": 1}')
    assert digest(None, b"{}") != digest(None, b"{ }")
    assert len(digest()) == len(digest(None)) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"provider_message_id": "uuid-2"},
        {"event": "sent"},
        {"status": "undelivered"},
        {"at": NOW + 1},
        {"at": None},
        {"cascade_id": "uuid-0"},
        {"step": 2},
        {"error_code": "508"},
        {"link": "https://example.com"},
        {"price": Price(Decimal("0.1"), "EUR", 1, NOW)},
    ],
)
def test_every_part_of_the_meaning_counts(change: dict[str, Any]) -> None:
    """An element that differs in anything that is understood of it is another element."""
    assert digest(replace(REPORT, **change)) != digest()


def test_providers_are_kept_apart() -> None:
    """The same words of two providers are two elements, and so are a meaning and the bytes of it."""
    assert digest(provider="a") != digest(provider="b")
    assert digest(provider="") != digest(provider="a")


# --- callbacks of messages ---


async def test_a_callback_is_kept_with_what_became_of_it(
    store: Store, add_message: AddMessage, select: Select
) -> None:
    """An element is known by its digest beside its message; the next outcome replaces the last, nothing else does."""
    message_id = await add_message()
    known: Job[dict[tuple[bytes, bytes], str]] = lambda tx: inbox.known_outcomes(tx, [message_id])  # noqa: E731
    assert await store.read(known) == {}
    for outcome, batch in (("unmapped", 1), ("applied", 2)):
        await store.write(
            partial(
                inbox.put_callbacks,
                understood=[Understood(message_id, arrived(batch=batch), REPORT, outcome)],
            )
        )
        assert await store.read(known) == {(message_id, b"d" * 16): outcome}
    assert await select("SELECT batch_id, outcome FROM callbacks") == [(1, "applied")]


async def test_a_price_element_is_kept_exactly(store: Store, add_message: AddMessage, select: Select) -> None:
    """The amount of a price stands as text, every digit of it, with its own time."""
    message_id = await add_message()
    amount = Decimal("123456789012345678.100000000010")
    report = DeliveryReport("uuid-1", "price", price=Price(amount, "EUR", 2, NOW - 5))
    await store.write(
        partial(inbox.put_callbacks, understood=[Understood(message_id, arrived(), report, "applied")])
    )
    rows = await select("SELECT parts, price, currency, provider_at FROM callbacks")
    assert rows == [(2, "123456789012345678.100000000010", "EUR", NOW - 5)]


# --- orphans ---


async def add_orphan(store: Store, root: str, element: Arrived) -> bool:
    return await store.write(lambda tx: inbox.add_orphan(tx, root, element))


async def test_orphans_wait_for_their_root(store: Store) -> None:
    """Orphans are taken by provider and root, in the order of their arrival, with their bytes, and once only."""
    late = arrived(b"c" * 16, batch=2, position=0, raw=b'{"late": 1}')
    first = arrived(b"b" * 16, batch=1, position=1, raw=b'{"first": 1}')
    second = arrived(b"a" * 16, batch=1, position=5)
    for element in (late, second, first):
        assert await add_orphan(store, "uuid-1", element)
    assert await add_orphan(store, "uuid-2", arrived(b"a" * 16))

    async def take(provider: str, root: str) -> list[Arrived]:
        return await store.write(lambda tx: inbox.take_orphans(tx, provider, root))

    assert await take("other", "uuid-1") == []
    assert await take("revicom", "uuid-1") == [first, second, late]
    assert await take("revicom", "uuid-1") == []
    assert len(await take("revicom", "uuid-2")) == 1


async def test_the_same_orphan_again(store: Store, select: Select) -> None:
    """A repeat of an orphan, from another body, is no new one."""
    assert await add_orphan(store, "uuid-1", arrived())
    assert not await add_orphan(store, "uuid-1", arrived(batch=7, position=3))
    assert await select("SELECT batch_id FROM orphans") == [(1,)]


async def test_old_orphans_are_shown_once(store: Store) -> None:
    """Orphans become old by the time of their arrival, and those under review are not found again."""
    await add_orphan(store, "uuid-1", arrived())

    async def old(until: int) -> list[tuple[Any, ...]]:
        return await store.read(lambda tx: tx.all("old_orphans", until=until, limit=10))

    assert await old(NOW - 1) == []
    ((provider, root, found, *_),) = await old(NOW)
    await store.write(lambda tx: tx.run("mark_orphan", provider=provider, root=root, digest=found))
    assert await old(NOW) == []
    assert len(await store.write(lambda tx: inbox.take_orphans(tx, "revicom", "uuid-1"))) == 1


# --- messages from handsets ---


async def test_an_inbound_message_is_kept_once(store: Store, add_message: AddMessage, select: Select) -> None:
    """A message from a handset is known by its own id, and kept with its mask, its keyword and what it answers."""
    message_id = await add_message()
    inbound = InboundMessage("mo-1", "SMS", PHONE, "Stop!", "inbound_sent", "inbound_sent", NOW - 3)

    async def keep(element: Arrived) -> bool:
        return await store.write(lambda tx: inbox.add_inbound(tx, element, inbound, "STOP", message_id))

    assert await keep(arrived())
    assert not await keep(arrived(batch=2))
    rows = await select("SELECT handset_masked, keyword, message_id, provider_at, received_at FROM inbound")
    assert rows == [("+44•••••0123", "STOP", message_id, NOW - 3, NOW)]
    timeline = await store.read(lambda tx: tx.all("message_inbound", message_id=message_id))
    ((at, provider_at, keyword, text, special, channel),) = timeline
    assert (at, provider_at, keyword, special, channel) == (NOW, NOW - 3, "STOP", None, "SMS")
    assert store.vault.open_text(text) == "Stop!"
