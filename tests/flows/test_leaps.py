"""A clock that leapt: the time is noted, what waits is brought forward, and nothing is pruned for a day."""

from __future__ import annotations

from bridge.flows import leaps, sending
from bridge.flows.leaps import Noted, note_time
from bridge.providers.protocol import NotTaken, PerhapsTaken
from bridge.store import sends
from bridge.store.tx import Tx
from tests.flows.desk import Desk

HOUR = 3_600_000
DAY = 24 * HOUR
NOTHING = Noted(0, 0, 0)
LANE = "sms@api.smartico.ai"


async def test_time_that_passes_is_no_leap(desk: Desk) -> None:
    """A first note, a service that was away for less than a day, and small steps back."""
    for length in (0, 60_000, DAY, -leaps.BACK_MS):
        desk.now += length
        assert await note_time(desk.store, desk.now) == NOTHING


async def test_after_a_leap_ahead_nothing_is_pruned_for_a_day(desk: Desk) -> None:
    """Also after a restart; and if the clock returns meanwhile, that is over."""
    await note_time(desk.store, desk.now)
    desk.now += 365 * DAY
    rest = desk.now + DAY
    assert await note_time(desk.store, desk.now) == Noted(0, 365 * DAY, rest)
    assert await note_time(desk.store, desk.now + HOUR) == Noted(0, 0, rest)
    assert await note_time(desk.store, rest) == NOTHING
    desk.now = rest + 400 * DAY
    assert (await note_time(desk.store, desk.now)).prune_from == desk.now + DAY
    assert await note_time(desk.store, rest) == Noted(400 * DAY, 0, 0)


async def test_what_waits_is_brought_forward(desk: Desk) -> None:
    """Reports and messages wait as long as they should, not hours longer; the order of reports stays."""
    ids = [new_report_id(number) for number in range(1200)]

    async def owe(tx: Tx) -> None:
        rows = [
            {
                "message_id": each, "status": "delivered", "seq": 0, "lane": LANE, "owed_at": desk.now,
                "due_at": desk.now + 5 * HOUR + number // 3,
            }
            for number, each in enumerate(ids)
        ]  # fmt: skip
        await tx.run_many("add_report", rows)

    await desk.store.write(owe)
    await desk.add_contact()
    await desk.accept()
    batch = await desk.claim()

    async def put_off(tx: Tx) -> None:
        settled = [(each, NotTaken("503", "not now", None)) for each in batch]
        await sending.settle(tx, desk.rules, "revicom", settled, desk.now + 5 * HOUR)

    await desk.store.write(put_off)
    await leaps.bring_forward(desk.store, desk.now, 5 * HOUR)
    rows = await desk.store.read(
        lambda tx: tx.select("SELECT message_id, due_at FROM reports ORDER BY message_id", ())
    )
    assert [at for _, at in rows] == [max(desk.now, desk.now + number // 3) for number in range(1200)]
    due_at = await desk.store.read(lambda tx: sends.next_due(tx, "revicom", "queued", desk.now))
    assert due_at is not None
    assert desk.now <= due_at <= desk.now + 2000


async def test_what_was_perhaps_sent_by_a_clock_ahead_is_decided(desk: Desk) -> None:
    """The patience of a look-up counts from when the clock was set right, not from a day that is still to come."""
    desk.now += 30 * DAY
    await desk.accept()
    (send,) = await desk.claim()

    async def doubt(tx: Tx) -> None:
        await sending.settle(tx, desk.rules, "revicom", [(send, PerhapsTaken("no answer in time"))], desk.now)

    await desk.store.write(doubt)
    desk.now -= 30 * DAY
    await leaps.bring_forward(desk.store, desk.now, 30 * DAY)
    (asked,) = await desk.store.write(lambda tx: sends.due_lookups(tx, "revicom", desk.now + HOUR, 10))
    assert sending.decided_at(desk.rules, "revicom", asked) <= desk.now + 190_000


def new_report_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


async def test_a_message_that_was_accepted_by_a_clock_ahead(desk: Desk) -> None:
    """What is owed for it after the clock went back goes at once, and not when the time of its acceptance comes."""
    desk.now += 400 * DAY
    message_id = await desk.accept()
    await desk.submit("uuid-1")
    desk.now -= 400 * DAY
    await desk.receive(
        {
            "message_uuid": "uuid-1", "channel_type": "SMS", "callback_event": "delivered", "status": "delivered",
            "status_time": "2026-11-21T18:51:13Z",
        }
    )  # fmt: skip
    assert await desk.owed(message_id) == ["delivered"]
    (row,) = await desk.store.read(lambda tx: tx.select("SELECT due_at FROM reports", ()))
    assert row[0] <= desk.now + 1000
