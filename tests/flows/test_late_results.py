"""Results that come late or twice: only the latest hand-over is settled, but what the provider took always counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bridge.core.model import MessageId
from bridge.flows import directory, sending
from bridge.providers.protocol import (
    Accepted,
    Blocked,
    Found,
    LookupFailed,
    LookupResult,
    NoTrace,
    NotTaken,
    PerhapsTaken,
    Refused,
)
from bridge.store.reports import DueReport
from bridge.store.sends import Send
from bridge.store.tx import Tx
from tests.flows.desk import Desk, open_desk
from tests.postgres import PostgresServer

LONG = 3_600_000
UUID = "063464ec-a34f-4558-90c5-984395000003"
OTHER = "063464ec-a34f-4558-90c5-984395000004"
AWAY = NotTaken("no_connection", "no connection could be made")
BLOCKED = Blocked("401", "the token is refused")
REFUSED = Refused("12", "no such number")
PERHAPS = PerhapsTaken("no answer in time")

LATE: list[sending.Result] = [AWAY, BLOCKED, REFUSED, PERHAPS]
ANY = pytest.mark.parametrize(
    "result", [Accepted(UUID), AWAY, BLOCKED, REFUSED, PERHAPS], ids=lambda each: type(each).__name__
)
SOME: list[LookupResult] = [Found(UUID), NoTrace(), LookupFailed("503")]
EACH = pytest.mark.parametrize("answer", SOME, ids=lambda each: type(each).__name__)


async def settle(desk: Desk, *results: tuple[Send, sending.Result]) -> list[DueReport]:
    async def job(tx: Tx) -> list[DueReport]:
        return await sending.settle(tx, desk.rules, "revicom", results, desk.now)

    return await desk.store.write(job)


async def look_up(desk: Desk, send: Send, result: LookupResult) -> list[DueReport]:
    async def job(tx: Tx) -> list[DueReport]:
        return await sending.settle_lookup(tx, desk.rules, "revicom", send, result, desk.now, desk.now)

    return await desk.store.write(job)


async def take_back(desk: Desk, *claimed_at: int) -> int:
    return await desk.store.write(
        lambda tx: sending.take_back(tx, desk.rules, "revicom", claimed_at, desk.now)
    )


async def everything(desk: Desk, message_id: MessageId) -> tuple[Any, ...]:
    """All that is known of a message: itself with its timeline, its place in the outbox, and what is owed."""
    sql = "SELECT phase, handed_at, due_at, lookups FROM sends WHERE message_id = ?"
    place = await desk.store.read(lambda tx: tx.select(sql, [message_id]))
    return await desk.show(message_id), place, await desk.owed(message_id)


async def phase(desk: Desk, message_id: MessageId) -> str | None:
    sql = "SELECT phase FROM sends WHERE message_id = ?"
    rows = await desk.store.read(lambda tx: tx.select(sql, [message_id]))
    return rows[0][0] if rows else None


async def hand_over(desk: Desk) -> Send:
    (send,) = await desk.claim()
    return send


async def hand_over_again(desk: Desk) -> tuple[Send, Send]:
    """A message that was not taken, and was handed over again a second later."""
    await desk.accept()
    first = await hand_over(desk)
    await settle(desk, (first, AWAY))
    desk.now += 1000
    second = await hand_over(desk)
    assert first.message_id == second.message_id
    assert first.handed_at != second.handed_at
    return first, second


# --- what is late ---


async def test_of_an_earlier_hand_over_changes_nothing(desk: Desk) -> None:
    """Whatever an earlier hand-over came to, short of being taken, the later one goes on untouched in every phase."""
    first, second = await hand_over_again(desk)
    message_id = second.message_id
    decided = sending.decided_at(desk.rules, "revicom", second)
    for place in ("handed", "lookup", "review"):
        if place == "lookup":
            await settle(desk, (second, PERHAPS))
        if place == "review":
            desk.now = decided
            await look_up(desk, second, NoTrace())
        assert await phase(desk, message_id) == place
        before = await everything(desk, message_id)
        desk.now += 10
        for late in LATE:
            assert await settle(desk, (first, late)) == []
            assert await everything(desk, message_id) == before


async def test_after_it_was_queued_again_changes_nothing(desk: Desk) -> None:
    """A message that waits for its next hand-over is not touched by a second result of the last one."""
    message_id = await desk.accept()
    first = await hand_over(desk)
    await settle(desk, (first, AWAY))
    before = await everything(desk, message_id)
    desk.now += 10
    for late in LATE:
        assert await settle(desk, (first, late)) == []
        assert await everything(desk, message_id) == before
    assert (await hand_over(desk)).message_id == message_id


async def test_after_it_was_taken_changes_nothing(desk: Desk) -> None:
    """What the provider took stays taken, whatever comes of the same hand-over or of an earlier one."""
    first, second = await hand_over_again(desk)
    await settle(desk, (second, Accepted(UUID)))
    before = await everything(desk, second.message_id)
    assert before[0].state == "submitted"
    desk.now += 10
    for send, late in product((first, second), LATE):
        assert await settle(desk, (send, late)) == []
        assert await everything(desk, second.message_id) == before


async def test_a_sure_answer_of_the_latest_hand_over_counts_late(desk: Desk) -> None:
    """While the provider is being asked, a sure result of that hand-over still decides; another doubt adds nothing."""
    message_id = await desk.accept()
    send = await hand_over(desk)
    await settle(desk, (send, PERHAPS))
    before = await everything(desk, message_id)
    desk.now += 10
    await settle(desk, (send, PERHAPS))
    assert await everything(desk, message_id) == before
    await settle(desk, (send, AWAY))
    assert await phase(desk, message_id) == "queued"
    assert (await desk.show(message_id)).state == "queued"

    again = await hand_over(desk)
    await settle(desk, (again, PERHAPS))
    await settle(desk, (again, REFUSED))
    assert await phase(desk, message_id) is None
    assert await desk.owed(message_id) == ["rejected"]


@pytest.mark.parametrize("place", ["handed", "queued", "lookup", "review", "expired", "taken"])
async def test_that_it_was_taken_always_counts(desk: Desk, place: str) -> None:
    """A late Accepted of an earlier hand-over ends the sending wherever the message is, and its id is kept."""
    first, second = await hand_over_again(desk)
    message_id = second.message_id
    match place:
        case "queued":
            await settle(desk, (second, AWAY))
        case "lookup":
            await settle(desk, (second, PERHAPS))
        case "review":
            await settle(desk, (second, PERHAPS))
            desk.now += LONG
            await look_up(desk, second, NoTrace())
        case "expired":
            await settle(desk, (second, AWAY))
            desk.now += 100 * LONG
            await desk.store.write(lambda tx: sending.expire(tx, desk.rules, "revicom", desk.now))
        case "taken":
            await settle(desk, (second, Accepted(OTHER)))
        case _:
            pass  # it is handed over
    expected = {"expired": None, "taken": None}.get(place, place)
    assert await phase(desk, message_id) == expected
    await settle(desk, (first, Accepted(UUID)))
    assert await phase(desk, message_id) is None
    assert await desk.claim() == []
    shown = await desk.show(message_id)
    assert shown.state == ("failed" if place == "expired" else "submitted")
    assert shown.provider_message_id == UUID
    assert await desk.owed(message_id) == (["failed"] if place == "expired" else [])
    for late in (AWAY, REFUSED, PERHAPS):
        await settle(desk, (second, late))
    assert await desk.show(message_id) == shown


async def test_taken_twice_both_ids_lead_to_the_message(desk: Desk) -> None:
    """Where two hand-overs were both taken, a callback with either id is about the message."""
    for number, uuid in enumerate((UUID, OTHER)):
        first, second = await hand_over_again(desk)
        mine = [f"{each[:-2]}{number}{each[-1]}" for each in (UUID, OTHER)]
        await settle(desk, (second, Accepted(mine[0])))
        await settle(desk, (first, Accepted(mine[1])))
        element = {
            "message_uuid": mine[0] if uuid == UUID else mine[1],
            "channel_type": "SMS",
            "callback_event": "delivered",
            "status": "delivered",
            "status_time": "2026-11-21T18:51:13Z",
        }
        await desk.receive(element)
        assert (await desk.show(first.message_id)).state == "delivered"


async def test_a_late_result_harms_no_other_of_its_batch(desk: Desk) -> None:
    """Of results that are stored together, the late ones are passed over and the others count."""
    first, second = await hand_over_again(desk)
    other_id = await desk.accept()
    other = await hand_over(desk)
    before = await everything(desk, second.message_id)
    await settle(desk, (first, REFUSED), (other, Accepted(UUID)))
    assert await everything(desk, second.message_id) == before
    assert (await phase(desk, other_id), (await desk.show(other_id)).state) == (None, "submitted")


# --- what comes twice ---


@ANY
async def test_settling_twice_is_settling_once(desk: Desk, result: sending.Result) -> None:
    """A settle job that runs again, after a commit of which nobody heard, changes nothing and owes nothing."""
    message_id = await desk.accept()
    send = await hand_over(desk)
    await settle(desk, (send, result))
    before = await everything(desk, message_id)
    assert await settle(desk, (send, result)) == []
    assert await everything(desk, message_id) == before


# --- look-ups ---


async def test_an_answer_from_before_a_new_hand_over_decides_nothing(desk: Desk) -> None:
    """What was asked about an earlier hand-over neither ends nor repeats nor postpones what came after it."""
    message_id = await desk.accept()
    old = await hand_over(desk)
    await settle(desk, (old, PERHAPS))
    await settle(desk, (old, AWAY))
    desk.now += 10 * LONG
    new = old
    for place in ("queued", "handed", "lookup"):
        if place == "handed":
            new = await hand_over(desk)
        if place == "lookup":
            await settle(desk, (new, PERHAPS))
        assert await phase(desk, message_id) == place
        before = await everything(desk, message_id)
        desk.now += 10
        for answer in SOME:
            assert await look_up(desk, old, answer) == []
            assert await everything(desk, message_id) == before


@EACH
async def test_an_answer_that_comes_again_decides_nothing(desk: Desk, answer: LookupResult) -> None:
    """Once an answer has ended the look-up, or brought it before a person, the next answers change nothing."""
    message_id = await desk.accept()
    send = await hand_over(desk)
    await settle(desk, (send, PERHAPS))
    desk.now += 100 * LONG
    await look_up(desk, send, answer)
    assert await phase(desk, message_id) == (None if isinstance(answer, Found) else "review")
    before = await everything(desk, message_id)
    desk.now += 10
    for again in (Found(OTHER), NoTrace(), LookupFailed("503")):
        assert await look_up(desk, send, again) == []
        assert await everything(desk, message_id) == before


# --- claims of which nobody heard ---


@pytest.fixture
async def two(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[tuple[Desk, Desk]]:
    """Two processes on one database."""
    url = await postgres.create()
    desks = (await open_desk(tmp_path, database=url), await open_desk(tmp_path, database=url))
    await desks[0].add_contact()
    yield desks
    for each in desks:
        await each.store.close()
    await postgres.drop(url)


async def test_only_what_was_claimed_here_at_that_time_is_taken_back(two: tuple[Desk, Desk]) -> None:
    """Queued again is what this process claimed at one of those times, and nothing of another time or process."""
    mine, theirs = two
    lost = await mine.accept()
    await mine.claim()
    foreign = await mine.accept()
    await theirs.claim()
    mine.now += 1
    later = await mine.accept()
    await mine.claim()
    untouched = [await everything(mine, each) for each in (foreign, later)]
    assert await take_back(mine, mine.now + 5) == 0
    assert await take_back(mine) == 0
    assert await take_back(mine, mine.now - 1) == 1
    assert await phase(mine, lost) == "queued"
    assert [await everything(mine, each) for each in (foreign, later)] == untouched
    theirs.now += 1
    assert [send.message_id for send in await theirs.claim()] == [lost]
    assert await take_back(theirs, theirs.now - 1, theirs.now) == 2


async def test_taking_back_twice_is_taking_back_once(two: tuple[Desk, Desk]) -> None:
    """What was taken back, and perhaps handed over since by another process, is not taken back again."""
    mine, theirs = two
    message_id = await mine.accept()
    await mine.claim()
    assert await take_back(mine, mine.now) == 1
    before = await everything(mine, message_id)
    assert await take_back(mine, mine.now) == 0
    assert await everything(mine, message_id) == before
    await theirs.claim()
    assert await take_back(mine, mine.now) == 0
    assert await phase(mine, message_id) == "handed"


async def test_what_went_on_is_not_taken_back(two: tuple[Desk, Desk]) -> None:
    """Of what was claimed at that time, what is settled or perhaps sent stays where it is."""
    mine, _ = two
    ids = [await mine.accept() for _ in range(4)]
    sends = await mine.claim()
    results: list[sending.Result] = [Accepted(UUID), REFUSED, PERHAPS]
    await settle(mine, *zip(sends[:3], results, strict=True))
    before = [await everything(mine, send.message_id) for send in sends[:3]]
    assert await take_back(mine, mine.now) == 1
    assert [await everything(mine, send.message_id) for send in sends[:3]] == before
    assert {send.message_id for send in sends} == set(ids)
    assert await phase(mine, sends[3].message_id) == "queued"


async def test_what_is_taken_back_of_an_erased_person_ends(two: tuple[Desk, Desk]) -> None:
    """A message that was claimed unheard, and whose person was erased meanwhile, is not queued again but failed."""
    mine, _ = two
    message_id = await mine.accept()
    await mine.claim()
    await mine.store.write(lambda tx: directory.erase(tx, mine.rules, "player", "alice", mine.now))
    assert await take_back(mine, mine.now) == 1
    assert await phase(mine, message_id) is None
    assert await mine.owed(message_id) == ["failed"]
