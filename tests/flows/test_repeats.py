"""A provider repeats everything for a day: the same bodies again, and the same elements in ever other batches."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import pytest

from bridge.core.model import new_id
from bridge.flows import callbacks
from bridge.flows.pruning import Pruning, Retention
from bridge.store import inbox
from bridge.store.reports import DueReport
from bridge.store.tx import Tx
from tests.flows.desk import Desk

MESSAGES = 500
MINUTE = 60_000
DAY = 86_400_000
WORDS = (("sent", "sent"), ("delivered", "delivered"), ("read", "read"))


def element(number: int, event: str, word: str) -> dict[str, Any]:
    return {
        "message_uuid": f"uuid-{number}",
        "channel_type": "SMS",
        "callback_event": event,
        "status": word,
        "status_time": "2026-11-21T18:51:13Z",
    }


class Post:
    """A provider that posts bodies, and a bridge that understands them."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.due: list[DueReport] = []
        self.elements = 0
        self.seconds = 0.0

    async def post(self, bodies: Sequence[Sequence[dict[str, Any]]]) -> None:
        desk, began = self.desk, perf_counter()
        for body in bodies:
            await desk.receiving.receive("revicom", json.dumps(body).encode(), desk.now)
        while batches := await desk.store.claim(lambda tx: inbox.waiting_batches(tx, callbacks.PART, 10**7)):
            await callbacks.process(desk.store, desk.rules, batches, desk.now, self.due.extend)
        self.elements += sum(map(len, bodies))
        self.seconds += perf_counter() - began


async def taken_messages(desk: Desk) -> None:
    """So many messages, each known to the provider."""
    ids = [new_id(desk.now, number) for number in range(MESSAGES)]
    messages = [
        {
            "id": each, "gateway": "sms", "type": "sms", "channel": "SMS", "provider": "revicom",
            "smartico_uid": f"uid-{number}", "ext_user_id": "player", "sender": "Amazing", "address_hash": None,
            "address_masked": None, "callback_url": desk.store.vault.seal_text("https://api.smartico.ai/callback"),
            "lane": "sms@api.smartico.ai", "created_at": desk.now,
        }
        for number, each in enumerate(ids)
    ]  # fmt: skip
    known = [
        {"provider": "revicom", "provider_message_id": f"uuid-{number}", "message_id": each, "step": None}
        for number, each in enumerate(ids)
    ]

    async def job(tx: Tx) -> None:
        await tx.run_many("add_message", messages)
        await tx.run_many("add_provider_message", known)

    await desk.store.write(job)


async def state(desk: Desk) -> dict[str, Any]:
    """Everything that repeats must not change."""
    tables = ("messages", "callbacks", "reports", "steps", "review_items", "review_members", "orphans")
    found: dict[str, Any] = {}
    for table in tables:
        rows = await desk.store.search(lambda tx, table=table: tx.select(f"SELECT * FROM {table}", ()))  # type: ignore[misc]
        found[table] = sorted(map(repr, rows))
    return found


async def kept(desk: Desk) -> tuple[int, int]:
    """How many bodies there are, and their bytes."""
    (row,) = await desk.store.search(
        lambda tx: tx.select("SELECT count(*), coalesce(sum(length(body)), 0) FROM batches", ())
    )
    return int(row[0]), int(row[1])


@pytest.mark.timeout(120)
async def test_repeats_for_a_day_change_nothing_and_are_not_kept(desk: Desk) -> None:
    """Every five minutes the same bodies, and every two hours all elements in other batches and another order.

    States, reports and review stay as they were, Smartico is told nothing again, the bodies of repeats are not kept,
    and after three days their digests are gone as well.
    """
    await taken_messages(desk)
    everything = [element(number, *words) for words in WORDS for number in range(MESSAGES)]
    everything += [{**element(7, "delivered", "of a new kind")}, {"message_uuid": "broken"}]
    first = [everything[start : start + 100] for start in range(0, len(everything), 100)]
    post, draw = Post(desk), random.Random(3)
    await post.post(first)
    before, (bodies, size), owed = await state(desk), await kept(desk), len(post.due)
    assert owed == MESSAGES
    assert len(before["callbacks"]) == 3 * MESSAGES + 1
    again = Post(desk)
    for minute in range(5, 24 * 60, 5):
        desk.now += 5 * MINUTE
        await again.post(first)
        if minute % 120 == 0:
            draw.shuffle(everything)
            size_of_batch = draw.choice([50, 130, 450])
            await again.post(
                [
                    everything[start : start + size_of_batch]
                    for start in range(0, len(everything), size_of_batch)
                ]
            )
    after = await state(desk)
    assert {table: len(rows) for table, rows in after.items()} == {
        table: len(rows) for table, rows in before.items()
    }
    assert after["messages"] == before["messages"]
    assert after["reports"] == before["reports"]
    assert again.due == []
    now_bodies, now_size = await kept(desk)
    # Two elements of each shuffle are not understood, and lie in two bodies at most.
    assert now_size < size + 11 * 2 * 450 * 160
    if os.environ.get("SHOW_FIGURES"):
        rate = again.elements / again.seconds
        sys.stderr.write(f"{again.elements:,} repeats, {rate:,.0f}/s, {now_bodies - bodies} more digests\n")
    desk.now += 3 * DAY
    pruning = Pruning(desk.store, Retention(90, 1))
    while await pruning.step(desk.now) is not None:
        pass
    assert (await kept(desk))[0] <= 2 + 2 * 11
