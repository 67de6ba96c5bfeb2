"""Status reports leave: lanes on a real database, with a transport that answers as it is told."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace

from bridge.core.exchange import NoConnection, Outcome, Reply, Request
from bridge.core.model import MessageId, Status, id_text, new_id
from bridge.errors import StoreError
from bridge.flows import leaps, reporting
from bridge.flows.rules import ReportRules
from bridge.metrics import Metrics
from bridge.secret import Secret
from bridge.store import reports
from bridge.store.reports import DueReport
from bridge.store.sqlite import open_store
from bridge.store.tx import Job, Store, Tx
from bridge.worker.leases import Held
from bridge.worker.reports import ReportPumps, ReportTarget
from bridge.worker.stock import MISSED
from tests.worker.wrapped import WrappedStore

T = TypeVar("T")
LANE = "sms@a.example"
ONE = (Status.DELIVERED,)
TWO = (Status.ACCEPTED, Status.DELIVERED)
FOUR = (Status.ACCEPTED, Status.DELIVERED, Status.OPENED, Status.CLICKED)
OK = Reply(200, b'{"error_code": 0}')
DOWN = NoConnection("no connection could be made")
RULES = ReportRules([0.2, 0.3], [0.1], 72 * 3_600_000)
Answer = Callable[["Sent"], Outcome | Awaitable[Outcome]]


class Sent:
    """A report as Smartico sees it."""

    def __init__(self, request: Request) -> None:
        parts = urlsplit(request.url)
        query = parse_qs(parts.query)
        self.host = parts.hostname
        self.message = query["ext_message_id"][0]
        self.status = query["status"][0]
        self.type = query["type"][0]
        self.at = time.monotonic()

    @property
    def key(self) -> tuple[str, str]:
        return self.message, self.status


class Smartico:
    """A transport: everything is kept, and answered with `answer`."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.answer: Answer = lambda _: OK
        self.under_way: Counter[str | None] = Counter()
        self.most: Counter[str | None] = Counter()  # under way at once, by host

    async def exchange(self, request: Request) -> Outcome:
        sent = Sent(request)
        self.sent.append(sent)
        self.under_way[sent.host] += 1
        self.most[sent.host] = max(self.most[sent.host], self.under_way[sent.host])
        try:
            answer = self.answer(sent)
            return answer if not isinstance(answer, Awaitable) else await answer
        finally:
            self.under_way[sent.host] -= 1

    async def close(self) -> None:
        """There is nothing to let go of."""

    def calls(self) -> list[tuple[str, str]]:
        return [each.key for each in self.sent]


class WatchedStore(WrappedStore):
    """A database that counts how often it is read, and can be away for a while."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.reads = 0
        self.failing_reads: set[int] = set()  # by number

    async def read(self, job: Job[T]) -> T:
        self.reads += 1
        if self.reads in self.failing_reads:
            raise StoreError("The database cannot be used now: it is away.")
        return await super().read(job)


class Office:
    """A database, Smartico, a clock that can be moved on, and pumps, one set after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = WatchedStore(open_store(path, ""))
        self.smartico = Smartico()
        self.metrics = Metrics()
        self.ahead = 0
        self.looks = 0  # at the clock
        self.pumps: ReportPumps | None = None
        self._number = 0

    def clock(self) -> int:
        self.looks += 1
        return time.time_ns() // 1_000_000 + self.ahead

    async def open(
        self, *, rules: ReportRules = RULES, in_flight: int = 8, per_second: float = 0
    ) -> ReportPumps:
        """Starts the pumps."""
        keys = defaultdict(lambda: Secret("key"), mail=Secret("key of mail"))
        target = ReportTarget(
            api_key=keys.__getitem__,
            callback_hosts=["*.example"],
            allow_insecure_callbacks=False,
            timeout_seconds=5,
            max_in_flight=in_flight,
            max_per_second=per_second,
        )
        self.pumps = ReportPumps(
            self.store, rules, target, self.smartico, self.clock, self.metrics, Held(None, time.monotonic)
        )
        await self.pumps.start()
        return self.pumps

    async def stop(self) -> None:
        """Stops in order."""
        if self.pumps is not None:
            await self.pumps.stop()
            await self.pumps.drain()
            self.pumps = None

    async def abandon(self) -> None:
        """Stops at once, as far as a process can do that to itself."""
        assert self.pumps is not None
        await self.pumps.stop()
        self.pumps.abandon()
        await asyncio.sleep(0)
        self.pumps = None

    async def owe(
        self,
        count: int = 1,
        statuses: Sequence[Status] = ONE,
        *,
        lane: str = LANE,
        delay: int = 0,
        age: int = 0,
        url: str = "",
    ) -> list[DueReport]:
        """Messages whose reports are in the store; gives the first report of each. `delay` and `age` in ms."""
        now, vault = self.clock(), self.store.vault
        gateway, _, host = lane.partition("@")
        sealed = vault.seal_text(url or f"https://{host}/cb?brand=7")
        ids = [new_id(now, self._number + number) for number in range(count)]
        self._number += count
        rows = [
            {
                "id": each, "gateway": gateway, "type": gateway, "channel": "SMS", "provider": "revicom",
                "smartico_uid": each.hex(), "ext_user_id": "user", "sender": "", "address_hash": None,
                "address_masked": None, "callback_url": sealed, "lane": lane, "created_at": now,
            }
            for each in ids
        ]  # fmt: skip
        owed = [
            {
                "message_id": each, "status": status, "seq": seq, "lane": lane, "owed_at": now - age,
                "due_at": None if seq else now + delay,
            }
            for each in ids
            for seq, status in enumerate(statuses)
        ]  # fmt: skip

        async def job(tx: Tx) -> None:
            await tx.run_many("add_message", rows)
            await tx.run_many("add_report", owed)

        await self.store.store.write(job)
        found = await self.store.store.read(lambda tx: reports.due_reports(tx, lane, now + delay, 100_000))
        own = set(ids)
        return [each for each in found if each.message_id in own]

    def select(self, sql: str, *values: Any) -> list[Any]:
        """What is committed, seen from outside."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, values).fetchall()

    def count(self, state: str) -> int:
        (row,) = self.select("SELECT count(*) FROM reports WHERE state = ?", state)
        return int(row[0])

    def failed(self) -> int:
        """How many reports are stored with what went wrong."""
        (row,) = self.select("SELECT count(*) FROM reports WHERE last_error IS NOT NULL")
        return int(row[0])

    async def done(self, count: int, state: str = "done", within: float = 5.0) -> None:
        """Waits until so many reports have ended."""
        await until(lambda: self.count(state) >= count, within)
        assert self.count(state) == count


async def until(condition: Callable[[], bool], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    made = Office(tmp_path / "bridge.db")
    yield made
    await made.stop()
    await made.store.close()


def keys_of(due: Sequence[DueReport]) -> list[tuple[str, str]]:
    return [(id_text(each.message_id), str(each.status)) for each in due]


# --- what is sent ---


async def test_what_is_owed_at_the_start_is_sent(office: Office) -> None:
    """Every lane with something to send is opened, more than one load of it is found, each report goes once."""
    due = await office.owe(700) + await office.owe(3, lane="mail@b.example")
    await office.open()
    await office.done(703)
    assert sorted(office.smartico.calls()) == sorted(keys_of(due))
    assert {each.type for each in office.smartico.sent if each.host == "b.example"} == {"mail"}


async def test_new_reports_are_sent_without_reading(office: Office) -> None:
    """Once a lane holds all that there is, what is handed over goes from memory; the store is only written."""
    pumps = await office.open()
    pumps.hand_over(await office.owe())
    await office.done(1)
    before = office.store.reads
    for number in range(2, 7):
        pumps.hand_over(await office.owe())
        await office.done(number)
    pumps.hand_over(await office.owe(300, FOUR))
    await office.done(1206)
    assert office.store.reads == before
    assert len(office.smartico.sent) == len(set(office.smartico.calls())) == 1206


async def test_the_time_since_the_callback_is_observed(office: Office) -> None:
    """Of a report that a callback caused the time from its arrival counts; of any other only that since it was owed."""
    pumps = await office.open()
    pumps.hand_over(await office.owe())
    await office.done(1)
    by_callback, by_us = await office.owe(2)
    pumps.hand_over([replace(by_callback, received_at=by_callback.owed_at - 4000), by_us])
    await office.done(3)
    text = office.metrics.text().decode()
    assert "bridge_report_age_seconds_count 3.0" in text
    assert "bridge_callback_to_report_seconds_count 1.0" in text
    assert 'bridge_callback_to_report_seconds_bucket{le="2.5"} 0.0' in text


@pytest.mark.parametrize("handed_over", [True, False])
async def test_a_report_that_is_due_later_waits(office: Office, *, handed_over: bool) -> None:
    """It leaves at its time, and nobody has to wake the lane; whether it was handed over or found in the store."""
    pumps = await office.open()
    pumps.hand_over(await office.owe())
    await office.done(1)
    (later,) = await office.owe(delay=400)
    if handed_over:
        pumps.hand_over([later])
    else:
        await pumps.look_everywhere()
    await office.done(2)
    sent_at = office.smartico.sent[1].at - time.monotonic() + time.time()
    assert 0 <= sent_at * 1000 - later.due_at + 1 < 2000


async def test_the_same_report_handed_over_twice(office: Office) -> None:
    """It leaves once, also while it is under way."""
    started = asyncio.Event()

    async def slowly(_: Sent) -> Outcome:
        started.set()
        await asyncio.sleep(0.1)
        return OK

    office.smartico.answer = slowly
    pumps = await office.open()
    due = await office.owe()
    pumps.hand_over(due + due)
    await started.wait()
    pumps.hand_over(due)
    pumps.look_again([LANE])
    await office.done(1)
    await office.stop()
    assert len(office.smartico.sent) == 1


async def test_more_than_memory_holds(office: Office) -> None:
    """Far more reports than a lane may hold, handed over while its host is slow, all leave, each once."""
    count = 10_100
    free = asyncio.Event()

    async def held(_: Sent) -> Outcome:
        await free.wait()
        return OK

    office.smartico.answer = held
    pumps = await office.open(in_flight=64)
    pumps.hand_over(await office.owe())
    await until(lambda: len(office.smartico.sent) == 1)
    due = await office.owe(count)
    for start in range(0, count, 1000):
        pumps.hand_over(due[start : start + 1000])
        await asyncio.sleep(0)
    free.set()
    office.smartico.answer = lambda _: OK
    await until(lambda: len(office.smartico.sent) >= count + 1, 20)
    await office.done(count + 1, within=20)
    assert len(set(office.smartico.calls())) == len(office.smartico.sent)


async def test_one_after_the_other(office: Office) -> None:
    """Of a message the next report leaves only when what came of the one before is on disk; in their order."""
    states: list[list[Any]] = []

    def look(sent: Sent) -> Outcome:
        sql = "SELECT state FROM reports AS r WHERE r.message_id = ? AND seq < ? ORDER BY seq"
        states.append(office.select(sql, messages[sent.message], FOUR.index(Status(sent.status))))
        return OK

    office.smartico.answer = look
    due = await office.owe(10, FOUR)
    messages: dict[str, MessageId] = {id_text(each.message_id): each.message_id for each in due}
    await office.open()
    await office.done(40)
    assert all(state == ("done",) for before in states for state in before)
    for message in messages:
        own = [each.status for each in office.smartico.sent if each.message == message]
        assert own == list(FOUR)


async def test_a_replay_is_sent(office: Office) -> None:
    """Dead reports that are made pending again leave in their order; the lane is there already, or is not."""
    office.smartico.answer = lambda _: Reply(404)
    pumps = await office.open()
    due = await office.owe(2, TWO) + await office.owe(1, TWO, lane="mail@b.example")
    pumps.hand_over(due)
    await office.done(6, "dead")
    office.smartico.answer = lambda _: OK
    office.smartico.sent.clear()
    keys = [(each.message_id, status) for each in due for status in reversed(TWO)]
    await office.store.write(lambda tx: reports.revive(tx, keys[:4], office.clock()))
    await pumps.look_everywhere()
    await office.done(4)
    await office.stop()
    await office.store.write(lambda tx: reports.revive(tx, keys[4:], office.clock()))
    await (await office.open()).look_everywhere()
    await office.done(6)
    for each in due:
        own = [sent.status for sent in office.smartico.sent if sent.message == id_text(each.message_id)]
        assert own == list(TWO)


async def test_buried_reports_are_not_sent(office: Office) -> None:
    """A report that grew too old while it waited is not sent any more, and the next of its message is."""
    pumps = await office.open()
    (due,) = await office.owe(1, TWO, delay=300, age=RULES.max_age_ms - 5000)
    pumps.hand_over([due])
    await asyncio.sleep(0)
    office.ahead += 6000
    buried = await reporting.bury_aged(office.store, RULES, office.clock())
    assert buried == [(LANE, (due.message_id, due.status))]
    pumps.buried(buried)
    await until(lambda: bool(office.smartico.sent))
    await asyncio.sleep(0.05)  # the buried one would be due as well
    assert office.smartico.calls() == [(id_text(due.message_id), "delivered")]
    assert office.select("SELECT status, state FROM reports ORDER BY seq")[0] == ("accepted", "dead")


async def test_what_nobody_handed_over_is_found(office: Office) -> None:
    """Where the store owes more than a lane knows of, for long, the lane looks; an unknown lane is opened."""
    pumps = await office.open()
    pumps.hand_over(await office.owe())
    await office.done(1)
    await office.owe(2)
    for _ in range(MISSED - 1):
        pumps.compare({LANE: 2})
    pumps.compare({LANE: 0})  # once they agreed: it begins anew
    for _ in range(MISSED - 1):
        pumps.compare({LANE: 2})
    await asyncio.sleep(0.05)
    assert len(office.smartico.sent) == 1
    pumps.compare({LANE: 2})
    await office.done(3)
    await office.owe(lane="sms@b.example")
    pumps.compare({LANE: 0, "sms@b.example": 1})
    await office.done(4)


# --- what came of it ---


async def test_a_failure_is_tried_again_at_its_time(office: Office) -> None:
    """Each attempt waits as long as the schedule says, and the counts are those of all attempts."""
    outcomes = [OK, Reply(503), Reply(503)]
    office.smartico.answer = lambda _: outcomes.pop()
    pumps = await office.open()
    pumps.hand_over(await office.owe())
    await office.done(1)
    first, second, third = (each.at for each in office.smartico.sent)
    assert 0.17 <= second - first <= 2.0
    assert 0.26 <= third - second <= 2.0
    columns = "attempts, retries, refusals, not_founds"
    assert office.select(f"SELECT {columns} FROM reports") == [(3, 2, 0, 0)]


async def test_counts_outlive_the_process(office: Office) -> None:
    """What was tried before a restart counts after it: the schedule goes on, and ends."""
    office.smartico.answer = lambda _: Reply(503)
    pumps = await office.open()
    pumps.hand_over(await office.owe())
    await until(lambda: office.select("SELECT retries FROM reports") == [(1,)])
    await office.stop()
    await office.open()
    await office.done(1, "dead")
    assert office.select("SELECT attempts, last_error FROM reports") == [(3, "HTTP 503")]
    assert len(office.smartico.sent) == 3


async def test_a_dead_report_frees_the_next(office: Office) -> None:
    """Whether it is hopeless at once or has used up its tries."""
    dead = {
        "accepted": Reply(302),
        "delivered": Reply(200, b'{"error_code": 1, "error_message": "Not found"}'),
    }
    office.smartico.answer = lambda sent: dead.get(sent.status, OK)
    await office.owe(1, FOUR)
    await office.open()
    await until(lambda: (office.count("dead"), office.count("done")) == (2, 2))
    assert [each.status for each in office.smartico.sent] == ["accepted", "delivered", "delivered", *FOUR[2:]]


async def test_an_address_that_is_not_allowed_any_more(office: Office) -> None:
    """It is dead with the reason, nothing is called, and other reports of the lane go on."""
    await office.owe(1, url="https://elsewhere.test/cb")
    await office.owe()
    await office.open()
    await until(lambda: (office.count("dead"), office.count("done")) == (1, 1))
    assert [each.host for each in office.smartico.sent] == ["a.example"]


async def test_a_transport_that_raises(office: Office) -> None:
    """A bug of ours in one exchange is tried again like a failure, and stops no other report."""
    bugs: list[Exception] = [ZeroDivisionError()]

    def answer(_: Sent) -> Outcome:
        if bugs:
            raise bugs.pop()
        return OK

    office.smartico.answer = answer
    await office.owe(20)
    await office.open()
    await office.done(20)
    assert office.select("SELECT max(attempts), sum(attempts) FROM reports") == [(2, 21)]


# --- hosts ---


async def test_lanes_of_one_host_share_its_slots(office: Office) -> None:
    """Two lanes of one host get the same share of its slots, and together no more than there are."""

    async def slowly(_: Sent) -> Outcome:
        await asyncio.sleep(0.002)
        return OK

    office.smartico.answer = slowly
    await office.owe(200)
    await office.owe(200, lane="mail@a.example")
    await office.open(in_flight=4)
    await office.done(400)
    assert office.smartico.most["a.example"] == 4
    early = Counter(each.type for each in office.smartico.sent[:200])
    assert min(early["sms"], early["mail"]) >= 70


async def test_a_silent_host_holds_up_no_other(office: Office) -> None:
    """While every slot of one host is taken by requests without an answer, reports to another leave at once."""
    free = asyncio.Event()

    async def silent(_: Sent) -> Outcome:
        await free.wait()
        return OK

    office.smartico.answer = lambda sent: silent(sent) if sent.host == "a.example" else OK
    await office.owe(50)
    await office.owe(50, lane="sms@b.example")
    await office.open(in_flight=4)
    await office.done(50)
    assert office.smartico.under_way == Counter({"a.example": 4})
    free.set()
    await office.done(100)


async def test_a_host_that_is_down(office: Office) -> None:
    """It is left alone but for one probe now and then, which costs next to nothing and no attempts; once it is back
    everything goes."""
    office.smartico.answer = lambda _: DOWN
    pumps = await office.open(rules=ReportRules([0.05] * 5, [0.1], 72 * 3_600_000), in_flight=4)
    pumps.hand_over(await office.owe(60))
    await until(lambda: bool(pumps.hosts_down()))
    assert pumps.hosts_down() == {"a.example": "no connection could be made"}
    (alone,) = pumps.hosts_alone()
    assert (alone.what, alone.next_try_at) == ("down", alone.since + 1000)
    calls, looks = len(office.smartico.sent), office.looks
    assert calls <= 8 + 4
    await asyncio.sleep(1.3)  # one probe in it
    assert len(office.smartico.sent) == calls + 1
    assert office.looks - looks < 100
    office.smartico.answer = lambda _: OK
    office.ahead += 2000  # the next probe
    pumps.look_again([LANE])
    await office.done(60)
    assert pumps.hosts_down() == {}
    (total,) = office.select("SELECT sum(attempts) FROM reports")
    assert total[0] <= 60 + 8
    assert len(set(office.smartico.calls())) == 60


async def test_a_host_that_is_down_costs_no_attempts_at_the_start(office: Office) -> None:
    """Eight failures open the breaker; the reports of the others, and the probes, have not been counted."""
    office.smartico.answer = lambda _: Reply(503)
    await office.owe(100)
    pumps = await office.open(in_flight=16)
    await until(lambda: bool(pumps.hosts_down()) and not office.smartico.under_way["a.example"])
    await office.stop()
    assert office.count("pending") == 100
    assert office.select("SELECT sum(attempts), sum(retries) FROM reports") == [(8, 8)]


async def test_a_refused_key_pauses_its_own_reports(office: Office) -> None:
    """401 pauses host and key together: no attempt is used up, another key of the same host goes on."""
    office.smartico.answer = lambda sent: Reply(401) if sent.type == "sms" else OK
    pumps = await office.open(in_flight=2)
    pumps.hand_over(await office.owe(20))
    await until(lambda: bool(pumps.hosts_down()))
    assert [(each.host, each.what) for each in pumps.hosts_alone()] == [("a.example", "api_key refused")]
    pumps.hand_over(await office.owe(20, lane="mail@a.example"))
    await office.done(20)
    refused = [each for each in office.smartico.sent if each.type == "sms"]
    assert len(refused) <= 3
    office.smartico.answer = lambda _: OK
    office.ahead += 1000
    pumps.look_again([LANE])
    await office.done(40)
    assert office.select("SELECT DISTINCT attempts FROM reports") == [(1,)]


async def test_the_pace_is_kept(office: Office) -> None:
    """With max_per_second reports to a host keep their distance, whatever their lanes; other hosts are not slowed."""
    await office.owe(10)
    await office.owe(10, lane="mail@a.example")
    await office.owe(3, lane="sms@b.example")
    await office.open(per_second=50)
    await office.done(23)
    times = [each.at for each in office.smartico.sent if each.host == "a.example"]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert sum(gaps) >= 19 * 0.02 - 0.01
    assert min(gaps) >= 0.008
    assert sum(gaps) <= 19 * 0.02 * 1.8


# --- the database is away ---


@pytest.mark.parametrize("read", [1, 2], ids=["of what is due", "of everything"])
async def test_a_read_that_fails_is_made_again(office: Office, read: int) -> None:
    """What is owed leaves although the database was away for a moment when the lane looked."""
    await office.owe(3)
    (later,) = await office.owe(delay=500)
    pumps = await office.open()
    office.store.failing_reads = {office.store.reads + read}
    pumps.look_again([LANE])
    await office.done(4, within=2.5)
    assert (id_text(later.message_id), "delivered") in office.smartico.calls()


# --- stopping ---


async def test_stopping_in_order(office: Office) -> None:
    """What is under way ends and is stored; nothing else leaves, and all of it is in the store for the next start."""

    async def slowly(_: Sent) -> Outcome:
        await asyncio.sleep(0.1)
        return OK

    office.smartico.answer = slowly
    due = await office.owe(50, TWO)
    pumps = await office.open(in_flight=4)
    await until(lambda: len(office.smartico.sent) >= 4)
    await pumps.stop()
    pumps.hand_over(await office.owe(1, lane="sms@late.example"))
    await pumps.drain()
    office.pumps = None
    sent = len(office.smartico.sent)
    assert sent <= 8
    assert (office.count("done"), office.count("pending")) == (sent, 101 - sent)
    office.smartico.answer = lambda _: OK
    await office.open()
    await office.done(101)
    assert len(office.smartico.sent) == len(set(office.smartico.calls())) == 101
    assert len(due) == 50


async def test_abandoning_loses_nothing(office: Office) -> None:
    """Requests that were cut off are due again at the next start, and so is everything else."""

    async def never(_: Sent) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    office.smartico.answer = lambda sent: never(sent) if len(office.smartico.sent) % 2 else OK
    due = await office.owe(20)
    await office.open(in_flight=4)
    await until(lambda: office.smartico.under_way["a.example"] == 4)
    await office.abandon()
    assert office.count("dead") == 0
    office.smartico.answer = lambda _: OK
    await office.open()
    await office.done(20)
    assert set(office.smartico.calls()) == set(keys_of(due))


async def test_stopping_does_not_wait_for_the_pace(office: Office) -> None:
    """Reports whose turn has not come are not under way: with a slow pace the end does not take longer."""
    await office.owe(40)
    pumps = await office.open(per_second=5)
    await until(lambda: bool(office.smartico.sent))
    started = time.monotonic()
    await pumps.stop()
    await pumps.drain()
    office.pumps = None
    assert time.monotonic() - started < 3.0  # 39 turns of 0.2 s are left


# --- a clock that goes back ---


async def test_a_clock_that_goes_back_by_hours(office: Office) -> None:
    """Neither a breaker that is open nor a report that was put off waits until the clock is there again."""
    hours = 5 * 3_600_000
    office.ahead = hours
    office.smartico.answer = lambda _: DOWN
    await office.owe(20)
    pumps = await office.open()
    await until(lambda: "a.example" in pumps.hosts_down())
    await until(
        lambda: office.failed() == len(set(office.smartico.calls()))
    )  # what is not stored cannot be moved
    office.ahead = 0
    office.smartico.answer = lambda _: OK
    await leaps.bring_forward(office.store, office.clock(), hours)
    pumps.start_anew()
    await office.done(20, within=15)
