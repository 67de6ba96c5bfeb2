"""The inbox pump: it understands all that was kept, says truly how much waits, and lets receiving go first."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bridge.metrics import Metrics
from bridge.store.reports import DueReport
from bridge.store.tx import Job, Store
from bridge.worker.inbox import InboxPump
from tests.flows.desk import Desk, open_desk
from tests.postgres import PostgresServer
from tests.worker.wrapped import WrappedStore

T = TypeVar("T")
ROOT = "063464ec-a34f-4558-90c5-"


def element(number: int, word: str = "delivered") -> dict[str, Any]:
    return {
        "message_uuid": f"{ROOT}{number:012}",
        "channel_type": "SMS",
        "callback_event": "sent" if word == "sent" else "delivered",
        "status": word,
        "status_time": "2026-11-21T18:51:13Z",
    }


class SlowSearches(WrappedStore):
    """A database whose searches are answered when the test says so."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.searched = asyncio.Event()
        self.answer = asyncio.Event()
        self.answer.set()

    async def search(self, job: Job[T]) -> T:
        found = await super().search(job)
        self.searched.set()
        await self.answer.wait()
        return found


class Inbox:
    """A desk, and the pump that empties its inbox."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.store = SlowSearches(desk.store)
        self.reported: list[DueReport] = []
        self.lowest = 0
        self.pump = InboxPump(self.store, desk.rules, lambda: desk.now, Metrics(), reported=self.report)
        self.task: asyncio.Task[None] | None = None

    def report(self, due: Sequence[DueReport]) -> None:
        self.lowest = min(self.lowest, self.pump.waiting)
        self.reported += due

    async def start(self) -> None:
        await self.pump.recount()
        self.task = asyncio.create_task(self.pump.run())

    async def stop(self) -> None:
        await self.pump.stop()
        if self.task is not None:
            await asyncio.wait_for(self.task, 5)
        await self.pump.drain()

    async def keep(self, *elements: Any) -> int:
        """As the web does, but for saying that it arrived."""
        kept = await self.desk.receiving.receive("revicom", json.dumps(elements).encode(), self.desk.now)
        assert isinstance(kept, int), kept
        self.lowest = min(self.lowest, self.pump.waiting)
        return kept

    async def arrive(self, *elements: Any) -> None:
        if kept := await self.keep(*elements):
            self.pump.arrived(kept)

    async def batches(self, state: str) -> int:
        sql = "SELECT count(*) FROM batches WHERE state = ?"
        (row,) = await self.desk.store.read(lambda tx: tx.select(sql, [state]))
        return int(row[0])

    async def empty(self, within: float = 5.0) -> None:
        async with asyncio.timeout(within):
            while await self.batches("waiting"):
                await asyncio.sleep(0.005)
        await until(lambda: self.pump.waiting == 0)


async def until(condition: Callable[[], bool], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    desk = await open_desk(tmp_path)
    await desk.add_contact()
    made = Inbox(desk)
    yield made
    await made.stop()
    await desk.store.close()


async def submitted(inbox: Inbox, count: int) -> None:
    """Messages that the provider has taken."""
    for number in range(count):
        await inbox.desk.accept()
        await inbox.desk.submit(f"{ROOT}{number:012}")


async def test_everything_is_applied(inbox: Inbox) -> None:
    """Bodies of many, of one and of no element: each element does its work, and each new report is handed on once."""
    await submitted(inbox, 30)
    await inbox.start()
    await inbox.arrive(*(element(number, "sent") for number in range(30)))
    for number in range(30):
        await inbox.arrive(element(number))
    await inbox.arrive()
    await inbox.empty()
    (row,) = await inbox.desk.store.read(lambda tx: tx.select("SELECT count(*) FROM reports", []))
    assert row == (60,)
    assert len(inbox.reported) == len({each.message_id for each in inbox.reported}) == 30


async def test_what_was_kept_before_the_start(inbox: Inbox) -> None:
    """A process that died with bodies in its inbox leaves them to the next one, which knows how many they are."""
    await inbox.keep(*(element(number) for number in range(250)))
    await inbox.keep(*(element(number) for number in range(250, 300)))
    assert inbox.pump.waiting == 0
    await inbox.pump.recount()
    assert inbox.pump.waiting == 300
    await inbox.start()
    await inbox.empty()
    (row,) = await inbox.desk.store.read(lambda tx: tx.select("SELECT count(*) FROM orphans", []))
    assert row == (300,)


async def test_what_nobody_told_of(inbox: Inbox) -> None:
    """A body whose caller was sent away before its commit, and that is known when it is repeated, is found."""
    await inbox.start()
    await asyncio.sleep(0)
    assert await inbox.keep(element(1)) == 1
    assert await inbox.keep(element(1)) == 0
    await inbox.pump.recount()  # as the service does every few seconds
    await inbox.empty()


async def test_no_callback_waits_for_a_search(tmp_path: Path, postgres: PostgresServer) -> None:
    """Bodies are understood while the look for stragglers, which several instances need, has to wait for others."""
    url = await postgres.create()
    desk = await open_desk(tmp_path, database=url)
    inbox = Inbox(desk)
    await inbox.start()
    inbox.store.answer.clear()
    try:
        for number in range(3):
            await inbox.arrive(element(number))
            await inbox.empty()
    finally:
        inbox.store.answer.set()
        await inbox.stop()
        await desk.store.close()
        await postgres.drop(url)


async def test_waiting_is_never_negative(inbox: Inbox) -> None:
    """Not even while a body is applied before it was said to have arrived; in the end it is zero."""
    await inbox.start()
    for number in range(20):
        kept = await inbox.keep(element(number), element(number, "sent"))
        inbox.pump.wake()
        if number % 2:
            async with asyncio.timeout(3):
                while await inbox.batches("waiting"):
                    await asyncio.sleep(0.002)
        assert inbox.pump.waiting >= 0
        inbox.pump.arrived(kept)
    await inbox.empty()
    assert inbox.lowest == 0
    await inbox.arrive(*(element(number) for number in range(100, 107)))
    await inbox.empty()


async def test_a_body_that_is_known_counts_nothing(inbox: Inbox) -> None:
    """A repeat adds nothing to what waits."""
    await inbox.arrive(element(1), element(2))
    await inbox.arrive(element(1), element(2))
    assert inbox.pump.waiting == 2
    await inbox.start()
    await inbox.empty()
    assert await inbox.batches("done") == 1


async def test_receiving_goes_first(inbox: Inbox) -> None:
    """While thousands wait and more arrive the pump rests between its parts; bodies that come then are kept quickly."""
    for start in range(0, 3000, 100):
        await inbox.arrive(*(element(number) for number in range(start, start + 100)))
    await inbox.start()
    spans: list[float] = []
    for start in range(3000, 4000, 100):
        started = time.perf_counter()
        await inbox.arrive(*(element(number) for number in range(start, start + 100)))
        spans.append(time.perf_counter() - started)
    assert inbox.pump.waiting > 1000
    await inbox.empty(15)
    assert sorted(spans)[len(spans) // 2] < 1.0
    (row,) = await inbox.desk.store.read(lambda tx: tx.select("SELECT count(*) FROM orphans", []))
    assert row == (4000,)


async def test_stopping_leaves_the_rest(inbox: Inbox) -> None:
    """The part under way is finished, the others stay for the next start; nothing is half applied."""
    for start in range(0, 3000, 100):
        await inbox.arrive(*(element(number) for number in range(start, start + 100)))
    await inbox.start()
    async with asyncio.timeout(5):
        while not await inbox.batches("done"):
            await asyncio.sleep(0)
    await inbox.stop()
    (row,) = await inbox.desk.store.read(lambda tx: tx.select("SELECT count(*) FROM orphans", []))
    assert row[0] == 100 * await inbox.batches("done")
    assert inbox.pump.waiting == 100 * await inbox.batches("waiting") > 0


async def test_what_arrives_during_a_recount_is_counted(inbox: Inbox) -> None:
    """A body that is kept after the search looked, and before its answer is there, waits like any other."""
    inbox.store.answer.clear()
    counting = asyncio.create_task(inbox.pump.recount())
    await inbox.store.searched.wait()
    await inbox.arrive(element(1), element(2))
    inbox.store.answer.set()
    await counting
    assert inbox.pump.waiting == 2


async def test_what_is_applied_during_a_recount_waits_no_more(inbox: Inbox) -> None:
    """When everything was applied while the search ran, nothing waits."""
    await inbox.arrive(element(1), element(2))
    inbox.store.answer.clear()
    counting = asyncio.create_task(inbox.pump.recount())
    await inbox.store.searched.wait()
    assert await inbox.pump.step() == 0.0
    inbox.store.answer.set()
    await counting
    assert inbox.pump.waiting == 0


async def test_a_report_carries_when_its_callback_came(inbox: Inbox) -> None:
    """However long a body waited to be understood: the report that it causes knows when it was received."""
    await submitted(inbox, 1)
    came = inbox.desk.now
    await inbox.keep(element(0))
    inbox.desk.now += 7000
    await inbox.start()
    await until(lambda: bool(inbox.reported))
    (report,) = inbox.reported
    assert (report.received_at, report.owed_at) == (came, came + 7000)
