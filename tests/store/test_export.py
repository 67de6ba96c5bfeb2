"""Exports read everything once, in order, within their bounds; nothing personal is in it, and money is exact."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.core.model import DeliveryReport, MessageId, Price, State, id_text
from bridge.core.moments import format_time
from bridge.flows.exporting import COLUMNS, What, read_parts
from bridge.store import export, inbox, messages
from bridge.store.export import Span
from bridge.store.inbox import Arrived, Understood
from bridge.store.sqlite import open_store
from bridge.store.tx import Row, Store, Tx

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen, Select

NOW = 1_795_234_921_250
DAY = 86_400_000
MIDNIGHT = NOW // DAY * DAY
PHONE = "+447700900123"
EMAIL = "jane.doe@example.com"
ALL = Span()


async def read(store: Store, what: What, span: Span = ALL, size: int = 3) -> list[Row]:
    """All rows of an export."""
    return [row async for part in read_parts(store, what, span, size) for row in part.rows]


async def tell(store: Store, message_id: MessageId, number: int, report: DeliveryReport) -> None:
    """A callback about a message."""
    arrived = Arrived("revicom", number, 0, NOW + number, b"{}", number.to_bytes(16, "big"))

    async def job(tx: Tx) -> None:
        await inbox.put_callbacks(tx, [Understood(message_id, arrived, report, "applied")])

    await store.write(job)


async def bill(
    store: Store, message_id: MessageId, amount: str, currency: str = "EUR", step: int = 1
) -> None:
    """A price of a message, under a provider id of its own."""
    provider_id = f"{message_id.hex()}-{step}"

    async def job(tx: Tx) -> None:
        (message,) = (await messages.load_messages(tx, [message_id])).values()
        await messages.add_provider_id(tx, message, provider_id, step)
        await messages.set_price(tx, message, provider_id, Price(Decimal(amount), currency, 2, NOW), NOW)

    await store.write(job)


async def change(store: Store, sql: str, *values: object) -> None:
    """Changes rows by hand, where the way through the flows would be long."""

    async def job(tx: Tx) -> None:
        await tx.select(sql, values)

    await store.write(job)


@pytest.mark.parametrize("what", What)
async def test_an_empty_database_has_no_rows(store: Store, what: What) -> None:
    """Nothing there is nothing exported, and no error."""
    assert await read(store, what) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_every_page_size_gives_what_the_views_show(
    store: Store, add_message: AddMessage, happen: Happen, select: Select, size: int
) -> None:
    """Wherever a page ends, every row comes once, oldest message first, with the values of its view."""
    for number in range(7):
        message_id = await add_message(at=NOW + number // 2)  # some share a millisecond
        await happen(message_id, State.SUBMITTED, State.FAILED, State.DELIVERED, at=NOW + 60_000 + number)
        for each in range(2):
            code = "508" if number == each else None
            event = DeliveryReport(f"a-{number}", "delivered", "delivered", at=NOW, error_code=code)
            await tell(store, message_id, number * 2 + each, event)
    await store.write(lambda tx: tx.run("add_error_text", provider="revicom", code="508", text="absent"))
    orders = {
        What.MESSAGES: "ext_message_id",
        What.REPORTS: "ext_message_id, status",
        What.CALLBACKS: "ext_message_id, received_at",
    }
    for what, order in orders.items():
        columns = ", ".join(COLUMNS[what])
        shown = await select(f"SELECT {columns} FROM v_{what} ORDER BY {order}")
        assert len(shown) == (7 if what is What.MESSAGES else 14)
        assert await read(store, what, size=size) == shown


async def test_the_columns_are_those_of_the_views(store: Store, select: Select) -> None:
    """A column that a view gains is not forgotten here."""
    for what in (What.MESSAGES, What.REPORTS, What.CALLBACKS):
        await select(f"SELECT {', '.join(COLUMNS[what])} FROM v_{what}")
    if store.lease_seconds is None:
        for what in (What.MESSAGES, What.REPORTS, What.CALLBACKS):
            names = [row[1] for row in await select(f"PRAGMA table_info(v_{what})")]
            assert tuple(names) == COLUMNS[what]


async def test_since_is_within_and_until_is_not(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """A bound is the time at which the message was accepted, to the millisecond, whatever happened to it when."""
    ids = [await add_message(at=NOW + number) for number in range(4)]
    for number, message_id in enumerate(ids):
        await happen(message_id, State.SUBMITTED, State.FAILED, at=NOW + DAY)
        await tell(store, message_id, number, DeliveryReport("a", "delivered", "undelivered", at=NOW))
        await bill(store, message_id, "0.1")
    middle = [id_text(each) for each in ids[1:3]]
    span = Span(NOW + 1, NOW + 3)
    for what in (What.MESSAGES, What.REPORTS, What.CALLBACKS):
        assert sorted({row[0] for row in await read(store, what, span, 1)}) == middle
        assert {row[0] for row in await read(store, what, Span(NOW + 3))} == {id_text(ids[3])}
        assert {row[0] for row in await read(store, what, Span(until=NOW + 1))} == {id_text(ids[0])}
        assert await read(store, what, Span(NOW + 4)) == await read(store, what, Span(NOW, NOW)) == []
    ((*_, messages_, parts, cost, _, _),) = await read(store, What.COSTS, span, 1)
    assert (messages_, parts, cost) == (2, 4, "0.2")


async def test_nobody_is_in_it(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """No number, mail address, text or callback address, even where a peer or an operator's id repeats one."""
    for number, user in enumerate((PHONE, EMAIL, "player-7")):
        message_id = await add_message(user=user, at=NOW + number)
        await happen(message_id, State.SUBMITTED, State.FAILED)
        link = f"https://shop.example/{EMAIL.replace('@', '%40')}/x?to={PHONE}&mail={EMAIL}"
        event = DeliveryReport("a", "click", "clicked", at=NOW, error_code="9", link=link)
        await tell(store, message_id, number, event)
        await bill(store, message_id, "0.1")
    error = f"no route to {PHONE}, <{EMAIL}> or 0044 7700 900123"
    await change(store, "UPDATE messages SET error_text = ?", error)
    await change(store, "UPDATE reports SET last_error = ?", error)
    await store.write(lambda tx: tx.run("add_error_text", provider="revicom", code="9", text=error))
    shown = {what: repr(await read(store, what)) for what in What}
    for text in ("900123", "7700", "jane", "doe", "4711", "Hello", "9f3c", "api.smartico"):
        assert not [what for what in What if text in shown[what]], text
    assert "'+44•••••0123'" in shown[What.MESSAGES]
    assert "'j•••••@example.com'" in shown[What.MESSAGES]
    assert "'player-7'" in shown[What.MESSAGES]
    assert "'https://shop.example/•••/x'" in shown[What.CALLBACKS]


async def test_a_nul_leaves_no_database(store: Store, add_message: AddMessage) -> None:
    """SQLite keeps a NUL, PostgreSQL does not; a file for others has none from either."""
    await add_message(uid="a\0b", user="c\0d")
    ((*_, uid, user), *_) = [row[:9] for row in await read(store, What.MESSAGES)]
    assert (uid, user) == ("a\ufffdb", "c\ufffdd")


async def test_costs_are_exact(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """By day, gateway, sender and currency; a cascade is one message, what has no price is not counted."""
    for at, amounts, state in (
        (MIDNIGHT - 1, ["0.1", "0.2"], State.DELIVERED),  # two steps, the day before
        (MIDNIGHT, ["0.1"], State.DELIVERED),
        (MIDNIGHT + 1, ["0.2"], State.READ),
        (MIDNIGHT + 2, ["0.0000000000000000000000000001"], State.DELIVERED),
        (MIDNIGHT + 3, ["123456789012345678901234567890"], State.FAILED),
        (MIDNIGHT + 4, [], State.DELIVERED),
    ):
        message_id = await add_message(at=at)
        for step, amount in enumerate(amounts, 1):
            await bill(store, message_id, amount, step=step)
        await happen(message_id, State.SUBMITTED, state)
    await bill(store, await add_message(at=MIDNIGHT + 5), "1", "USD")
    for size in (1, 2, 100):
        assert await read(store, What.COSTS, size=size) == [
            (format_time(MIDNIGHT - 1)[:10], "sms", "Amazing", "EUR", 1, 4, "0.3", 1, "0.300000"),
            (
                format_time(MIDNIGHT)[:10], "sms", "Amazing", "EUR", 4, 8,
                "123456789012345678901234567890.3000000000000000000000000001", 3,
                "41152263004115226300411522630.100000",
            ),
            (format_time(MIDNIGHT)[:10], "sms", "Amazing", "USD", 1, 2, "1", 0, None),
        ]  # fmt: skip


async def test_no_transaction_stays_open_between_pages(store: Store, add_message: AddMessage) -> None:
    """While an export is under way others write, and what they add behind it is still met."""
    first = await add_message()
    parts = read_parts(store, What.MESSAGES, ALL, 1)
    assert [row[0] for row in (await anext(parts)).rows] == [id_text(first)]
    second = await add_message(at=NOW + 1)
    assert [row[0] for row in (await anext(parts)).rows] == [id_text(second)]
    await change(store, "DELETE FROM messages")
    assert [part.rows async for part in parts] == [[]]


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        (export._MESSAGES, (b"", b"", 1)),
        (export._REPORTS, (b"", "", b"", 1)),
        (export._CALLBACKS, (b"", b"", b"", 1)),
        (export._PRICES, (b"", b"", 1)),
    ],
    ids=["messages", "reports", "callbacks", "costs"],
)
async def test_a_page_is_found_by_its_key(tmp_path: Path, sql: str, values: Row) -> None:
    """SQLite seeks the first row of a page, and reads no table from its beginning."""
    store = open_store(tmp_path / "bridge.db", "")
    plan = await store.read(partial(_explain, sql=f"EXPLAIN QUERY PLAN {sql}", values=values))
    await store.close()
    scanned = {step.split()[1] for step in plan if step.startswith("SCAN")}
    assert scanned <= {step.split()[1] for step in plan if step.startswith("CO-ROUTINE")}  # the page itself
    assert any(step.startswith("SEARCH") and "PRIMARY KEY" in step and "<?" in step for step in plan)


async def _explain(tx: Tx, sql: str, values: Row) -> list[str]:
    return [row[3] for row in await tx.select(sql, values)]
