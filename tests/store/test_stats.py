"""Statistics of messages: every count, rate, time and price, on both engines."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from bridge.core.model import MessageId, Price, State, first_id
from bridge.store import messages, stats
from bridge.store.stats import (
    BOUNDS,
    Dimension,
    Figures,
    Key,
    TooManyRows,
    quantile,
    read_rows,
    regrouped,
    summarise,
)
from bridge.store.tx import Store, Tx

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen, Select

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOON = 20_778 * DAY + 12 * HOUR  # 2026-11-21T12:00:00Z


async def compute(
    store: Store, *by: Dimension, since: int = NOON - DAY, until: int = NOON + DAY
) -> tuple[dict[Key, Figures], Figures]:
    return summarise(await store.search(lambda tx: read_rows(tx, since, until, by)))


async def total_of(store: Store, since: int = NOON - DAY, until: int = NOON + DAY) -> Figures:
    groups, total = await compute(store, since=since, until=until)
    assert groups in ({}, {(): total})
    return total


async def charge(store: Store, message_id: MessageId, *prices: tuple[str, str], parts: int = 1) -> None:
    """Each price for a provider id of its own, as the steps of a cascade."""

    async def job(tx: Tx) -> None:
        (message,) = (await messages.load_messages(tx, [message_id])).values()
        for number, (amount, currency) in enumerate(prices):
            provider_id = f"{message_id.hex()}-{number}"
            await messages.add_provider_id(tx, message, provider_id)
            price = Price(Decimal(amount), currency, parts, NOON)
            await messages.set_price(tx, message, provider_id, price, NOON)

    await store.write(job)


# --- counts ---


async def test_nothing_at_all(store: Store) -> None:
    """Without messages there is no group, every count is 0, and what would be divided by 0 is None."""
    groups, total = await compute(store, Dimension.GATEWAY, Dimension.HOUR)
    assert groups == {}
    assert total == Figures()
    assert (total.delivery_rate, quantile(total, 0.5), total.costs) == (None, None, {})
    assert set(total.states.values()) | set(total.statuses.values()) == {0}


async def test_states_statuses_and_the_rate(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Each message counts in its state and in each status owed; queued and unknown ones are not in the rate."""
    for end in ((), (State.UNKNOWN,), (State.SUBMITTED,), (State.SENT,), (State.FAILED,), (State.REJECTED,)):
        await happen(await add_message(at=NOON), *end, at=NOON)
    await happen(await add_message(at=NOON), State.SENT, State.READ, at=NOON)
    await happen(await add_message(at=NOON), State.DELIVERED, at=NOON)
    total = await total_of(store)
    assert total.messages == 8
    assert total.states == dict.fromkeys(State, 1)
    owed = {"accepted": 2, "delivered": 2, "opened": 1, "failed": 1, "rejected": 1}
    assert {status: count for status, count in total.statuses.items() if count} == owed
    assert (total.delivered, total.handed, total.delivery_rate) == (2, 6, 2 / 6)


async def test_the_bounds_of_a_time(store: Store, add_message: AddMessage) -> None:
    """`since` is in the time and `until` is not, to the millisecond; a time without length is empty."""
    for at in (NOON - 1, NOON, NOON + 1):
        await add_message(at=at)
    assert (await total_of(store, NOON, NOON + 1)).messages == 1
    assert (await total_of(store, NOON - 1, NOON + 2)).messages == 3
    assert (await total_of(store, NOON, NOON)).messages == 0
    assert (await total_of(store, NOON + 2, NOON + DAY)).messages == 0
    assert (await total_of(store, 0, 1 << 50)).messages == 3


async def test_every_dimension(store: Store, add_message: AddMessage) -> None:
    """Messages fall apart by each dimension and by several, in the order of their keys; days and hours are of UTC."""
    await add_message(at=NOON, gateway="sms")
    await add_message(at=NOON + HOUR - 1, gateway="wa", channel="WHATSAPP")
    await add_message(at=NOON + HOUR, gateway="sms", provider="other")
    await add_message(at=NOON + 12 * HOUR, gateway="sms")
    hour, day = NOON // HOUR, NOON // DAY
    expected: dict[Dimension, dict[Key, int]] = {
        Dimension.GATEWAY: {("sms",): 3, ("wa",): 1},
        Dimension.CHANNEL: {("SMS",): 3, ("WHATSAPP",): 1},
        Dimension.PROVIDER: {("other",): 1, ("revicom",): 3},
        Dimension.SENDER: {("Amazing",): 4},
        Dimension.HOUR: {(hour,): 2, (hour + 1,): 1, (hour + 12,): 1},
        Dimension.DAY: {(day,): 3, (day + 1,): 1},
        Dimension.MINUTE: {
            (hour * 60,): 1,
            (hour * 60 + 59,): 1,
            (hour * 60 + 60,): 1,
            (hour * 60 + 720,): 1,
        },
        Dimension.ERROR: {("",): 4},
    }
    for dimension, counts in expected.items():
        groups, total = await compute(store, dimension)
        assert {key: figures.messages for key, figures in groups.items()} == counts, dimension
        assert list(groups) == sorted(groups)
        assert total.messages == 4
    groups, _ = await compute(store, Dimension.DAY, Dimension.GATEWAY)
    assert {key: figures.messages for key, figures in groups.items()} == {
        (day, "sms"): 2,
        (day, "wa"): 1,
        (day + 1, "sms"): 1,
    }


async def test_all_dimensions_at_once(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """A message with everything stays one group under all the dimensions together."""
    message_id = await add_message(at=NOON)
    await happen(message_id, State.DELIVERED, at=NOON + 1_000)
    await charge(store, message_id, ("0.05", "EUR"), ("0.06", "USD"))
    groups, total = await compute(store, *Dimension)
    minute, hour, day = NOON // MINUTE, NOON // HOUR, NOON // DAY
    assert list(groups) == [("sms", "SMS", "revicom", "Amazing", minute, hour, day, "")]
    assert list(groups.values()) == [total]


async def test_errors(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """An error is that of a message which failed or was rejected; what arrived after all has none."""
    codes = {State.FAILED: "508", State.REJECTED: "453", State.DELIVERED: "508"}
    for state, code in codes.items():
        message_id = await add_message(at=NOON)
        await store.write(partial(note_error, message_id=message_id, code=code))
        await happen(message_id, state, at=NOON + 1_000)
    groups, _ = await compute(store, Dimension.ERROR)
    assert {key: figures.messages for key, figures in groups.items()} == {("",): 1, ("453",): 1, ("508",): 1}
    assert groups[("508",)].states["failed"] == groups[("453",)].states["rejected"] == 1


async def note_error(tx: Tx, message_id: MessageId, code: str) -> None:
    await tx.select("UPDATE messages SET error_code = ? WHERE id = ? RETURNING 1", [code, message_id])


async def test_regrouped(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """What was counted by several dimensions says by some of them just what counting by those alone says."""
    for number, gateway in enumerate(("sms", "wa", "sms", "sms")):
        message_id = await add_message(at=NOON + number * HOUR, gateway=gateway)
        await happen(message_id, State.DELIVERED, at=NOON + number * HOUR + 1_000 * (number + 1))
        await charge(store, message_id, (f"0.{number + 1}", "EUR"))
    groups, total = await compute(store, Dimension.GATEWAY, Dimension.HOUR, Dimension.CHANNEL)
    assert regrouped(groups, [0]) == (await compute(store, Dimension.GATEWAY))[0]
    assert regrouped(groups, [2, 0]) == (await compute(store, Dimension.CHANNEL, Dimension.GATEWAY))[0]
    assert regrouped(groups, []) == {(): total}


async def test_too_many_groups(
    store: Store, add_message: AddMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than one answer may be made of are refused, not cut off."""
    for number in range(4):
        await add_message(at=NOON + number * HOUR)
    monkeypatch.setattr(stats, "_MOST_ROWS", 4)
    assert len((await compute(store, Dimension.HOUR))[0]) == 4
    monkeypatch.setattr(stats, "_MOST_ROWS", 3)
    with pytest.raises(TooManyRows):
        await compute(store, Dimension.HOUR)


async def test_what_is_pruned_is_gone(store: Store, add_message: AddMessage) -> None:
    """A deleted message counts nowhere any more."""
    gone = await add_message(at=NOON)
    await add_message(at=NOON)
    await store.write(partial(_delete, message_id=gone))
    assert (await total_of(store)).messages == 1


async def _delete(tx: Tx, message_id: MessageId) -> None:
    await tx.any_of("prune_messages", [message_id])


# --- times ---


async def test_times_to_delivery(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Quantiles are within the width of a bucket of the true ones, and never beyond the quickest and the slowest."""
    delays = [100 * number for number in range(1, 101)]
    for delay in delays:
        await happen(await add_message(at=NOON), State.DELIVERED, at=NOON + delay)
    await add_message(at=NOON)
    total = await total_of(store)
    assert sum(total.times.values()) == 100
    for share in (0.01, 0.1, 0.5, 0.9, 0.99, 1.0):
        exact, found = share * 10_000, quantile(total, share)
        assert found is not None
        assert exact / 1.32 <= found <= exact * 1.32, share
    assert (total.quickest, total.slowest) == (100, 10_000)
    assert quantile(total, 0.0) == 100
    assert quantile(total, 1.0) == 10_000


@pytest.mark.parametrize("delay", [0, 1, BOUNDS[0], BOUNDS[20] - 1, BOUNDS[20], BOUNDS[-1], 10**11])
async def test_one_time_is_exact(store: Store, add_message: AddMessage, happen: Happen, delay: int) -> None:
    """Where all needed the same time every quantile is that time, in any bucket and beyond the last."""
    await happen(await add_message(at=NOON), State.DELIVERED, at=NOON + delay)
    total = await total_of(store)
    assert [quantile(total, share) for share in (0.5, 0.9, 0.99)] == [delay] * 3


def test_each_time_has_its_bucket() -> None:
    """Bounds rise, by no more than a third each, from 50 ms to 17 days."""
    assert all(low < high <= low * 1.34 for low, high in pairwise(BOUNDS))
    assert (BOUNDS[0], BOUNDS[-1] // DAY) == (50, 16)
    assert len(BOUNDS) == 63


# --- money ---


async def test_money_is_exact(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Prices are summed to the last digit, by currency, also those that no float holds and very long ones."""
    for _ in range(10):
        await charge(store, await add_message(at=NOON), ("0.1", "EUR"))
    await charge(store, await add_message(at=NOON), ("0.000000000000000000000000000000000000000001", "EUR"))
    await charge(store, await add_message(at=NOON), ("123456789012345678901234567890.5", "USD"), parts=3)
    delivered = await add_message(at=NOON)
    await happen(delivered, State.DELIVERED, at=NOON)
    await charge(store, delivered, ("0.20", "EUR"))
    total = await total_of(store)
    assert {currency: format(cost.amount, "f") for currency, cost in total.costs.items()} == {
        "EUR": "1.200000000000000000000000000000000000000001",
        "USD": "123456789012345678901234567890.5",
    }
    assert total.parts == 15
    assert total.costs["EUR"].delivered == 1
    assert total.costs["EUR"].per_delivered() == Decimal("1.200000")
    assert total.costs["USD"].per_delivered() is None


async def test_the_cost_of_a_delivered_message(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """What failed costs as well; what has no price yet makes the others no cheaper; thirds are rounded."""
    for state in (State.DELIVERED, State.DELIVERED, State.READ, State.FAILED):
        message_id = await add_message(at=NOON)
        await happen(message_id, state, at=NOON)
        await charge(store, message_id, ("0.05", "EUR"))
    await happen(await add_message(at=NOON), State.DELIVERED, at=NOON)
    cost = (await total_of(store)).costs["EUR"]
    assert (cost.amount, cost.delivered, cost.per_delivered()) == (Decimal("0.20"), 3, Decimal("0.066667"))


async def test_a_cascade_in_one_currency(store: Store, add_message: AddMessage) -> None:
    """Its steps count once, as their sum."""
    await charge(store, await add_message(at=NOON), ("0.05", "EUR"), ("0.07", "EUR"))
    total = await total_of(store)
    assert (total.costs["EUR"].amount, total.parts) == (Decimal("0.12"), 2)


async def test_a_cascade_in_several_currencies(
    store: Store, add_message: AddMessage, happen: Happen, select: Select
) -> None:
    """Its message has no sum, and yet each currency gets what it was charged, by group too, delivered once each."""
    mixed = await add_message(at=NOON)
    await happen(mixed, State.DELIVERED, at=NOON)
    await charge(store, mixed, ("0.05", "EUR"), ("0.07", "USD"), ("0.01", "EUR"))
    await charge(store, await add_message(at=NOON, gateway="wa"), ("1", "EUR"))
    assert await select("SELECT price FROM messages WHERE id = ?", mixed) == [(None,)]
    groups, total = await compute(store, Dimension.GATEWAY)
    sms = {currency: (cost.amount, cost.delivered) for currency, cost in groups["sms",].costs.items()}
    assert sms == {"EUR": (Decimal("0.06"), 1), "USD": (Decimal("0.07"), 1)}
    assert total.costs["EUR"].amount == Decimal("1.06")
    assert total.parts == 4


# --- bounds ---


def test_ids_bound_a_time() -> None:
    """Bounds outside of what an id can hold are moved into it."""
    assert first_id(-1) == first_id(0) < first_id(NOON) < first_id(1 << 60)
