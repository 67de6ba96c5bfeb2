"""Writing what the lifecycle decided: many transitions of many messages in one transaction, and what is due of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bridge.core.lifecycle import Happening, advance
from bridge.core.model import Mark, MessageId, State
from bridge.store import messages, reports
from bridge.store.messages import MessageView
from bridge.store.reports import DueReport, Settlement
from bridge.store.saving import Saving
from bridge.store.tx import Store, Tx
from bridge.tables import load_vocabulary

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Select

NOW = 1_795_234_921_250
LANE = "sms@api.smartico.ai"
WORDS = load_vocabulary(None)
History = Sequence[tuple[MessageId, Happening]]


async def save(store: Store, history: History, *, now: int = NOW, settle_ms: int = 0) -> list[DueReport]:
    """All of it in one transaction."""

    async def job(tx: Tx) -> list[DueReport]:
        views = await messages.load_messages(tx, [message_id for message_id, _ in history])
        saving = Saving(tx, now, settle_ms)
        for message_id, happening in history:
            transition = advance(views[message_id].snapshot, happening, WORDS)
            views[message_id] = saving.add(views[message_id], transition)
        return await saving.write()

    return without_lease(await store.write(job))


def without_lease(due: list[DueReport]) -> list[DueReport]:
    """Reports as they are whoever has them, and since when."""
    return [replace(each, since=0.0) for each in due]


async def load(store: Store, message_id: MessageId) -> MessageView:
    return (await store.read(lambda tx: messages.load_messages(tx, [message_id])))[message_id]


async def stored(store: Store, *, now: int = 10**15) -> list[DueReport]:
    return without_lease(await store.read(lambda tx: reports.due_reports(tx, LANE, now, 100)))


async def finish(store: Store, due: DueReport, state: str = "done", now: int = NOW) -> None:
    end = Settlement(due.message_id, due.status, state, None, 1, 0, 0, 0, 5, None)
    await store.write(lambda tx: reports.settle(tx, [end], now))


async def test_several_transitions_of_one_message(
    store: Store, add_message: AddMessage, select: Select
) -> None:
    """Their reports are numbered in the order in which they were owed, and only the first of them is due."""
    message_id = await add_message()
    due = await save(
        store, [(message_id, State.SENT), (message_id, State.READ), (message_id, Mark.CLICKED)], now=NOW + 7
    )
    rows = await select("SELECT status, seq, due_at, owed_at, state FROM reports ORDER BY seq")
    assert rows == [
        ("accepted", 0, NOW + 7, NOW + 7, "pending"),
        ("delivered", 1, None, NOW + 7, "pending"),
        ("opened", 2, None, NOW + 7, "pending"),
        ("clicked", 3, None, NOW + 7, "pending"),
    ]
    assert [(each.status, each.seq) for each in due] == [("accepted", 0)]
    view = await load(store, message_id)
    assert (view.snapshot.state, view.snapshot.marks, view.delivered_at) == (
        State.READ,
        frozenset({Mark.CLICKED}),
        NOW + 7,
    )


async def test_what_is_given_is_what_is_stored(store: Store, add_message: AddMessage) -> None:
    """A report that is handed over in memory is field for field the one that the store would give."""
    ids = [await add_message() for _ in range(3)]
    due = await save(store, [(each, State.DELIVERED) for each in ids], settle_ms=1000)
    found = await stored(store)
    assert sorted(due, key=lambda each: each.message_id) == sorted(found, key=lambda each: each.message_id)
    assert [each.due_at for each in due] == [NOW + 1000] * 3
    assert due[0].callback_url.startswith("https://api.smartico.ai/")


async def test_messages_are_kept_apart(store: Store, add_message: AddMessage, select: Select) -> None:
    """The transitions of two messages, in turns, give each of them its own numbers and its own due report."""
    one, two = await add_message(), await add_message()
    due = await save(
        store, [(one, State.SENT), (two, State.DELIVERED), (one, State.FAILED), (two, State.READ)]
    )
    assert {(each.message_id, each.status) for each in due} == {(one, "accepted"), (two, "delivered")}
    rows = await select("SELECT status, seq FROM reports WHERE message_id = ? ORDER BY seq", one)
    assert rows == [("accepted", 0), ("failed", 1)]
    rows = await select("SELECT status, seq FROM reports WHERE message_id = ? ORDER BY seq", two)
    assert rows == [("delivered", 0), ("opened", 1)]
    assert ((await load(store, one)).snapshot.state, (await load(store, two)).snapshot.state) == (
        State.FAILED,
        State.READ,
    )


async def test_a_pending_report_is_waited_for(store: Store, add_message: AddMessage) -> None:
    """What a later transaction adds has no time of its own while an earlier report of the message is pending."""
    message_id = await add_message()
    (first,) = await save(store, [(message_id, State.SENT)])
    assert await save(store, [(message_id, State.DELIVERED)], now=NOW + 10) == []
    assert await stored(store) == [first]
    await finish(store, first, now=NOW + 20)
    (second,) = await stored(store)
    assert (second.status, second.seq, second.due_at, second.owed_at) == ("delivered", 1, NOW + 20, NOW + 10)


async def test_after_a_finished_report_the_next_is_due(store: Store, add_message: AddMessage) -> None:
    """With all earlier ones done or dead a new report is due itself, and its number goes on from theirs."""
    message_id = await add_message()
    (first,) = await save(store, [(message_id, State.SENT)])
    await finish(store, first)
    (second,) = await save(store, [(message_id, State.DELIVERED)], now=NOW + 10)
    await finish(store, second, "dead")
    (third,) = await save(store, [(message_id, State.READ), (message_id, Mark.CLICKED)], now=NOW + 20)
    assert [(each.status, each.seq, each.due_at) for each in (first, second, third)] == [
        ("accepted", 0, NOW),
        ("delivered", 1, NOW + 10),
        ("opened", 2, NOW + 20),
    ]


async def test_settle_time_is_kept(store: Store, add_message: AddMessage) -> None:
    """A report leaves no earlier than `settle_ms` after its message was accepted, and then no later than now."""
    young, old = await add_message(at=NOW - 200), await add_message(at=NOW - 60_000)
    due = await save(store, [(young, State.SENT), (old, State.SENT)], settle_ms=1000)
    assert {each.message_id: each.due_at for each in due} == {young: NOW + 800, old: NOW}
    assert [each.message_id for each in await stored(store, now=NOW + 799)] == [old]


async def test_a_transition_without_a_report(store: Store, add_message: AddMessage, select: Select) -> None:
    """What Smartico has no word for moves the message, and owes nothing."""
    message_id = await add_message()
    assert await save(store, [(message_id, State.SUBMITTED)], now=NOW + 3) == []
    assert (await load(store, message_id)).snapshot.state == State.SUBMITTED
    assert await select("SELECT updated_at FROM messages") == [(NOW + 3,)]
    assert await select("SELECT * FROM reports") == []


async def test_delivered_at_is_the_first_time(store: Store, add_message: AddMessage) -> None:
    """Reading a message that was delivered before does not move the time of its delivery."""
    message_id = await add_message()
    await save(store, [(message_id, State.DELIVERED)], now=NOW + 1)
    await save(store, [(message_id, State.READ)], now=NOW + 2)
    assert (await load(store, message_id)).delivered_at == NOW + 1


async def test_nothing_is_written_twice(store: Store, add_message: AddMessage, select: Select) -> None:
    """`write` empties the saving: written again it changes nothing, and takes further transitions."""
    message_id = await add_message()

    async def job(tx: Tx) -> list[list[DueReport]]:
        saving = Saving(tx, NOW, 0)
        view = (await messages.load_messages(tx, [message_id]))[message_id]
        view = saving.add(view, advance(view.snapshot, State.SENT, WORDS))
        written = [await saving.write(), await saving.write()]
        saving.add(view, advance(view.snapshot, State.DELIVERED, WORDS))
        return [*written, await saving.write()]

    first, again, later = await store.write(job)
    assert (len(first), again, later) == (1, [], [])
    rows = await select("SELECT status, seq, due_at FROM reports ORDER BY seq")
    assert rows == [("accepted", 0, NOW), ("delivered", 1, None)]


async def test_more_messages_than_one_statement_takes(
    store: Store, add_message: AddMessage, select: Select
) -> None:
    """Of 600 messages, half with a pending report already, each gets exactly one due report."""
    ids = [await add_message() for _ in range(600)]
    await save(store, [(each, State.SENT) for each in ids[::2]])
    due = await save(store, [(each, State.DELIVERED) for each in ids], now=NOW + 5)
    assert {each.message_id for each in due} == set(ids[1::2])
    assert await select("SELECT count(*), count(due_at) FROM reports") == [(900, 600)]
