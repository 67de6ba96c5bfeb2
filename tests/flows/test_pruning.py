"""Pruning through the flows: what goes, what stays, and that everything else works on with what is left."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

import pytest

from bridge.core.model import MessageId, first_id, new_id
from bridge.flows import callbacks, directory, review
from bridge.flows.pruning import Pruning, Retention
from bridge.flows.review import Actor
from bridge.flows.rules import Rules
from bridge.store.messages import NewMessage, ToSend, add_messages
from bridge.store.review import ReviewItem, list_reviews
from bridge.store.tx import Tx
from tests.flows.desk import PHONE, Desk

DAY = 86_400_000
MINUTE = 60_000
UUID = "063464ec-a34f-4558-90c5-984395000003"
OTHER = "063464ec-a34f-4558-90c5-984395000009"
ALICE = Actor("alice", "test")
IN_OUTBOX = """INSERT INTO sends (message_id, provider, gateway, phase, destination, due_at, expires_at)
SELECT id, provider, gateway, 'review', callback_url, 1, 1 FROM messages"""
OF_MESSAGES = (
    "messages", "texts", "sends", "provider_messages", "callbacks", "reports", "steps", "inbound",
)  # fmt: skip


def status(event: str, word: str, uuid: str = UUID) -> dict[str, Any]:
    return {
        "message_uuid": uuid,
        "channel_type": "SMS",
        "callback_event": event,
        "status": word,
        "status_time": "2026-11-21T18:51:13Z",
    }


def price(uuid: str = UUID) -> dict[str, Any]:
    return {
        "message_uuid": uuid,
        "callback_event": "price",
        "channel_type": "SMS",
        "parts": 1,
        "price": 0.05,
        "currency": "EUR",
        "price_time": "2026-11-21T18:51:13Z",
    }


def inbound(text: str, uuid: str = "in-1", handset: str = PHONE) -> dict[str, Any]:
    return {
        "message_uuid": uuid,
        "channel_type": "SMS",
        "callback_event": "inbound_sent",
        "status": "inbound_sent",
        "status_time": "2026-11-21T19:00:00Z",
        "item": {"destination": handset.removeprefix("+"), "content": text, "channelType": "SMS"},
    }


SENT, DELIVERED = status("sent", "sent"), status("delivered", "delivered")
ODD = status("delivered", "teleported")


async def change(desk: Desk, sql: str, *values: object) -> None:
    await desk.store.write(lambda tx: tx.select(sql, values))


async def rows(desk: Desk, table: str) -> int:
    found = await desk.store.read(lambda tx: tx.select(f"SELECT count(*) FROM {table}", ()))
    count: int = found[0][0]
    return count


async def all_rows(desk: Desk, *tables: str) -> dict[str, int]:
    return {table: await rows(desk, table) for table in tables}


async def report_all(desk: Desk) -> None:
    """Smartico takes every report."""
    await change(desk, "UPDATE reports SET state = 'done', due_at = NULL, finished_at = ?", desk.now)


async def prune(
    desk: Desk, days: int = 90, raw_days: int = 7, *, dry_run: bool = False, pruning: Pruning | None = None
) -> dict[str, int]:
    """Everything that may go now, by kind."""
    pruning = pruning or Pruning(desk.store, Retention(days, raw_days), dry_run=dry_run)
    counts: Counter[str] = Counter()
    while (pruned := await pruning.step(desk.now)) is not None:
        counts[pruned.kind.value] += pruned.count
    return {kind: count for kind, count in counts.items() if count}


async def finished(desk: Desk, uuid: str = UUID) -> MessageId:
    """A message that was delivered and reported."""
    message_id = await desk.accept()
    await desk.submit(uuid)
    await desk.receive(status("sent", "sent", uuid), status("delivered", "delivered", uuid))
    await report_all(desk)
    return message_id


async def post(desk: Desk, body: bytes) -> object:
    """A body arrives, and is not understood yet."""
    return await callbacks.Receiving(desk.store, desk.rules).receive("revicom", body, desk.now)


async def open_items(desk: Desk) -> list[ReviewItem]:
    return await desk.store.read(lambda tx: list_reviews(tx, 2**62, 100))


async def add_old(desk: Desk, count: int, at: int) -> list[MessageId]:
    """Messages that were delivered long ago, with nothing but their rows."""
    ids = [new_id(at + number, number) for number in range(count)]
    new = [
        ToSend(
            NewMessage(
                id=each, gateway="sms", type="sms", channel="SMS", provider="revicom",
                smartico_uid=f"old-{at}-{number}", ext_user_id="player", sender="Amazing", address_hash=None,
                address_masked=None, callback_url=desk.store.vault.seal_text("https://api.smartico.ai"),
                lane="sms@api.smartico.ai", created_at=at + number,
            ),
            b"", desk.store.vault.seal_text("text"), at,
        )
        for number, each in enumerate(ids)
    ]  # fmt: skip
    for start in range(0, count, 500):
        await desk.store.write(partial(_add, new=new[start : start + 500]))
    await change(desk, "DELETE FROM sends WHERE destination = ?", b"")
    await change(desk, "UPDATE messages SET state = 'delivered' WHERE smartico_uid LIKE ?", f"old-{at}-%")
    return ids


async def _add(tx: Tx, new: list[ToSend]) -> None:
    await add_messages(tx, new)


# --- messages ---


async def test_a_finished_message_goes_with_everything_that_belongs_to_it(desk: Desk) -> None:
    """Not on the last day of its time, but after it; who wrote STOP stays closed, and contacts stay."""
    message_id = await desk.accept()
    await desk.submit(UUID)
    await desk.receive(SENT, DELIVERED, price(), inbound("STOP"))
    await report_all(desk)
    await change(
        desk, "INSERT INTO steps (message_id, at, kind) VALUES (?, ?, 'report_failed')", message_id, desk.now
    )
    desk.now += 90 * DAY - 1
    assert await prune(desk, raw_days=90) == {}
    assert await rows(desk, "messages") == 1
    desk.now += 1 + 1
    assert await prune(desk, raw_days=90) == {"texts": 1, "batches": 1, "messages": 1}
    assert await all_rows(desk, *OF_MESSAGES, "batches") == dict.fromkeys((*OF_MESSAGES, "batches"), 0)
    assert [each.channel for each in (await desk.contact("player")).opt_outs] == ["SMS"]


@pytest.mark.parametrize(
    "why",
    [
        "UPDATE reports SET state = 'pending'",
        "UPDATE reports SET state = 'dead'",
        "UPDATE reports SET finished_at = {young}",
        "UPDATE messages SET updated_at = {young}",
        "UPDATE callbacks SET received_at = {young}",
        "INSERT INTO steps (message_id, at, kind) SELECT id, {young}, 'x' FROM messages",
        "UPDATE inbound SET received_at = {young}",
        "INSERT INTO review_members (review_id, subject) SELECT 1, id FROM messages",
        "INSERT INTO review_members (review_id, subject) SELECT 1, digest FROM callbacks LIMIT 1",
        "{send}",
    ],
)
async def test_a_message_stays_for_one_reason(desk: Desk, why: str) -> None:
    """Not finished, or something about it is young: it stays with everything; without that it goes."""
    await finished(desk)
    await desk.receive(inbound("hello"))
    desk.now += 100 * DAY
    await change(desk, why.format(young=desk.now - 89 * DAY, send=IN_OUTBOX))
    before = await all_rows(desk, *OF_MESSAGES[3:])
    assert "messages" not in await prune(desk)
    assert await all_rows(desk, *OF_MESSAGES[3:]) == before
    await change(desk, "DELETE FROM review_members")
    await change(desk, "DELETE FROM sends")
    await report_all(desk)
    desk.now += 100 * DAY
    assert (await prune(desk))["messages"] == 1


async def test_a_message_that_waits_for_its_outcome_stays_for_a_week(desk: Desk) -> None:
    """However short the retention is: what a provider has only taken may still be delivered."""
    await desk.accept()
    await desk.submit(UUID)
    desk.now += 6 * DAY
    assert "messages" not in await prune(desk, days=1)
    desk.now += DAY + 1
    assert (await prune(desk, days=1))["messages"] == 1


async def test_a_message_that_waits_to_be_sent_stays(desk: Desk) -> None:
    """With its text, without which it could not leave: that it is too old is for others to say."""
    await desk.accept()
    desk.now += 1000 * DAY
    assert await prune(desk) == {}
    assert await all_rows(desk, "messages", "texts", "sends") == {"messages": 1, "texts": 1, "sends": 1}


# --- what is raw ---


async def test_texts_and_bodies_go_first(desk: Desk) -> None:
    """The message is shown as before, and its person can be erased."""
    message_id = await finished(desk)
    before = await desk.show(message_id)
    desk.now += 7 * DAY + 1
    assert await prune(desk) == {"texts": 1, "batches": 1}
    assert await desk.show(message_id) == before
    erased = await desk.store.write(lambda tx: directory.erase(tx, desk.rules, "player", "alice", desk.now))
    assert erased is not None


async def test_a_repeated_body_reports_nothing(desk: Desk) -> None:
    """Neither while its digest is known and its bytes are gone, nor when the whole row is."""
    message_id = await finished(desk)
    owed = await desk.owed(message_id)
    desk.now += DAY + 1
    assert await prune(desk, raw_days=1) == {"texts": 1, "bodies": 1}
    assert await prune(desk, raw_days=1) == {}
    body = json.dumps([SENT, DELIVERED]).encode()
    assert await desk.receiving.receive("revicom", body, desk.now) == 0
    assert await rows(desk, "batches") == 1
    desk.now += DAY
    assert await prune(desk, raw_days=1) == {"batches": 1}
    shown = await desk.show(message_id)
    await desk.receive(SENT, DELIVERED)
    assert await rows(desk, "batches") == 1
    assert await desk.owed(message_id) == owed
    assert await desk.show(message_id) == shown


async def test_a_body_that_waits_stays(desk: Desk) -> None:
    """However long: what was answered with success is not lost."""
    body = json.dumps([SENT]).encode()
    await desk.receiving.receive("revicom", body, desk.now)
    desk.now += 1000 * DAY
    assert await prune(desk) == {}
    assert await rows(desk, "batches") == 1


def mended(rules: Rules) -> Rules:
    """With a row for the odd code in the mapping table."""
    table = rules.mappings["revicom"]
    known = {**table.rows, ("delivered", "teleported"): table.rows["delivered", "delivered"]}
    names = {name: getattr(rules, name) for name in rules.__struct_fields__}
    return Rules(**names | {"mappings": {"revicom": type(table)(known, table.error_codes)}})


async def test_an_old_element_can_be_replayed(desk: Desk) -> None:
    """Its batch and its message stay while a person has not decided; after that both go."""
    message_id = await desk.accept()
    await desk.submit(UUID)
    await desk.receive(ODD)
    desk.now += 200 * DAY
    assert await prune(desk) == {"texts": 1}
    (item,) = await open_items(desk)
    replayed = await review.replay(desk.store, mended(desk.rules), item, ALICE, desk.now, resend=False)
    assert replayed.replayed == 1
    assert await desk.owed(message_id) == ["delivered"]
    await report_all(desk)
    desk.now += 91 * DAY
    assert await prune(desk) == {"batches": 1, "messages": 1, "review_items": 1, "audit": 1}


async def test_orphans_stay_until_they_are_dismissed(desk: Desk) -> None:
    """While its item is open, an orphan can be adopted and its batch replayed, however old; a young one as well."""
    await desk.receive(status("sent", "sent", OTHER))
    desk.now += 200 * DAY
    assert await prune(desk) == {}
    await callbacks.review_old_orphans(desk.store, desk.now)
    assert await prune(desk) == {}
    (item,) = await open_items(desk)
    assert (await review.replay(desk.store, desk.rules, item, ALICE, desk.now, resend=False)).matched == 1
    await review.dismiss(desk.store, item, ALICE, desk.now)
    assert await prune(desk) == {"batches": 1, "orphans": 1}
    assert await all_rows(desk, "orphans", "review_members") == {"orphans": 0, "review_members": 0}
    desk.now += 91 * DAY
    assert await prune(desk) == {"review_items": 1, "audit": 2}


async def test_an_unreadable_body_stays_until_it_is_dismissed(desk: Desk) -> None:
    """It is all that a person has to look at; after that it goes like a message, not like a raw body."""
    await desk.receiving.receive("revicom", b"not JSON", desk.now)
    desk.now += 91 * DAY
    assert await prune(desk) == {}
    (item,) = await open_items(desk)
    await review.dismiss(desk.store, item, ALICE, desk.now)
    assert await prune(desk, days=92) == {}
    assert await prune(desk) == {"batches": 1}


async def test_an_answer_to_nothing_goes_by_its_own_age(desk: Desk) -> None:
    """Nobody else would take it along; one that answers a message waits for that."""
    await desk.receive(inbound("hello", "in-1", "+14155550199"))
    await finished(desk)
    await desk.receive(inbound("hello", "in-2"))
    desk.now += 50 * DAY
    assert "inbound" not in await prune(desk)
    desk.now += 41 * DAY
    await change(desk, "UPDATE messages SET updated_at = ?", desk.now)
    assert await prune(desk) == {"inbound": 1}
    assert await rows(desk, "inbound") == 1


# --- in steps ---


async def test_what_was_interrupted_goes_on(desk: Desk) -> None:
    """Each step is whole: after any of them every message has its text, or neither is left, and another goes on."""
    await add_old(desk, 300, desk.now)
    desk.now += 100 * DAY
    first = Pruning(desk.store, Retention(90, 200))
    for _ in range(4):
        await first.step(desk.now)
    left = await rows(desk, "messages")
    assert 0 < left < 300
    assert await prune(desk) == {"messages": left}
    assert await all_rows(desk, "messages", "texts") == {"messages": 0, "texts": 0}


async def test_a_dry_run_counts_what_will_go(desk: Desk) -> None:
    """And changes nothing: the same numbers come again, and are those of the real run."""
    await add_old(desk, 300, desk.now)
    await finished(desk)
    await desk.receive(status("sent", "sent", OTHER), inbound("hi", "in-1", "+14155550199"))
    await callbacks.review_old_orphans(desk.store, desk.now + DAY)
    await desk.receiving.receive("revicom", b"not JSON", desk.now)
    for item in await open_items(desk):
        await review.dismiss(desk.store, item, ALICE, desk.now)
    await desk.accept()
    desk.now += 100 * DAY
    counted = await prune(desk, dry_run=True)
    assert counted == {
        "texts": 301, "batches": 3, "messages": 301, "orphans": 1, "inbound": 1, "review_items": 2, "audit": 2,
    }  # fmt: skip
    assert await prune(desk, dry_run=True) == counted
    assert await prune(desk) == counted
    assert await prune(desk) == {}
    assert await rows(desk, "messages") == 1


async def test_what_must_stay_is_not_looked_at_by_every_round(desk: Desk) -> None:
    """The place is remembered: new old rows behind it are found after a minute, those before it after an hour."""
    at = desk.now
    stuck = await add_old(desk, 1, at)
    later = desk.now = at + 100 * DAY
    await change(desk, "UPDATE messages SET updated_at = ?", later)
    pruning = Pruning(desk.store, Retention(90, 90))
    assert await prune(desk, pruning=pruning) == {"texts": 1}
    assert await pruning.step(later + MINUTE - 1) is None
    await change(desk, "UPDATE messages SET updated_at = ?", at)
    await add_old(desk, 1, at + DAY)
    desk.now = later + MINUTE
    assert await prune(desk, pruning=pruning) == {"texts": 1, "messages": 1}
    desk.now = later + 60 * MINUTE
    assert await desk.store.read(lambda tx: tx.any_of("known_messages", stuck)) == [(stuck[0],)]
    assert await prune(desk, pruning=pruning) == {"messages": 1}


async def test_the_time_of_an_id_decides(desk: Desk) -> None:
    """To the millisecond: what was made at the moment itself stays."""
    moment = desk.now
    ids = await add_old(desk, 3, moment - 1)
    desk.now = moment + 90 * DAY
    await change(desk, "UPDATE messages SET updated_at = 1")
    assert (await prune(desk))["messages"] == 1
    assert first_id(moment) <= ids[1]
