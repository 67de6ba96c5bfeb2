"""Reports by the cause of their failure, and what waits and is dead in numbers: the same on every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.core.model import MessageId, State, Status
from bridge.flows import status
from bridge.store import forwards, inbox, reports, review
from bridge.store.reports import Settlement
from bridge.store.review import Kind, Member
from bridge.store.search import ReportCause, ReportFilter, find_report_keys, list_reports, report_causes
from bridge.store.tx import Store, Tx

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen

NOW = 1_795_234_921_250
SMS = "sms@api.smartico.ai"
LOCKED = "error_code 4: ••• is locked"


async def fail(store: Store, message_id: MessageId, error: str, state: str = "dead") -> None:
    """The report of a message fails; pending: it is due again in a minute."""
    due_at = NOW + 60_000 if state == "pending" else None
    failed = Settlement(message_id, Status.DELIVERED, state, due_at, 1, 1, 0, 0, None, error)
    await store.write(lambda tx: reports.settle(tx, [failed], NOW))


async def causes(store: Store, state: str = "dead", **values: object) -> list[ReportCause]:
    return await store.search(lambda tx: report_causes(tx, state, **values))  # type: ignore[arg-type]


async def test_reports_are_grouped_by_cause(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """What varies makes no groups; first and last time, count and a sample are right; what came last is first."""
    errors = ["HTTP 500", "error_code 4: 48213 is locked", "error_code 4: 99231 is locked", "HTTP 500"]
    for number, error in enumerate(errors):
        message_id = await add_message()
        await happen(message_id, State.DELIVERED, at=NOW + number)
        await fail(store, message_id, error)
    found = await causes(store)
    assert found == [
        ReportCause("HTTP 500", SMS, 2, NOW, NOW + 3, "HTTP 500"),
        ReportCause(LOCKED, SMS, 2, NOW + 1, NOW + 2, "error_code 4: 48213 is locked"),
    ]
    assert [each.count for each in await causes(store, since=NOW + 2)] == [1, 1]
    assert await causes(store, since=NOW + 4) == []


async def test_a_gateway_by_itself(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """A gateway has its own lanes, and not those of one whose name begins the same."""
    message_id = await add_message()
    await happen(message_id, State.DELIVERED)
    await fail(store, message_id, "HTTP 500")
    assert len(await causes(store, gateway="sms")) == 1
    assert await causes(store, gateway="sm") == await causes(store, gateway="sms2") == []


async def test_pending_ones_have_failed(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Of the pending reports those have a cause that were tried; dead ones are another list."""
    dead, again, new = [await add_message() for _ in range(3)]
    for message_id in (dead, again, new):
        await happen(message_id, State.DELIVERED)
    await fail(store, dead, "HTTP 404")
    await fail(store, again, "HTTP 503", "pending")
    assert [(each.cause, each.count) for each in await causes(store, "pending")] == [("HTTP 503", 1)]


async def test_a_cause_selects_exactly_its_group(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """The filter by cause finds the reports that were counted, and none whose error only looks like them."""
    errors = {
        "error_code 4: 48213 is locked": True,
        "error_code 4: 9f3c2ab81d70-77 is locked": True,
        "error_code 4: the account is locked": False,
        "ERROR_CODE 4: 48213 is locked": False,
        "error_code 4: 48213 is locked!": False,
        "error_code 4: 50% is locked": False,
    }
    wanted = []
    for error, fits in errors.items():
        message_id = await add_message()
        await happen(message_id, State.DELIVERED)
        await fail(store, message_id, error)
        wanted += [(message_id, Status.DELIVERED)] * fits
    for lane, expected in (("", wanted), (SMS, wanted), ("email@api.smartico.ai", [])):
        chosen = ReportFilter(cause=LOCKED, lane=lane)
        assert await store.search(lambda tx, c=chosen: find_report_keys(tx, c)) == expected  # type: ignore[misc]
    (group,) = [each for each in await causes(store) if each.cause == LOCKED]
    assert group.count == len(wanted)
    page = await store.search(lambda tx: list_reports(tx, ReportFilter("dead", cause=LOCKED, limit=1)))
    assert [row.message_id for row in page] == [wanted[-1][0]]


async def test_counts(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """What waits, what waits for a later attempt, and what is dead, under review or in the inbox is counted."""
    dead, again, new = [await add_message() for _ in range(3)]
    for message_id in (dead, again, new):
        await happen(message_id, State.DELIVERED)
    await fail(store, dead, "HTTP 404")
    await fail(store, again, "HTTP 503", "pending")

    async def more(tx: Tx) -> None:
        await inbox.add_batch(tx, "revicom", b"[]", 7, NOW - 5000)
        await forwards.add_forward(tx, forwards.INBOUND, "revicom/1", "key", b"{}", NOW)
        await review.add_to_review(
            tx, Kind.DEAD_FORWARD, "gone", Member(b"forward:9"), provider="", sample="", at=NOW
        )

    await store.write(more)
    found = await store.search(lambda tx: status.count(tx, NOW, 1000))
    assert found == status.Counts(
        at=NOW,
        sends={"sms": {"queued": 3}},
        inbox_waiting=7,
        inbox_oldest_at=NOW - 5000,
        reports=status.Outbox(pending=2, retrying=1, dead=1),
        forwards=status.Outbox(pending=1, retrying=0, dead=1),
        review={"dead_forward": 1},
    )


async def test_a_report_knows_when_its_callback_came(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """Read back from the store it has the time of the newest callback from before it was owed; without one, none."""
    with_one, without = await add_message(), await add_message()
    values = {"batch_id": 1, "position": 0, "provider_message_id": "p", "event": "e", "status": "s"}
    nothing = dict.fromkeys(("step", "error_code", "link", "parts", "price", "currency", "provider_at"))
    rows = [
        {"message_id": with_one, "digest": bytes([number]), "outcome": "applied", "received_at": at}
        | values
        | nothing
        for number, at in enumerate((NOW - 90, NOW - 30, NOW + 10))
    ]
    await store.write(lambda tx: tx.run_many("put_callback", rows))
    for message_id in (with_one, without):
        await happen(message_id, State.DELIVERED)
    due = await store.read(lambda tx: reports.due_reports(tx, SMS, NOW, 10))
    assert {each.message_id: each.received_at for each in due} == {with_one: NOW - 30, without: None}
