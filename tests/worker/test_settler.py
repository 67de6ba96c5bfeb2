"""Outcomes of reports are stored: many in one write, in their order, and none is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from bridge.core.model import MessageId, Status, new_id
from bridge.errors import StoreError
from bridge.store import reports
from bridge.store.reports import DueReport, Settlement
from bridge.store.sqlite import SqliteStore, open_store
from bridge.store.tx import Job, Tx
from bridge.worker.settler import Settler
from tests.worker.wrapped import WrappedStore

T = TypeVar("T")
NOW = 1_795_234_921_250
LANE = "sms@a.example"


class Store(WrappedStore):
    """A database that counts writes, and fails where it is told to."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store)
        self.writes = 0
        self.failures: list[Exception] = []  # of the next writes, the last one first

    async def write(self, job: Job[T]) -> T:
        self.writes += 1
        if self.failures:
            raise self.failures.pop()
        return await super().write(job)


class Lane:
    """What a lane is told."""

    def __init__(self) -> None:
        self.settled_keys: list[tuple[MessageId, Status]] = []
        self.next: list[DueReport] = []

    def settled(self, report: DueReport, settlement: Settlement) -> None:
        assert (report.message_id, report.status) == (settlement.message_id, settlement.status)
        self.settled_keys.append((report.message_id, report.status))

    def hand_over(self, report: DueReport) -> None:
        self.next.append(report)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(open_store(tmp_path / "bridge.db", ""))
    yield made
    await made.close()


@pytest.fixture
async def settler(store: Store) -> AsyncIterator[Settler]:
    made = Settler(store, lambda: NOW + 50)
    task = asyncio.create_task(made.run())
    yield made
    await made.stop()
    await task


async def owe(store: Store, count: int = 1) -> list[DueReport]:
    """Messages that owe `accepted`, then `delivered`; gives the reports that are due."""
    ids = [new_id(NOW, number) for number in range(count)]
    messages = [
        {
            "id": each, "gateway": "sms", "type": "sms", "channel": "SMS", "provider": "revicom",
            "smartico_uid": each.hex(), "ext_user_id": "user", "sender": "", "address_hash": None,
            "address_masked": None, "callback_url": store.vault.seal_text("https://a.example/cb"), "lane": LANE,
            "created_at": NOW,
        }
        for each in ids
    ]  # fmt: skip
    owed = [
        {"message_id": each, "status": status, "seq": seq, "lane": LANE, "due_at": due_at, "owed_at": NOW}
        for each in ids
        for seq, (status, due_at) in enumerate([(Status.ACCEPTED, NOW), (Status.DELIVERED, None)])
    ]

    async def job(tx: Tx) -> list[DueReport]:
        await tx.run_many("add_message", messages)
        await tx.run_many("add_report", owed)
        return await reports.due_reports(tx, LANE, NOW, count)

    return await store.store.write(job)


def done(report: DueReport) -> Settlement:
    return Settlement(report.message_id, report.status, "done", None, 1, 0, 0, 0, 7, None)


def again(report: DueReport) -> Settlement:
    return Settlement(report.message_id, report.status, "pending", NOW + 5000, 1, 1, 0, 0, None, "HTTP 503")


async def states(store: Store, status: Status = Status.ACCEPTED) -> list[str]:
    sql = "SELECT state FROM reports WHERE status = ?"
    return [row[0] for row in await store.read(lambda tx: tx.select(sql, [status]))]


async def until(condition: Callable[[], bool], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.002)


async def test_many_outcomes_are_one_write(store: Store, settler: Settler) -> None:
    """What ends within ten milliseconds is stored together; each lane hears of its own, and gets the next reports."""
    due = await owe(store, 40)
    lanes = [Lane(), Lane()]
    for number, report in enumerate(due):
        settler.add(lanes[number % 2], report, done(report))
    await until(lambda: all(len(lane.settled_keys) == 20 for lane in lanes))
    assert store.writes == 1
    assert await states(store) == ["done"] * 40
    for number, lane in enumerate(lanes):
        own = [each.message_id for each in due[number::2]]
        assert lane.settled_keys == [(each, Status.ACCEPTED) for each in own]
        assert [each.message_id for each in lane.next] == own
        assert {(each.status, each.seq, each.due_at, each.callback_url) for each in lane.next} == {
            (Status.DELIVERED, 1, NOW + 50, "https://a.example/cb")
        }


async def test_lanes_hear_of_it_after_the_commit(store: Store, settler: Settler) -> None:
    """Neither the lane nor the next report is told before the outcome can be seen in the database."""
    (report,) = await owe(store)
    seen: list[Sequence[str]] = []

    class Looking(Lane):
        def settled(self, report: DueReport, settlement: Settlement) -> None:
            super().settled(report, settlement)
            looking.append(asyncio.ensure_future(states(store)))

    looking: list[asyncio.Future[list[str]]] = []
    settler.add(Looking(), report, done(report))
    await until(lambda: bool(looking))
    seen.append(await looking[0])
    assert seen == [["done"]]


async def test_a_report_that_goes_again_frees_nothing(store: Store, settler: Settler) -> None:
    """A failure leaves the report pending at its new time, and the next report of the message waits on."""
    (report,) = await owe(store)
    lane = Lane()
    settler.add(lane, report, again(report))
    await until(lambda: bool(lane.settled_keys))
    assert lane.next == []
    found = await store.read(lambda tx: reports.due_reports(tx, LANE, 10**15, 10))
    assert [(each.status, each.due_at, each.attempts, each.retries) for each in found] == [
        (Status.ACCEPTED, NOW + 5000, 1, 1)
    ]


async def test_stopping_stores_what_waits(store: Store) -> None:
    """What was added before the end is on disk after it, without the usual pause."""
    due = await owe(store, 3)
    settler, lane = Settler(store, lambda: NOW), Lane()
    task = asyncio.create_task(settler.run())
    for report in due:
        settler.add(lane, report, done(report))
    await settler.stop()
    await asyncio.wait_for(task, 3)
    assert await states(store) == ["done"] * 3
    assert len(lane.settled_keys) == 3


async def test_stopping_with_nothing_to_do(store: Store) -> None:
    """It ends at once, whether it was ever used or not."""
    settler = Settler(store, lambda: NOW)
    task = asyncio.create_task(settler.run())
    await asyncio.sleep(0)
    await settler.stop()
    await asyncio.wait_for(task, 3)
    assert store.writes == 0


async def test_a_database_that_is_away(store: Store, settler: Settler) -> None:
    """An outcome is written again until the database takes it; what comes meanwhile waits behind it."""
    first, second = await owe(store, 2)
    lane = Lane()
    store.failures = [StoreError("The database cannot be used now: it is full.")]
    settler.add(lane, first, done(first))
    await until(lambda: store.writes == 1)
    settler.add(lane, second, done(second))
    await until(lambda: len(lane.settled_keys) == 2)
    assert lane.settled_keys == [(each.message_id, each.status) for each in (first, second)]
    assert await states(store) == ["done", "done"]


async def test_a_bug_costs_one_outcome(store: Store, settler: Settler) -> None:
    """Where one outcome cannot be stored the others are, and later ones too."""
    due = await owe(store, 4)
    lane = Lane()
    impossible = Settlement(due[1].message_id, due[1].status, "done", None, 1, 0, 0, 0, 1 << 70, None)
    for report in due[:3]:
        settler.add(lane, report, impossible if report is due[1] else done(report))
    await until(lambda: len(lane.settled_keys) == 2)
    settler.add(lane, due[3], done(due[3]))
    await until(lambda: len(lane.settled_keys) == 3)
    assert sorted(await states(store)) == ["done", "done", "done", "pending"]
    assert {each.message_id for each in lane.next} == {
        due[0].message_id,
        due[2].message_id,
        due[3].message_id,
    }
