"""Messages that were perhaps handed over, and what may become of them."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from bridge.core.model import MessageId
from bridge.flows import directory, review, sending
from bridge.flows.review import Actor
from bridge.providers.protocol import Found, LookupResult, NoTrace, NotTaken, PerhapsTaken
from bridge.store import sends
from bridge.store.reports import DueReport
from bridge.store.review import list_reviews
from bridge.store.sends import Send
from bridge.store.tx import Tx
from tests.flows.desk import Desk

LONG = 3_600_000
UUID = "063464ec-a34f-4558-90c5-984395000003"
AWAY = NotTaken("no_connection", "no connection could be made")


async def settle(desk: Desk, send: Send, result: sending.Result) -> None:
    async def job(tx: Tx) -> list[DueReport]:
        return await sending.settle(tx, desk.rules, "revicom", [(send, result)], desk.now)

    await desk.store.write(job)


async def look_up(desk: Desk, send: Send, result: LookupResult) -> None:
    async def job(tx: Tx) -> list[DueReport]:
        return await sending.settle_lookup(tx, desk.rules, "revicom", send, result, desk.now, desk.now)

    await desk.store.write(job)


async def end_leases(desk: Desk) -> None:
    """As time does, where others share the database."""
    if desk.store.lease_seconds is not None:
        await desk.store.write(lambda tx: tx.select("UPDATE sends SET leased_until = 0", ()))


async def phase(desk: Desk, message_id: MessageId) -> str | None:
    state = (await desk.store.read(lambda tx: sends.states(tx, [message_id]))).get(message_id)
    return state.phase if state else None


async def test_an_old_look_up_answer_decides_nothing(desk: Desk) -> None:
    """Once a message left the look-up, a second answer to the same question neither reviews nor requeues it."""
    message_id = await desk.accept()
    (send,) = await desk.claim()
    await settle(desk, send, PerhapsTaken("no answer in time"))
    await look_up(desk, send, Found(UUID))
    desk.now += LONG
    await look_up(desk, send, NoTrace())
    assert (await phase(desk, message_id), (await desk.show(message_id)).state) == (None, "submitted")

    await desk.accept()
    (other,) = await desk.claim()
    desk.now += LONG
    await look_up(desk, other, NoTrace())
    assert await phase(desk, other.message_id) == "handed"


async def test_no_trace_decides_only_after_its_time(desk: Desk) -> None:
    """Until time-out and unknown_after have passed the provider is asked again; then a person has to decide."""
    message_id = await desk.accept()
    (send,) = await desk.claim()
    await settle(desk, send, PerhapsTaken("no answer in time"))
    decided = sending.decided_at(desk.rules, "revicom", send)
    assert decided == desk.now + 190_000
    desk.now = decided - 1
    await look_up(desk, send, NoTrace())
    assert await phase(desk, message_id) == "lookup"
    desk.now = decided
    await look_up(desk, send, NoTrace())
    assert await phase(desk, message_id) == "review"
    assert (await desk.show(message_id)).state == "unknown"


async def test_an_erased_person_gets_nothing_more(desk: Desk) -> None:
    """A message that was on its way when its person was erased, and was not taken, ends as failed."""
    message_id = await desk.accept()
    (send,) = await desk.claim()
    await desk.store.write(lambda tx: directory.erase(tx, desk.rules, "player", "alice", desk.now))
    await settle(desk, send, AWAY)
    assert await phase(desk, message_id) is None
    assert await desk.owed(message_id) == ["failed"]


@pytest.mark.parametrize("after", ["refused", "no trace", "by hand"])
@pytest.mark.parametrize("type_", ["sms", "cim"])
async def test_an_erased_person_gets_nothing_again(desk: Desk, type_: str, after: str) -> None:
    """Nor does a message without its text go out that was perhaps sent, or that a person wants sent again."""
    desk.gateway = replace(desk.gateway, type=type_)
    unknown = "review" if after == "by hand" else "resend"
    rules = {name: replace(each, unknown_send=unknown) for name, each in desk.rules.provider_rules.items()}
    desk.rules = replace(desk.rules, provider_rules=rules)
    message_id = await desk.accept()
    (send,) = await desk.claim()
    await desk.store.write(lambda tx: directory.erase(tx, desk.rules, "player", "alice", desk.now))
    if after == "refused":
        await settle(desk, send, AWAY)
    else:
        await settle(desk, send, PerhapsTaken("no answer in time"))
        desk.now += LONG
        await look_up(desk, send, NoTrace())
    if after == "by hand":
        (item,) = await desk.store.read(lambda tx: list_reviews(tx, 2**62, 10))
        await review.replay(desk.store, desk.rules, item, Actor("alice", "why not"), desk.now, resend=True)
    assert await desk.claim() == []
    assert await phase(desk, message_id) is None
    assert await desk.owed(message_id) == ["failed"]


async def test_a_crash_leads_to_the_look_up_and_never_straight_out_again(desk: Desk) -> None:
    """What was handed over when the process died is unknown, and cannot be claimed."""
    message_id = await desk.accept()
    await desk.claim()
    async with asyncio.timeout(20):  # where others share the database, not before the lease ended
        while await desk.store.write(lambda tx: sending.recover(tx, desk.rules, "revicom", desk.now)) != 1:
            await asyncio.sleep(0.05)
    assert await desk.claim() == []
    assert (await desk.show(message_id)).state == "unknown"
    (due,) = await desk.store.read(lambda tx: sends.due_lookups(tx, "revicom", desk.now, 10))
    assert due.message_id == message_id


@pytest.mark.parametrize("doubtful", [False, True])
async def test_what_a_provider_that_left_the_settings_perhaps_took(desk: Desk, doubtful: bool) -> None:
    """Nobody can ask it any more, so after an hour a person decides, and may let it be sent again, or look again."""
    message_id = await desk.accept()
    (send,) = await desk.claim()
    if doubtful:
        await settle(desk, send, PerhapsTaken("no answer in time"))
    else:
        await end_leases(desk)  # of the process that died with it
    rules = replace(desk.rules, providers={}, provider_rules={}, mappings={})

    async def round_() -> int:
        return await desk.store.write(lambda tx: sending.review_left(tx, rules, "revicom", desk.now))

    desk.now += LONG - 1
    assert await round_() == 0
    desk.now += 1
    assert await round_() == 1
    assert await round_() == 0
    assert await phase(desk, message_id) == "review"
    shown = await desk.show(message_id)
    assert (shown.state, shown.timeline[-1]["kind"]) == ("unknown", "review")
    (item,) = await desk.store.read(lambda tx: list_reviews(tx, 2**62, 10))
    assert "not in the settings" in item.cause
    await review.replay(desk.store, rules, item, Actor("alice", "look again"), desk.now, resend=False)
    assert await phase(desk, message_id) == "lookup"
    assert await round_() == 1


async def test_messages_of_a_provider_that_left_the_settings_expire(desk: Desk) -> None:
    """What still waited for it fails when it is too old; the upkeep pump does not stumble over it."""
    message_id = await desk.accept()
    rules = replace(desk.rules, providers={}, provider_rules={}, mappings={})
    later = desk.now + 25 * LONG
    count, _ = await desk.store.write(lambda tx: sending.expire(tx, rules, "revicom", later))
    assert count == 1
    assert await desk.owed(message_id) == ["failed"]
    assert await phase(desk, message_id) is None
