"""The views for people and BI tools: they can be read, times are exact, and addresses are masked."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from bridge.core.model import DeliveryReport, Price, State, id_text
from bridge.core.moments import format_time
from bridge.store import inbox, messages
from bridge.store.inbox import Arrived, Understood
from bridge.store.tx import Store, Tx

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen, Select

NOW = 1_795_234_921_250
PHONE = "+447700900123"
VIEWS = ("v_messages", "v_reports", "v_callbacks", "v_costs")


async def test_the_views_of_an_empty_database(select: Select) -> None:
    """Every view can be read before anything is in it."""
    for view in VIEWS:
        assert await select(f"SELECT * FROM {view}") == []


async def test_what_the_views_show(
    store: Store, add_message: AddMessage, happen: Happen, select: Select
) -> None:
    """A message with a report, a callback and a price is in each view, under its ext_message_id, address masked."""
    message_id = await add_message()
    await happen(message_id, State.FAILED, at=NOW + 5)
    arrived = Arrived("revicom", 1, 0, NOW + 4, b"{}", b"d" * 16)
    report = DeliveryReport("a-1", "delivered", "undelivered", at=NOW + 3, error_code="508")

    async def job(tx: Tx) -> None:
        (message,) = (await messages.load_messages(tx, [message_id])).values()
        await messages.add_provider_id(tx, message, "a-1", 1)
        await messages.set_price(tx, message, "a-1", Price(Decimal("0.10"), "EUR", 2, NOW + 7), NOW + 8)
        await inbox.put_callbacks(tx, [Understood(message_id, arrived, report, "applied")])
        await tx.run("add_error_text", provider="revicom", code="508", text="absent subscriber")

    await store.write(job)
    who = id_text(message_id)
    assert await select(
        "SELECT ext_message_id, state, statuses_owed, address_masked, parts, price, currency, created_at, updated_at "
        "FROM v_messages"
    ) == [(who, "failed", "failed", "+44•••••0123", 2, "0.10", "EUR", format_time(NOW), format_time(NOW + 8))]
    assert await select(
        "SELECT ext_message_id, gateway, type, status, state, next_attempt_at, owed_at, finished_at FROM v_reports"
    ) == [(who, "sms", "sms", "failed", "pending", format_time(NOW + 5), format_time(NOW + 5), None)]
    assert await select(
        "SELECT ext_message_id, event, status, error_code, error_text, provider_time, received_at FROM v_callbacks"
    ) == [
        (
            who,
            "delivered",
            "undelivered",
            "508",
            "absent subscriber",
            format_time(NOW + 3),
            format_time(NOW + 4),
        )
    ]
    assert await select(
        "SELECT ext_message_id, provider_message_id, step, parts, price, currency, price_time FROM v_costs"
    ) == [(who, "a-1", 1, 2, "0.10", "EUR", format_time(NOW + 7))]
    for view in VIEWS:
        shown = repr(await select(f"SELECT * FROM {view}"))
        assert "900123" not in shown
        assert "9f3c" not in shown  # of the callback URL


async def test_a_callback_of_an_error_without_a_text(
    store: Store, add_message: AddMessage, select: Select
) -> None:
    """An error code that no table explains is shown without a text, and no row is lost."""
    message_id = await add_message()
    report = DeliveryReport("a-1", "delivered", "undelivered", error_code="6969")
    arrived = Arrived("revicom", 1, 0, NOW, b"{}", b"d" * 16)
    keep = partial(inbox.put_callbacks, understood=[Understood(message_id, arrived, report, "applied")])
    await store.write(keep)
    assert await select("SELECT error_code, error_text, provider_time FROM v_callbacks") == [
        ("6969", None, None)
    ]


async def test_a_cascade_has_a_row_for_each_cost(
    store: Store, add_message: AddMessage, select: Select
) -> None:
    """Costs are shown by step: each provider id with a price is one row, and those without have none."""
    message_id = await add_message()

    async def job(tx: Tx) -> None:
        (message,) = (await messages.load_messages(tx, [message_id])).values()
        for step, provider_id in enumerate(("a-1", "a-2", "a-3"), 1):
            await messages.add_provider_id(tx, message, provider_id, step)
        for provider_id, amount in (("a-1", "0.1"), ("a-3", "0.2")):
            await messages.set_price(tx, message, provider_id, Price(Decimal(amount), "EUR", 1, NOW), NOW)

    await store.write(job)
    assert await select("SELECT step, price FROM v_costs ORDER BY step") == [(1, "0.1"), (3, "0.2")]


async def test_times_are_exact_to_the_millisecond(
    store: Store, add_message: AddMessage, select: Select
) -> None:
    """A view shows every millisecond of a second as it is: nothing is rounded to the next or the last."""
    for millisecond in range(1000):
        await add_message(at=NOW - 250 + millisecond)
    shown = await select("SELECT created_at FROM v_messages ORDER BY ext_message_id")
    assert shown == [(format_time(NOW - 250 + millisecond),) for millisecond in range(1000)]
