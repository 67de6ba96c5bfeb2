"""The outbox of status reports: of one message one after the other, whatever dies, returns or comes late."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.core.lifecycle import Transition
from bridge.core.model import Mark, MessageId, State, Status
from bridge.store import reports
from bridge.store.reports import DueReport, Settlement
from bridge.store.saving import save_transition
from bridge.store.tx import Store

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen, Select

NOW = 1_795_234_921_250
LANE = "sms@api.smartico.ai"
URL = "https://api.smartico.ai/status/9f3c?brand=7"


def settlement(message_id: MessageId, status: Status, state: str, **values: Any) -> Settlement:
    """What an attempt came to; one that failed for the first time, where nothing else is said."""
    usual: dict[str, Any] = {
        "due_at": NOW + 5000 if state == "pending" else None,
        "attempts": 1,
        "retries": 0 if state == "done" else 1,
        "refusals": 0,
        "not_founds": 0,
        "latency_ms": 12 if state == "done" else None,
        "last_error": None if state == "done" else "503",
    }
    return Settlement(message_id, status, state, **{**usual, **values})


async def settle(store: Store, *settlements: Settlement, now: int = NOW) -> None:
    await store.write(lambda tx: reports.settle(tx, settlements, now))


async def revive(store: Store, *keys: tuple[MessageId, Status], now: int = NOW) -> int:
    return await store.write(lambda tx: reports.revive(tx, keys, now))


async def due(store: Store, *, now: int = 10**15, lane: str = LANE, limit: int = 100) -> list[DueReport]:
    """What is due, whoever has it, and since when."""
    found = await store.read(lambda tx: reports.due_reports(tx, lane, now, limit))
    return [replace(each, since=0.0) for each in found]


async def next_due(store: Store, lane: str, *, after: int = 0) -> int | None:
    return await store.read(lambda tx: reports.next_due(tx, lane, after))


async def statuses(store: Store, *, now: int = 10**15) -> list[str]:
    return [str(report.status) for report in await due(store, now=now)]


async def test_a_report_carries_what_it_needs(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """A due report names the gateway, the type and the callback URL of its message, in the clear."""
    message_id = await add_message()
    await happen(message_id, State.DELIVERED)
    assert await due(store) == [
        DueReport(message_id, Status.DELIVERED, 0, NOW, NOW, 0, 0, 0, 0, LANE, "sms", "sms", URL)
    ]
    assert URL not in repr(await due(store))


async def test_none_leaves_before_the_send_has_settled(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """A report waits for the moment that the flow names, if that is later than now."""
    early, late = await add_message(), await add_message()
    await happen(early, State.DELIVERED, at=NOW, settled_at=NOW + 1000)
    await happen(late, State.DELIVERED, at=NOW + 5000, settled_at=NOW + 1000)
    assert [report.due_at for report in await due(store)] == [NOW + 1000, NOW + 5000]
    assert await due(store, now=NOW + 999) == []


async def test_one_after_the_other(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Reports of one message are due one at a time, in the order in which they became owed."""
    message_id = await add_message()
    await happen(message_id, State.SENT, State.READ, Mark.CLICKED, Mark.UNSUBSCRIBED)
    order = []
    while batch := await due(store):
        (report,) = batch
        order.append(report.status)
        await settle(store, settlement(message_id, report.status, "done"))
    assert order == ["accepted", "delivered", "opened", "clicked", "unsubscribed"]


async def test_a_late_report_waits_for_the_one_under_way(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """What becomes owed while an earlier report waits for its next try does not overtake it."""
    message_id = await add_message()
    await happen(message_id, State.SENT)
    await settle(store, settlement(message_id, Status.ACCEPTED, "pending"))
    await happen(message_id, State.DELIVERED, at=NOW + 100)
    assert await due(store, now=NOW + 4999) == []
    assert await statuses(store, now=NOW + 5000) == ["accepted"]
    await settle(store, settlement(message_id, Status.ACCEPTED, "done"), now=NOW + 5001)
    assert [(report.status, report.due_at) for report in await due(store)] == [("delivered", NOW + 5001)]


async def test_a_dead_report_blocks_nothing(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """When a report dies the next one of its message goes at once; when all are dead none is left."""
    message_id = await add_message()
    await happen(message_id, State.SENT, State.READ)
    await settle(store, settlement(message_id, Status.ACCEPTED, "dead"))
    assert await statuses(store) == ["delivered"]
    await settle(store, settlement(message_id, Status.DELIVERED, "dead"))
    assert await statuses(store) == ["opened"]
    await settle(store, settlement(message_id, Status.OPENED, "dead"))
    assert await statuses(store) == []


async def test_messages_do_not_wait_for_each_other(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """A message whose report waits holds up no other message."""
    waiting, other = await add_message(), await add_message()
    await happen(waiting, State.SENT, State.DELIVERED)
    await happen(other, State.SENT, State.DELIVERED)
    await settle(
        store,
        settlement(waiting, Status.ACCEPTED, "pending", due_at=NOW + 10**9),
        settlement(other, Status.ACCEPTED, "done"),
    )
    assert [(report.message_id, report.status) for report in await due(store, now=NOW + 5)] == [
        (other, "delivered")
    ]


async def test_what_an_attempt_leaves(
    store: Store, add_message: AddMessage, happen: Happen, select: Select
) -> None:
    """Counts, the last error, the latency and the end of a report are kept; attempts add up."""
    message_id = await add_message()
    await happen(message_id, State.DELIVERED)
    for attempts in (1, 0, 1):
        await store.claim(lambda tx: reports.due_reports(tx, LANE, 10**15, 1))  # who postpones it has it
        retry = settlement(
            message_id, Status.DELIVERED, "pending", attempts=attempts, retries=3, refusals=2, not_founds=1
        )
        await settle(store, retry)
    (report,) = await due(store)
    assert (report.attempts, report.retries, report.refusals, report.not_founds) == (2, 3, 2, 1)
    await settle(store, settlement(message_id, Status.DELIVERED, "done"), now=NOW + 7)
    rows = await select("SELECT state, attempts, due_at, finished_at, latency_ms, last_error FROM reports")
    assert rows == [("done", 3, None, NOW + 7, 12, None)]


async def test_a_settlement_that_comes_again(
    store: Store, add_message: AddMessage, happen: Happen, select: Select
) -> None:
    """What is finished stays finished: a late outcome neither brings it back nor counts."""
    message_id = await add_message()
    await happen(message_id, State.DELIVERED)
    await settle(store, settlement(message_id, Status.DELIVERED, "done"), now=NOW + 7)
    await settle(store, settlement(message_id, Status.DELIVERED, "pending"))
    await settle(store, settlement(message_id, Status.DELIVERED, "dead"))
    assert await select("SELECT state, attempts, finished_at FROM reports") == [("done", 1, NOW + 7)]


async def test_several_reports_of_a_message_settled_at_once(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """Two finished reports of one message in one write let one next report go, not two."""
    message_id = await add_message()
    await happen(message_id, State.SENT, State.READ, Mark.CLICKED)
    await settle(
        store,
        settlement(message_id, Status.ACCEPTED, "dead", attempts=0),
        settlement(message_id, Status.DELIVERED, "dead", attempts=0),
    )
    assert await statuses(store) == ["opened"]


# --- replays ---


async def test_a_revived_report_goes_again(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """A dead report becomes due at once, owed from now on, its counts forgotten, its attempts kept."""
    message_id = await add_message()
    await happen(message_id, State.DELIVERED)
    await settle(
        store, settlement(message_id, Status.DELIVERED, "dead", retries=10, refusals=2, not_founds=7)
    )
    assert await revive(store, (message_id, Status.DELIVERED), now=NOW + 10**8) == 1
    (report,) = await due(store)
    assert (report.due_at, report.owed_at, report.attempts) == (NOW + 10**8, NOW + 10**8, 1)
    assert (report.retries, report.refusals, report.not_founds) == (0, 0, 0)


async def test_only_dead_reports_are_revived(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """A report that is done, pending, or not there at all is left as it is, and not counted."""
    message_id, other = await add_message(), await add_message()
    await happen(message_id, State.SENT, State.DELIVERED)
    await settle(store, settlement(message_id, Status.ACCEPTED, "done"))
    before = await due(store)
    keys = [(message_id, Status.ACCEPTED), (message_id, Status.DELIVERED), (other, Status.FAILED)]
    assert await revive(store, *keys, now=NOW + 5) == 0
    assert await due(store) == before


async def test_revived_reports_keep_their_order(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """Reports revived in any order go out in the order in which they were owed, one after the other."""
    message_id = await add_message()
    await happen(message_id, State.SENT, State.READ)
    for status in (Status.ACCEPTED, Status.DELIVERED, Status.OPENED):
        await settle(store, settlement(message_id, status, "dead"))
    keys = [(message_id, status) for status in (Status.OPENED, Status.ACCEPTED, Status.DELIVERED)]
    assert await revive(store, *keys) == 3
    order = []
    while batch := await due(store):
        (report,) = batch
        order.append(report.status)
        await settle(store, settlement(message_id, report.status, "done"))
    assert order == ["accepted", "delivered", "opened"]


async def test_a_revived_report_waits_for_the_one_under_way(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """An earlier report that is revived while a later one is under way goes after that, not beside it."""
    message_id = await add_message()
    await happen(message_id, State.SENT, State.DELIVERED)
    await settle(store, settlement(message_id, Status.ACCEPTED, "dead"))
    await revive(store, (message_id, Status.ACCEPTED))
    assert await statuses(store) == ["delivered"]
    await settle(store, settlement(message_id, Status.DELIVERED, "done"))
    assert await statuses(store) == ["accepted"]


@pytest.mark.parametrize("pii_key", [""], ids=["plain"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.sampled_from([State.SENT, State.DELIVERED, State.READ, State.FAILED, *Mark]),
            st.tuples(st.sampled_from(["done", "dead", "pending", "revive"]), st.sampled_from(list(Status))),
        ),
        max_size=25,
    )
)
async def test_at_most_one_report_of_a_message_is_due(
    store: Store,
    add_message: AddMessage,
    happen: Happen,
    select: Select,
    events: list[State | Mark | tuple[str, Status]],
) -> None:
    """Whatever happens, dies and is revived: while a report of a message is pending exactly one of it has a time."""
    message_id = await add_message()
    for event in events:
        if not isinstance(event, tuple):
            await happen(message_id, event)
        elif event[0] == "revive":
            await revive(store, (message_id, event[1]))
        else:
            pending = {report.status for report in await due(store) if report.message_id == message_id}
            if event[1] in pending:
                await settle(store, settlement(message_id, event[1], event[0]))
        rows = await select(
            "SELECT count(*), count(due_at) FROM reports WHERE message_id = ? AND state = 'pending'",
            message_id,
        )
        assert rows[0][1] == min(1, rows[0][0])


# --- lanes ---


async def test_lanes(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Every lane with a report to send, now or later, is named once; one with nothing to send is not."""
    assert await store.read(reports.lanes) == []
    done, waiting = await add_message(gateway="a"), await add_message(gateway="b")
    for message_id in (done, waiting):
        await happen(message_id, State.SENT, State.DELIVERED)
    assert await store.read(reports.lanes) == [LANE]
    await settle(store, settlement(waiting, Status.ACCEPTED, "pending", due_at=NOW + 10**9))
    for status in (Status.ACCEPTED, Status.DELIVERED):
        await settle(store, settlement(done, status, "done"))
    assert await store.read(reports.lanes) == [LANE]
    for status in (Status.ACCEPTED, Status.DELIVERED):
        await settle(store, settlement(waiting, status, "dead"))
    assert await store.read(reports.lanes) == []


async def test_each_lane_by_itself(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Reports of other lanes are neither due in this one nor its next; all lanes are found, however many reports."""
    first = await happen(await add_message(), State.DELIVERED)
    for number in range(3):
        other = replace(first, id=await add_message(), lane=f"z{number}@example.com")
        owed = Transition(first.snapshot, (Status.DELIVERED,))
        await store.write(
            partial(save_transition, message=other, transition=owed, now=NOW + 5 + number, settled_at=0)
        )
    assert await store.read(reports.lanes) == [LANE, "z0@example.com", "z1@example.com", "z2@example.com"]
    assert [report.message_id for report in await due(store)] == [first.id]
    assert await next_due(store, LANE) == NOW
    assert await next_due(store, "z1@example.com") == NOW + 6
    assert await next_due(store, "nowhere") is None


async def test_when_the_next_is_due(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """The next report of a lane is the first of those that are not due yet: what is due is under way already."""
    for at in (NOW, NOW + 5, NOW + 9):
        await happen(await add_message(), State.SENT, State.DELIVERED, at=at)
    assert await next_due(store, LANE, after=NOW - 1) == NOW
    assert await next_due(store, LANE, after=NOW) == NOW + 5
    assert await next_due(store, LANE, after=NOW + 9) is None


async def test_the_longest_due_first(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Due reports come in the order of their time, up to the limit."""
    ids = [await add_message() for _ in range(4)]
    for number, at in enumerate((NOW + 3, NOW + 1, NOW + 4, NOW + 2)):
        await happen(ids[number], State.DELIVERED, at=at)
    assert [report.message_id for report in await due(store, limit=3)] == [ids[1], ids[3], ids[0]]


async def test_reports_that_grew_too_old(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Old reports are found by the time since when they are owed, and only the one of a message that is its turn."""
    message_id = await add_message()
    await happen(message_id, State.SENT, State.DELIVERED)

    async def aged(until: int) -> list[tuple[Any, ...]]:
        return await store.read(lambda tx: tx.all("aged_reports", until=until, limit=10))

    assert await aged(NOW - 1) == []
    assert await aged(NOW) == [(message_id, "accepted", LANE)]
    await settle(store, settlement(message_id, Status.ACCEPTED, "dead", attempts=0))
    assert await aged(NOW) == [(message_id, "delivered", LANE)]
    await settle(store, settlement(message_id, Status.DELIVERED, "dead", attempts=0))
    assert await aged(NOW) == []
