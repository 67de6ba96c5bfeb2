"""Messages whose end nobody told: found once, asked for, and then told, or under review. Never is an end guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bridge.core.model import MessageId, State
from bridge.flows import review, silence
from bridge.flows.review import Actor, Replayed
from bridge.flows.rules import Rules
from bridge.flows.silence import Finding, Question, Settled
from bridge.providers.protocol import Ended, LookupFailed, TellResult, Told
from bridge.store.review import Kind, ReviewItem, list_reviews
from bridge.store.silence import next_due
from tests.flows.desk import NOW, Desk, open_desk

HOUR = 3_600_000
DAY = 24 * HOUR
ALICE = Actor("alice", "asked them")
DELIVERED = Ended("delivered", "delivered")
UNDELIVERED = Ended("delivered", "undelivered")
NOTHING = Told(frozenset(), {})
UNKNOWN = "no final callback after 30 h, and the provider does not know it when it is asked"
NOT_FINAL = "no final callback after 30 h, and the provider says nothing final of it when it is asked"


def told(**ended: Ended) -> Told:
    """The provider knows these ids, and how they ended."""
    return Told(frozenset(ended), ended)


def element(uuid: str, event: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "message_uuid": uuid,
        "callback_event": event,
        "status": status,
        "channel_type": "SMS",
        "status_time": "2027-01-15T08:00:00.000Z",
        **more,
    }


async def submitted(desk: Desk, uuid: str = "u1") -> MessageId:
    message_id = await desk.accept()
    await desk.submit(uuid)
    return message_id


async def find(desk: Desk, finding: Finding | None = None) -> None:
    finding = finding or Finding(desk.store, desk.rules)
    while await finding.step(desk.now) is not None:
        pass


async def take_on(desk: Desk) -> Question:
    return await desk.store.write(lambda tx: silence.take_on(tx, desk.rules, "revicom", desk.now, 50))


async def settle(desk: Desk, question: Question, result: TellResult | None) -> Settled:
    return await desk.store.write(
        lambda tx: silence.settle(tx, desk.rules, "revicom", question, result, desk.now)
    )


async def asked(desk: Desk, result: TellResult | None, *, hours: int = 30) -> Settled:
    """So many hours later what is silent is found, and the provider gives this answer."""
    desk.now += hours * HOUR
    await find(desk)
    return await settle(desk, await take_on(desk), result)


async def items(desk: Desk) -> list[ReviewItem]:
    return await desk.store.read(lambda tx: list_reviews(tx, 2**62, 100))


async def state(desk: Desk, message_id: MessageId) -> str:
    return (await desk.show(message_id)).state


async def steps(desk: Desk, message_id: MessageId) -> list[str]:
    return [each["kind"] for each in (await desk.show(message_id)).timeline]


async def test_the_end_that_the_provider_tells_is_reported(desk: Desk) -> None:
    """After 30 hours, no earlier, it is asked for; what it says is owed to Smartico, and stands in the timeline."""
    message_id = await submitted(desk)
    desk.now += 29 * HOUR
    await find(desk)
    assert (await take_on(desk)).looked == 0
    settled = await asked(desk, told(u1=DELIVERED), hours=1)
    assert (settled.ended, settled.reviewed, [each.status for each in settled.due]) == (1, 0, ["delivered"])
    assert await state(desk, message_id) == "delivered"
    assert await desk.owed(message_id) == ["delivered"]
    assert "looked_up" in await steps(desk, message_id)
    assert await items(desk) == []
    assert (await asked(desk, NOTHING)).reviewed == 0


async def test_what_the_mapping_makes_of_it_counts(desk: Desk) -> None:
    """undelivered is failed, unsent is rejected, read proves the delivery; the price stays unknown."""
    ids = [await submitted(desk, uuid) for uuid in ("u1", "u2", "u3")]
    ends = told(u1=UNDELIVERED, u2=Ended("delivered", "unsent"), u3=Ended("read", "read"))
    await asked(desk, ends)
    assert [await state(desk, each) for each in ids] == ["failed", "rejected", "read"]
    assert [await desk.owed(each) for each in ids] == [["failed"], ["rejected"], ["delivered", "opened"]]
    assert (await desk.show(ids[2])).price is None


async def test_a_word_without_a_row_ends_nothing(desk: Desk) -> None:
    """What the mapping table does not know, or says to be no end, is no end."""
    message_id = await submitted(desk)
    await asked(desk, told(u1=Ended("delivered", "teleported")))
    assert await state(desk, message_id) == "submitted"
    assert [each.kind for each in await items(desk)] == [Kind.SILENT]
    other = await submitted(desk, "u2")
    await asked(desk, told(u2=Ended("sent", "sent")))
    assert await state(desk, other) == "submitted"


async def test_where_it_knows_nothing_a_person_has_to_look(desk: Desk) -> None:
    """One item a cause, with members, and a sample without an address; Smartico is owed nothing, the state stays."""
    ids = [await submitted(desk, uuid) for uuid in ("u1", "u2", "u3")]
    assert (await asked(desk, Told(frozenset({"u3"}), {}))).reviewed == 3
    found = sorted((each.kind, each.cause, each.provider, each.count) for each in await items(desk))
    assert found == [(Kind.SILENT, UNKNOWN, "revicom", 2), (Kind.SILENT, NOT_FINAL, "revicom", 1)]
    assert {await state(desk, each) for each in ids} == {"submitted"}
    assert [await desk.owed(each) for each in ids] == [[], [], []]
    assert "silent" in await steps(desk, ids[0])
    samples = [each.sample for each in await items(desk)]
    assert all(any(each.hex() in sample for each in ids) and "0100" not in sample for sample in samples)


async def test_a_late_callback_settles_the_item(desk: Desk) -> None:
    """The message is delivered, Smartico is told, and its member is gone; the item goes with the last one."""
    first, second = [await submitted(desk, uuid) for uuid in ("u1", "u2")]
    await asked(desk, NOTHING)
    await desk.receive(element("u1", "sent", "sent"))
    assert [each.count for each in await items(desk)] == [2]
    await desk.receive(element("u1", "delivered", "delivered"))
    assert [each.count for each in await items(desk)] == [1]
    await desk.receive(element("u2", "delivered", "undelivered"))
    assert await items(desk) == []
    assert await desk.owed(first) == ["accepted", "delivered"]
    assert await desk.owed(second) == ["failed"]


async def test_the_same_end_from_a_callback_afterwards_changes_nothing(desk: Desk) -> None:
    """What was looked up is reported once."""
    message_id = await submitted(desk)
    await asked(desk, told(u1=DELIVERED))
    await desk.receive(element("u1", "delivered", "delivered"))
    assert await desk.owed(message_id) == ["delivered"]


async def test_a_callback_while_the_provider_is_asked(desk: Desk) -> None:
    """The end that came meanwhile stays, and nothing goes under review."""
    message_id = await submitted(desk)
    desk.now += 30 * HOUR
    await find(desk)
    question = await take_on(desk)
    await desk.receive(element("u1", "delivered", "undelivered"))
    assert await settle(desk, question, NOTHING) == Settled([])
    assert await desk.owed(message_id) == ["failed"]
    assert await items(desk) == []


async def test_an_answer_that_comes_twice_counts_once(desk: Desk) -> None:
    """Two processes that asked for the same message open one item with one member."""
    await submitted(desk)
    desk.now += 30 * HOUR
    await find(desk)
    question = await take_on(desk)
    assert (await settle(desk, question, NOTHING)).reviewed == 1
    assert (await settle(desk, question, NOTHING)).reviewed == 0
    assert [each.count for each in await items(desk)] == [1]


async def test_news_puts_it_off(desk: Desk) -> None:
    """The 30 hours count from the last news: who is sent on after a day is asked for when that is old."""
    message_id = await submitted(desk)
    desk.now += 24 * HOUR
    await desk.receive(element("u1", "sent", "sent"))
    assert (await asked(desk, NOTHING, hours=20)).reviewed == 0
    assert (await asked(desk, NOTHING, hours=9)).reviewed == 0
    assert (await asked(desk, told(u1=DELIVERED), hours=1)).ended == 1
    assert await desk.owed(message_id) == ["accepted", "delivered"]


async def test_no_answer_decides_nothing_but_is_shown_in_the_end(desk: Desk) -> None:
    """Five times it is asked again, ever later; the sixth time a person is told that nobody knows."""
    message_id = await submitted(desk)
    failed = LookupFailed("HTTP 503")
    assert (await asked(desk, failed)).reviewed == 0
    for minutes in (1, 2, 4, 8):
        desk.now += minutes * 60_000
        assert await settle(desk, await take_on(desk), failed) == Settled([])
        assert (await take_on(desk)).looked == 0
    desk.now += 16 * 60_000
    assert (await settle(desk, await take_on(desk), failed)).reviewed == 1
    assert (await items(desk))[0].cause == "no final callback after 30 h, and the provider cannot be asked"
    assert await state(desk, message_id) == "submitted"


async def test_replay_asks_again(desk: Desk) -> None:
    """At once, with an audit and a step; what the provider knows by then is applied, and the item is resolved."""
    message_id = await submitted(desk)
    await asked(desk, NOTHING)
    (item,) = await items(desk)
    replayed = await review.replay(desk.store, desk.rules, item, ALICE, desk.now, resend=False)
    assert replayed == Replayed(1, 1)
    assert await items(desk) == []
    await settle(desk, await take_on(desk), NOTHING)
    (item,) = await items(desk)
    await review.replay(desk.store, desk.rules, item, ALICE, desk.now, resend=False)
    await settle(desk, await take_on(desk), told(u1=DELIVERED))
    assert await desk.owed(message_id) == ["delivered"]
    assert await items(desk) == []
    assert (await steps(desk, message_id)).count("lookup_again") == 2


async def test_a_message_that_ended_needs_no_question(desk: Desk) -> None:
    """Its member is settled by a replay, should it still be there."""
    message_id = await submitted(desk)
    await asked(desk, NOTHING)
    (item,) = await items(desk)
    await desk.receive(element("u1", "delivered", "delivered"))
    again = {"id": item.id, "message_id": message_id}

    async def reopen(tx: Any) -> None:
        await tx.select("UPDATE review_items SET state = 'open' WHERE id = ?", (again["id"],))
        await tx.run("add_member", review_id=item.id, subject=message_id, batch_id=None, position=None)

    await desk.store.write(reopen)
    assert await review.replay(desk.store, desk.rules, item, ALICE, desk.now, resend=False) == Replayed(1, 1)
    assert await items(desk) == []
    assert await desk.store.read(lambda tx: next_due(tx, "revicom")) is None


async def test_who_cannot_be_asked_stays_under_review(desk: Desk) -> None:
    """Without a look-up the item opens at once, and a replay changes nothing."""
    await submitted(desk)
    assert (await asked(desk, None)).reviewed == 1
    (item,) = await items(desk)
    assert item.cause == "no final callback after 30 h"
    desk.rules.providers["revicom"].asks = False
    try:
        replayed = await review.replay(desk.store, desk.rules, item, ALICE, desk.now, resend=False)
    finally:
        desk.rules.providers["revicom"].asks = True
    assert replayed == Replayed(1, 0)
    assert len(await items(desk)) == 1


async def test_what_was_dismissed_is_not_opened_again(desk: Desk) -> None:
    """Neither by the process that goes on nor by one that starts from the beginning; the message stays as it is."""
    message_id = await submitted(desk)
    await asked(desk, NOTHING)
    (item,) = await items(desk)
    assert await review.dismiss(desk.store, item, ALICE, desk.now)
    await desk.store.write(lambda tx: tx.run("set_meta", key="silent_place", value=b"\0" * 16))
    assert (await asked(desk, NOTHING)).reviewed == 0
    assert await items(desk) == []
    assert await state(desk, message_id) == "submitted"
    assert "dismissed" in await steps(desk, message_id)
    await desk.receive(element("u1", "delivered", "delivered"))
    assert await desk.owed(message_id) == ["delivered"]


async def test_a_process_that_starts_goes_on_where_one_stopped(desk: Desk) -> None:
    """The place is kept; the messages before it are not looked at again, those behind it are."""
    await submitted(desk, "u1")
    await asked(desk, told(u1=DELIVERED))
    await desk.store.write(lambda tx: tx.select("UPDATE messages SET state = 'submitted'", ()))
    assert (await asked(desk, NOTHING)).reviewed == 0
    await submitted(desk, "u2")
    assert (await asked(desk, NOTHING)).reviewed == 1


async def test_an_upgrade_is_no_flood(desk: Desk) -> None:
    """Where nothing was ever looked at, messages of the last week count; older ones do not."""
    old = await submitted(desk, "u1")
    desk.now += 3 * DAY
    young = await submitted(desk, "u2")
    desk.now += 6 * DAY
    assert (await asked(desk, NOTHING, hours=0)).reviewed == 1
    assert "silent" in await steps(desk, young)
    assert "silent" not in await steps(desk, old)


async def test_a_message_that_the_provider_took_late(desk: Desk) -> None:
    """The messages of its age have been looked at when it is taken: its own time is kept all the same."""
    message_id = await desk.accept()
    desk.now += 20 * HOUR
    late = desk.now
    await find(desk)
    desk.now += 12 * HOUR
    await find(desk)
    desk.now = late + 12 * HOUR
    await desk.store.write(lambda tx: tx.run("renew_send", message_id=message_id, expires_at=NOW + 9 * DAY))
    await desk.submit("u1")
    assert (await asked(desk, NOTHING, hours=29)).reviewed == 0
    assert (await asked(desk, NOTHING, hours=1)).reviewed == 1


async def test_a_cascade_fails_with_its_last_step(tmp_path: Path, database: str) -> None:
    """Of two steps one that failed ends nothing: the provider knows the message, and says nothing final of it."""
    desk = await open_desk(tmp_path, steps=2, database=database)
    await desk.add_contact()
    first, second = [await submitted(desk, uuid) for uuid in ("u1", "u2")]
    step = {"cascade_message_uuid": "u2", "cascade_step": 2}
    await desk.receive(element("u2-2", "sent", "sent", **step))
    await asked(desk, told(u1=UNDELIVERED, u2=UNDELIVERED, **{"u2-2": UNDELIVERED}))
    assert (await state(desk, first), await state(desk, second)) == ("submitted", "failed")
    assert await desk.owed(second) == ["accepted", "failed"]
    assert [each.cause for each in await items(desk)] == [NOT_FINAL]
    await desk.store.close()


async def test_nobody_is_asked_where_no_provider_tells_ends(desk: Desk) -> None:
    """Then no message is looked at at all."""
    await submitted(desk)
    rules: Rules = desk.rules
    none = {name: _deaf(each) for name, each in rules.provider_rules.items()}
    finding = Finding(desk.store, replace(rules, provider_rules=none))
    assert finding.shortest_ms is None
    assert await finding.step(NOW + 9 * DAY) is None
    assert await desk.store.read(lambda tx: next_due(tx, "revicom")) is None


def _deaf(each: Any) -> Any:
    return replace(each, silent_after_ms=0)


async def test_many_messages_are_walked_through_in_steps(desk: Desk) -> None:
    """One look sees a part of them; all are seen in the end, and each open one is kept an eye on."""
    rows = silence._ROWS
    ids = [await submitted(desk, f"u{number}") for number in range(7)]
    await desk.receive(*(element(f"u{number}", "delivered", "delivered") for number in range(0, 7, 2)))
    desk.now += 30 * HOUR
    silence._ROWS = 2
    try:
        finding = Finding(desk.store, desk.rules)
        counts = [await finding.step(desk.now) for _ in range(5)]
    finally:
        silence._ROWS = rows
    assert counts == [2, 2, 2, None, None]
    question = await take_on(desk)
    assert sorted(each.message_id for each in question.silent) == sorted(ids[1::2])
    assert {State(await state(desk, each)) for each in ids[1::2]} == {State.SUBMITTED}
