"""Messages in the store: what is kept of one, under which ids it is found, and what it costs."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING

from bridge.core.lifecycle import Snapshot, Transition
from bridge.core.model import Mark, MessageId, Price, State, Status, new_id
from bridge.store import messages
from bridge.store.saving import save_transition
from bridge.store.tx import Store, Tx

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen, Select

NOW = 1_795_234_921_250
PHONE = "+447700900123"


async def load(store: Store, message_id: MessageId) -> messages.MessageView:
    return (await store.read(lambda tx: messages.load_messages(tx, [message_id])))[message_id]


async def add_ids(store: Store, message_id: MessageId, *ids: str) -> messages.MessageView:
    """Provider ids for a message, numbered as steps."""

    async def job(tx: Tx) -> None:
        message = (await messages.load_messages(tx, [message_id]))[message_id]
        for step, each in enumerate(ids, 1):
            await messages.add_provider_id(tx, message, each, step)

    await store.write(job)
    return await load(store, message_id)


# --- adding and loading ---


async def test_a_new_message(store: Store, add_message: AddMessage) -> None:
    """A message begins queued, with nothing owed, and with what it was accepted with."""
    message = await load(store, await add_message())
    assert message.snapshot == Snapshot(State.QUEUED)
    assert (message.gateway, message.channel, message.provider) == ("sms", "SMS", "revicom")
    assert (message.provider_message_id, message.submitted_at, message.delivered_at) == (None, None, None)
    assert message.created_at == NOW


async def test_only_known_messages_are_loaded(store: Store, add_message: AddMessage) -> None:
    """Ids that nobody knows are left out; no ids give no messages."""
    message_id = await add_message()
    wanted = [new_id(NOW, 2**70), message_id, message_id]
    assert list(await store.read(lambda tx: messages.load_messages(tx, wanted))) == [message_id]
    assert await store.read(lambda tx: messages.load_messages(tx, [])) == {}


async def test_the_idempotency_key(store: Store, add_message: AddMessage) -> None:
    """A message is found by gateway and Smartico's id together: another gateway may have the same id."""
    first = await add_message(gateway="sms", uid="7")
    second = await add_message(gateway="whatsapp", uid="7")

    async def find(gateway: str, uid: str) -> MessageId | None:
        return await store.read(lambda tx: messages.find_by_uid(tx, gateway, uid))

    assert await find("sms", "7") == first
    assert await find("whatsapp", "7") == second
    assert await find("sms", "8") is None
    assert await find("SMS", "7") is None


async def test_the_idempotency_key_is_unique(store: Store, add_message: AddMessage, select: Select) -> None:
    """A second message of the same key is not stored, and leaves nothing."""
    await add_message(uid="7")
    await add_message(uid="7")
    counts = (
        "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM texts), (SELECT count(*) FROM sends)"
    )
    assert await select(counts) == [(1, 1, 1)]


async def test_provider_ids(store: Store, add_message: AddMessage) -> None:
    """A message is found by every id that its provider knows it under, and by that provider's ids only."""
    first = await add_message()
    second = await add_message()
    await add_ids(store, first, "a-1", "a-2")
    await add_ids(store, second, "b-1")
    wanted = ["a-1", "a-2", "b-1", "c-1"]
    found = await store.read(lambda tx: messages.find_by_provider_ids(tx, "revicom", wanted))
    assert found == {"a-1": first, "a-2": first, "b-1": second}
    assert await store.read(lambda tx: messages.find_by_provider_ids(tx, "other", wanted)) == {}


async def test_a_provider_id_keeps_its_message(store: Store, add_message: AddMessage) -> None:
    """An id that was told before stays with its message, whoever is told to have it next."""
    first = await add_message()
    await add_ids(store, first, "a-1")
    await add_ids(store, await add_message(), "a-1")
    await add_ids(store, first, "a-1")
    assert await store.read(lambda tx: messages.find_by_provider_ids(tx, "revicom", ["a-1"])) == {
        "a-1": first
    }


async def test_the_newest_message_to_an_address(store: Store, add_message: AddMessage) -> None:
    """An inbound message answers the last message to that number on that channel that was there before it."""
    old = await add_message(at=NOW)
    new = await add_message(at=NOW + 1000)
    whatsapp = await add_message(at=NOW + 2000, channel="WHATSAPP")
    await add_message(at=NOW + 2000, phone="+447700900124")
    await add_message(at=NOW + 2000, phone=None)

    async def newest(channel: str, until: int, phone: str = PHONE) -> MessageId | None:
        address_hash = store.vault.hash(phone)
        return await store.read(lambda tx: messages.newest_to_address(tx, address_hash, channel, until))

    assert await newest("SMS", NOW + 5000) == new
    assert await newest("SMS", NOW + 1000) == new
    assert await newest("SMS", NOW + 999) == old
    assert await newest("SMS", NOW - 1) is None
    assert await newest("WHATSAPP", NOW + 5000) == whatsapp
    assert await newest("VIBER", NOW + 5000) is None
    assert await newest("SMS", NOW + 5000, "+447700900125") is None


# --- transitions ---


async def test_a_snapshot_comes_back_as_it_was(store: Store, add_message: AddMessage) -> None:
    """State, marks, what is owed and the negatives of each step are kept whole, however many there are."""
    before = await load(store, await add_message())
    snapshot = Snapshot(
        State.REJECTED,
        frozenset(Mark),
        frozenset(Status),
        {1: frozenset({State.FAILED, State.REJECTED}), 12: frozenset({State.REJECTED})},
    )
    after = await store.write(lambda tx: save_transition(tx, before, Transition(snapshot), NOW + 1, NOW))
    assert after.snapshot == snapshot
    assert await load(store, before.id) == after


async def test_when_it_was_delivered(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """The time of delivery is that of the first evidence, and stays; a message that was read was delivered."""
    delivered = await add_message()
    await happen(delivered, State.DELIVERED, at=NOW + 5)
    assert (await happen(delivered, State.READ, at=NOW + 9)).delivered_at == NOW + 5
    read = await add_message()
    assert (await happen(read, State.READ, at=NOW + 7)).delivered_at == NOW + 7
    failed = await add_message()
    assert (await happen(failed, State.FAILED, at=NOW + 7)).delivered_at is None


# --- prices ---


def price(amount: str, at: int, *, parts: int = 1, currency: str = "EUR") -> Price:
    return Price(Decimal(amount), currency, parts, at)


async def set_price(store: Store, message: messages.MessageView, provider_id: str, what: Price) -> bool:
    return await store.write(lambda tx: messages.set_price(tx, message, provider_id, what, NOW))


async def cost_of(select: Select, message_id: MessageId) -> tuple[int | None, str | None, str | None]:
    ((parts, amount, currency),) = await select(
        "SELECT parts, price, currency FROM messages WHERE id = ?", message_id
    )
    return parts, amount, currency


async def test_a_price_is_kept_exactly(store: Store, add_message: AddMessage, select: Select) -> None:
    """Every digit that a provider may send is kept, of the message and of the provider's id: nothing is rounded."""
    for number, amount in enumerate(
        ["0.1", "0", "0.000000000001", "123456789012345678.123456789012", "1.10"]
    ):
        provider_id = f"a-{number}"
        message = await add_ids(store, await add_message(), provider_id)
        assert await set_price(store, message, provider_id, price(amount, NOW, parts=3))
        assert await cost_of(select, message.id) == (3, amount, "EUR")
        kept = await select("SELECT price FROM provider_messages WHERE provider_message_id = ?", provider_id)
        assert kept == [(amount,)]


async def test_the_newest_price_wins(store: Store, add_message: AddMessage, select: Select) -> None:
    """Whatever the order in which prices arrive, the one with the newest time stands in the end."""
    prices = [price("0.5", NOW, parts=9), price("0.04", NOW + 1), price("0.03", NOW + 2, parts=2)]
    for number, order in enumerate(permutations(prices)):
        provider_id = f"a-{number}"
        message = await add_ids(store, await add_message(), provider_id)
        kept = [await set_price(store, message, provider_id, each) for each in order]
        assert kept[0]
        assert await cost_of(select, message.id) == (2, "0.03", "EUR")


async def test_prices_of_the_same_time(store: Store, add_message: AddMessage, select: Select) -> None:
    """Of two prices with the same time the larger one stands, whichever came first; the same again is no news."""
    small, large, other = price("0.9", NOW), price("0.10", NOW, parts=2), price("0.9", NOW, currency="USD")
    for number, pair in enumerate([(small, large), (large, small), (small, other), (other, small)]):
        provider_id = f"a-{number}"
        message = await add_ids(store, await add_message(), provider_id)
        for each in pair:
            await set_price(store, message, provider_id, each)
        assert not await set_price(store, message, provider_id, pair[0])
        assert not await set_price(store, message, provider_id, pair[1])
        expected = (1, "0.9", "USD") if other in pair else (1, "0.9", "EUR")
        assert await cost_of(select, message.id) == expected


async def test_the_same_amount_in_other_words(store: Store, add_message: AddMessage, select: Select) -> None:
    """0.10 and 0.1 at the same time are one price: the second is no newer one."""
    message = await add_ids(store, await add_message(), "a-1")
    assert await set_price(store, message, "a-1", price("0.1", NOW))
    assert not await set_price(store, message, "a-1", price("0.10", NOW))


async def test_a_cascade_costs_its_sum(store: Store, add_message: AddMessage, select: Select) -> None:
    """The steps of a cascade are added up exactly, and a newer price of one step replaces that step's only."""
    message = await add_ids(store, await add_message(), "a-1", "a-2", "a-3")
    await set_price(store, message, "a-1", price("0.1", NOW, parts=2))
    await set_price(store, message, "a-2", price("0.2", NOW))
    assert await cost_of(select, message.id) == (3, "0.3", "EUR")
    await set_price(store, message, "a-3", price("123456789012345678.123456789012", NOW))
    assert await cost_of(select, message.id) == (4, "123456789012345678.423456789012", "EUR")
    await set_price(store, message, "a-1", price("0.000000000001", NOW + 1))
    assert await cost_of(select, message.id) == (3, "123456789012345678.323456789013", "EUR")


async def test_two_currencies_have_no_sum(store: Store, add_message: AddMessage, select: Select) -> None:
    """Steps in different currencies are not added up; each is kept, and parts are still counted."""
    message = await add_ids(store, await add_message(), "a-1", "a-2")
    await set_price(store, message, "a-1", price("0.1", NOW))
    await set_price(store, message, "a-2", price("0.2", NOW, currency="USD"))
    assert await cost_of(select, message.id) == (2, None, None)
    assert await select("SELECT price, currency FROM v_costs ORDER BY step") == [
        ("0.1", "EUR"),
        ("0.2", "USD"),
    ]
    await set_price(store, message, "a-2", price("0.3", NOW + 1))
    assert await cost_of(select, message.id) == (2, "0.4", "EUR")


async def test_a_price_of_an_unknown_id(store: Store, add_message: AddMessage, select: Select) -> None:
    """A price of an id that was not remembered is not kept."""
    message = await load(store, await add_message())
    assert not await set_price(store, message, "nobody", price("0.1", NOW))
    assert await cost_of(select, message.id) == (None, None, None)


# --- the timeline ---


async def test_steps_come_in_their_order(store: Store, add_message: AddMessage) -> None:
    """Lines of the timeline come back in the order in which they were written, those of one moment too."""
    message_id = await add_message()
    for kind in ("b", "a", "c"):
        await store.write(partial(messages.add_step, message_id=message_id, at=NOW, kind=kind, detail="x"))
    rows = await store.read(lambda tx: tx.all("message_steps", message_id=message_id))
    assert rows == [(NOW, "b", "x", ""), (NOW, "a", "x", ""), (NOW, "c", "x", "")]
