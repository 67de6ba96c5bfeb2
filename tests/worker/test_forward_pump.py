"""Passing things on: the pump on a real database, with a receiver that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from bridge.app import clock
from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request
from bridge.flows import forwarding
from bridge.flows.rules import ReportRules
from bridge.metrics import Metrics
from bridge.secret import Secret
from bridge.store import forwards
from bridge.store.forwards import COMMUNICATION
from bridge.store.postgres import open_store as open_shared
from bridge.store.review import list_reviews
from bridge.store.sqlite import open_store
from bridge.store.tx import Row, Store, Tx
from bridge.worker.forwards import MOST, Destination, ForwardPump
from tests.postgres import PostgresServer

OK = Reply(204)
DOWN = NoConnection("no connection could be made")
RULES = ReportRules([0.05, 0.1], [0.1], 72 * 3_600_000)
Answer = Callable[[str], Outcome | Awaitable[Outcome]]


class Receiver:
    """A transport: everything is kept, and answered with `answer`, which is told the source."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.got: list[str] = []
        self.answer: Answer = lambda _: OK
        self.under_way: Counter[str] = Counter()
        self.most = 0

    async def exchange(self, request: Request) -> Outcome:
        body = json.loads(request.body)
        self.requests.append(request)
        self.got.append(body["source"])
        assert not self.under_way[body["key"]], "two of one key at a time"
        self.under_way[body["key"]] += 1
        self.most = max(self.most, self.under_way.total())
        try:
            answer = self.answer(body["source"])
            return await answer if isinstance(answer, Awaitable) else answer
        finally:
            self.under_way[body["key"]] -= 1

    async def close(self) -> None:
        """There is nothing to let go of."""


class Bench:
    """A database, a receiver, and pumps between them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.receiver = Receiver()
        self.running: list[tuple[ForwardPump, asyncio.Task[None]]] = []

    def start(self, store: Store | None = None) -> ForwardPump:
        headers = {"Authorization": Secret("secret-of-the-receiver"), "X-Bridge-Id": Secret("not this")}
        destination = Destination(COMMUNICATION, "https://r.example/x", "r.example", headers, 5.0)
        pump = ForwardPump(destination, store or self.store, RULES, self.receiver, clock, Metrics())
        self.running.append((pump, asyncio.create_task(pump.run())))
        return pump

    async def kill(self) -> None:
        """Without a word; what is under way ends in the middle."""
        while self.running:
            pump, task = self.running.pop()
            pump.abandon()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def keep(self, *names: str) -> None:
        """Each is a key and a number; they become owed in their order."""
        for source in names:
            await self.store.write(partial(_owe, source=source))
        for pump, _ in self.running:
            pump.wake()

    async def states(self) -> dict[str, str]:
        return {row[0]: row[1] for row in await self.rows("source, state")}

    async def rows(self, columns: str) -> list[Row]:
        return await self.store.read(lambda tx: tx.select(f"SELECT {columns} FROM forwards ORDER BY id", ()))

    async def all_are(self, state: str) -> None:
        async def reached() -> bool:
            return set((await self.states()).values()) == {state}

        await until(reached)


async def _owe(tx: Tx, source: str) -> None:
    payload = json.dumps({"source": source, "key": source[0]}).encode()
    await forwards.add_forward(tx, COMMUNICATION, source, source[0], payload, clock())


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    """Waits until it is true."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if await value if isinstance(value, Awaitable) else value:
                return
            await asyncio.sleep(0.005)


@pytest.fixture
async def bench(tmp_path: Path, database: str) -> AsyncIterator[Bench]:
    sqlite = database.startswith("sqlite")
    store: Store = (
        open_store(tmp_path / "bridge.db", "")
        if sqlite
        else await open_shared(database, "", lease_seconds=0.5)
    )
    bench = Bench(store)
    yield bench
    await bench.kill()
    await store.close()


async def test_a_request(bench: Bench) -> None:
    """POST with the payload as it was kept, the configured headers, and an id of which we decide."""
    bench.start()
    await bench.keep("a1")
    await bench.all_are("done")
    (request,) = bench.receiver.requests
    assert (request.method, request.url, request.timeout) == ("POST", "https://r.example/x", 5.0)
    assert json.loads(request.body) == {"source": "a1", "key": "a"}
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "Authorization": "secret-of-the-receiver",
        "X-Bridge-Id": forwarding.bridge_id(COMMUNICATION, "a1"),
    }
    (row,) = await bench.rows("attempts, latency_ms, length(payload)")
    assert (row[0], row[1] is not None) == (1, True)


async def test_of_one_key_in_order_and_of_all_side_by_side(bench: Bench) -> None:
    """Each key's go one after the other; no more than eight keys at a time."""

    async def slowly(_: str) -> Outcome:
        await asyncio.sleep(0.01)
        return OK

    bench.receiver.answer = slowly
    names = [f"{key}{number}" for number in range(3) for key in "abcdefghijkl"]
    await bench.keep(*names)
    bench.start()
    await bench.all_are("done")
    for key in "abcdefghijkl":
        assert [each for each in bench.receiver.got if each[0] == key] == [f"{key}{n}" for n in range(3)]
    assert len(bench.receiver.got) == len(names)
    assert bench.receiver.most == MOST


async def test_a_key_that_waits_holds_up_no_other(bench: Bench) -> None:
    """While the first of one key is tried again and again, its others wait, and those of other keys go."""
    bench.receiver.answer = lambda source: Reply(429) if source == "a1" else OK
    bench.start()
    await bench.keep("a1", "a2", "b1", "b2")

    async def gone() -> bool:
        return await bench.states() == {"a1": "dead", "a2": "done", "b1": "done", "b2": "done"}

    await until(gone)
    assert bench.receiver.got.count("a1") == 3
    assert bench.receiver.got.index("a2") > bench.receiver.got.index("b2")


@pytest.mark.parametrize("answer", [Reply(301), Reply(400), Reply(404), Reply(410)])
async def test_what_will_not_get_better_is_dead_at_once(bench: Bench, answer: Outcome) -> None:
    """3xx and 4xx; it is under review, and the next of its key goes."""
    bench.receiver.answer = lambda source: answer if source == "a1" else OK
    bench.start()
    await bench.keep("a1", "a2")

    async def gone() -> bool:
        return await bench.states() == {"a1": "dead", "a2": "done"}

    await until(gone)
    assert bench.receiver.got == ["a1", "a2"]
    (item,) = await bench.store.read(lambda tx: list_reviews(tx, 2**62, 10))
    assert item.cause == f"communication: HTTP {answer.status if isinstance(answer, Reply) else 0}"


@pytest.mark.parametrize("answer", [DOWN, NoReply("no answer in time"), Reply(500), Reply(503), Reply(429)])
async def test_what_may_get_better_is_tried_again_with_the_same_id(bench: Bench, answer: Outcome) -> None:
    """By retry_schedule; the receiver knows a repeat by its id."""
    answers = [answer, answer]
    bench.receiver.answer = lambda _: answers.pop() if answers else OK
    bench.start()
    await bench.keep("a1")
    await bench.all_are("done")
    assert len({request.headers["X-Bridge-Id"] for request in bench.receiver.requests}) == 1
    assert await bench.rows("attempts, retries, last_error") == [(3, 2, None)]


async def test_a_used_up_schedule_is_dead(bench: Bench) -> None:
    """One attempt more than the schedule has delays; the reason is shown."""
    bench.receiver.answer = lambda _: DOWN
    bench.start()
    await bench.keep("a1")
    await bench.all_are("dead")
    assert await bench.rows("attempts, last_error") == [(3, DOWN.reason)]


async def test_retry_after_is_honoured(bench: Bench) -> None:
    """The receiver says when; no more than an hour."""
    bench.receiver.answer = lambda source: Reply(
        503, b"", {"retry-after": "1000" if source == "a1" else "9999"}
    )
    bench.start()
    before = clock()
    await bench.keep("a1", "b1")

    async def asked() -> bool:
        return [row[0] for row in await bench.rows("attempts")] == [1, 1]

    await until(asked)
    waits = [row[0] - before for row in await bench.rows("due_at")]
    assert 1_000_000 <= waits[0] < 1_020_000
    assert 3_600_000 <= waits[1] < 3_620_000


@pytest.mark.parametrize("status", [401, 403])
async def test_who_is_refused_pauses_and_probes(bench: Bench, status: int) -> None:
    """One probe at a time, and no attempt is used up; once we are let in again everything goes."""
    bench.receiver.answer = lambda _: Reply(status)
    pump = bench.start()
    await bench.keep("a1")
    await until(lambda: bool(pump.left_alone))
    (alone,) = pump.hosts_alone()
    assert (alone.what, alone.reason) == ("forward_headers refused", f"HTTP {status}")
    await bench.keep(*(f"{key}1" for key in "bcdefghijkl"))
    await until(lambda: len(bench.receiver.got) == 2)
    assert {row[0] for row in await bench.rows("attempts")} == {0}
    bench.receiver.answer = lambda _: OK
    await bench.all_are("done")
    assert pump.left_alone == ""
    assert pump.hosts_alone() == []


async def test_a_receiver_that_is_down_uses_up_nothing(bench: Bench) -> None:
    """Eight failures in a row open the breaker; from then on there is a probe a second, and no attempt counts."""
    bench.receiver.answer = lambda _: DOWN
    pump = bench.start()
    await bench.keep(*(f"{key}1" for key in "abcdefgh"))
    await until(lambda: bool(pump.left_alone))
    tried = len(bench.receiver.got)
    await bench.keep("x1")
    await until(lambda: len(bench.receiver.got) >= tried + 2)
    bench.receiver.answer = lambda _: OK
    await bench.all_are("done")
    assert max(row[0] for row in await bench.rows("retries")) <= 1


async def test_a_crash_between_claim_and_settle_loses_nothing(bench: Bench) -> None:
    """What the receiver perhaps got is passed on again, with the same id, before what waits behind it."""
    never: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    bench.receiver.answer = lambda _: never
    bench.start()
    await bench.keep("a1", "a2", "b1")
    await until(lambda: len(bench.receiver.got) == 2)
    await bench.kill()
    bench.receiver.answer = lambda _: OK
    await end_leases(bench.store)
    bench.start()
    await bench.all_are("done")
    assert [each for each in bench.receiver.got if each[0] == "a"] == ["a1", "a1", "a2"]
    assert bench.receiver.got.count("b1") == 2


async def end_leases(store: Store) -> None:
    """As if the time of the leases were over; SQLite has none."""
    if store.lease_seconds is not None:
        await store.write(lambda tx: tx.select("UPDATE forwards SET leased_until = 0", ()))


async def test_a_bug_of_ours_is_tried_again_and_shown(bench: Bench) -> None:
    """Whatever is raised on the way, the forward ends as dead with a reason, and the pump goes on."""

    def broken(source: str) -> Outcome:
        if source == "a1":
            raise ValueError("a bug")
        return OK

    bench.receiver.answer = broken
    bench.start()
    await bench.keep("a1", "b1")

    async def gone() -> bool:
        return await bench.states() == {"a1": "dead", "b1": "done"}

    await until(gone)
    assert await bench.rows("last_error") == [("ValueError",), (None,)]


async def test_two_instances_share_the_work(postgres: PostgresServer) -> None:
    """Each goes once, of one key in order, whichever of the two has it."""
    url = await postgres.create()
    stores = [await open_shared(url, "", lease_seconds=30) for _ in range(2)]
    bench = Bench(stores[0])
    for store in stores:
        bench.start(store)
    names = [f"{key}{number}" for number in range(4) for key in "abcdefghij"]
    await bench.keep(*names)
    await bench.all_are("done")
    assert sorted(bench.receiver.got) == sorted(names)
    for key in "abcdefghij":
        assert [each for each in bench.receiver.got if each[0] == key] == [f"{key}{n}" for n in range(4)]
    await bench.kill()
    for store in stores:
        await store.close()
    await postgres.drop(url)
