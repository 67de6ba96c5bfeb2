"""The stock of a lane on a database that several processes share: what may go from here, and what is left to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest
from msgspec.structs import replace

from bridge.core.model import MessageId, Status, new_id
from bridge.errors import StoreError
from bridge.store import postgres, reports
from bridge.store.leases import steady
from bridge.store.postgres import PostgresStore
from bridge.store.reports import DueReport, Settlement
from bridge.store.tx import Job, Store, Tx
from bridge.worker.leased import LeasedStock
from bridge.worker.leases import Held
from bridge.worker.stock import LOAD
from bridge.worker.waiting import key_of
from tests.store.conftest import end_leases
from tests.worker.wrapped import WrappedStore

T = TypeVar("T")
NOW = 1_795_234_921_250
POLL = 1000  # milliseconds
LEASE = 600.0  # seconds
USABLE = LEASE / 2
MOST = 2000
LANE = "sms@a.example"


class Gate(WrappedStore):
    """A database that counts claims and writes, can be away, and can hold up a claim after its commit."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.calls = 0
        self.away = False
        self.claimed = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def write(self, job: Job[T]) -> T:
        self._count()
        return await super().write(job)

    async def claim(self, job: Job[T]) -> T:
        self._count()
        value = await super().claim(job)
        self.claimed.set()
        await self.go_on.wait()
        return value

    def _count(self) -> None:
        self.calls += 1
        if self.away:
            raise StoreError("The database cannot be used now: it is away.")


class Office:
    """One process: its store, what it has under way, and its stock of the lane. Its clocks stand where they are put."""

    def __init__(self, store: PostgresStore) -> None:
        self.name = store.name
        self.store = Gate(store)
        self.now = NOW
        self.steady = steady()
        self.held = Held(LEASE, lambda: self.steady)
        self.stock = LeasedStock(LANE, self.store, lambda: self.now, self.held, LEASE)

    def take_all(self) -> list[MessageId]:
        found: list[MessageId] = []
        while (report := self.stock.take(self.now)) is not None:
            found.append(report.message_id)
        return found

    async def due(self, at: int = NOW) -> list[MessageId]:
        """What the database gives this process, past its stock."""
        found = await self.store.store.claim(lambda tx: reports.due_reports(tx, LANE, at, 1000))
        return [each.message_id for each in found]


@pytest.fixture
async def mine(shared_url: str) -> AsyncIterator[Office]:
    store = await postgres.open_store(shared_url, "", lease_seconds=LEASE)
    yield Office(store)
    await store.close()


@pytest.fixture
async def theirs(shared_url: str) -> AsyncIterator[Office]:
    """Another process on the same database."""
    store = await postgres.open_store(shared_url, "", lease_seconds=LEASE)
    yield Office(store)
    await store.close()


async def owe(office: Office, count: int = 1, *, anybodys: bool = True) -> list[MessageId]:
    """Messages that owe a report, due now; leased to the office unless they are anybody's."""
    store = office.store.store
    ids = [new_id(NOW, number) for number in range(count)]
    url = store.vault.seal_text("https://a.example/cb")
    messages = [
        {
            "id": each, "gateway": "sms", "type": "sms", "channel": "SMS", "provider": "revicom",
            "smartico_uid": each.hex(), "ext_user_id": "user", "sender": "", "address_hash": None,
            "address_masked": None, "callback_url": url, "lane": LANE, "created_at": NOW,
        }
        for each in ids
    ]  # fmt: skip
    owed = [
        {"message_id": each, "status": "accepted", "seq": 0, "lane": LANE, "due_at": NOW, "owed_at": NOW}
        for each in ids
    ]

    async def job(tx: Tx) -> None:
        await tx.run_many("add_message", messages)
        await tx.run_many("add_report", owed)

    await store.write(job)
    if anybodys:
        await end_leases(store)
    return ids


def made_up(number: int, since: float, due_at: int = NOW) -> DueReport:
    """A report as the one who made it owed has it in memory."""
    return DueReport(
        message_id=new_id(NOW, number), status=Status.ACCEPTED, seq=0, due_at=due_at, owed_at=NOW, attempts=0,
        retries=0, refusals=0, not_founds=0, lane=LANE, gateway="sms", type="sms",
        callback_url="https://a.example/cb", since=since,
    )  # fmt: skip


# --- in memory ---


async def test_what_was_made_here_goes_from_memory(mine: Office) -> None:
    """A report that this process made owed can be taken at once, is held then, and asks the database for nothing."""
    report = made_up(0, mine.steady)
    mine.stock.hand_over(report)
    assert mine.stock.ready(NOW) == 1
    assert not mine.held.all_valid([report.message_id])
    assert mine.stock.take(NOW) == report
    assert mine.held.all_valid([report.message_id])
    assert mine.stock.take(NOW) is None
    assert mine.store.calls == 0


async def test_what_is_held_counts_from_its_lease(mine: Office) -> None:
    """What is under way is valid since the report was leased, however long it waited here."""
    report = made_up(0, mine.steady - 10)
    mine.stock.hand_over(report)
    assert mine.stock.take(NOW) == report
    mine.steady += LEASE - 10.5
    assert mine.held.all_valid([report.message_id])
    mine.steady += 1
    assert not mine.held.all_valid([report.message_id])


async def test_a_report_waits_here_for_its_time(mine: Office) -> None:
    """A report that is due later is not given before, and its time is the next one to look, if it is the first."""
    await mine.stock.load(NOW)
    mine.stock.hand_over(made_up(0, mine.steady, NOW + 400))
    assert mine.stock.next_at() == NOW + 400
    assert mine.stock.take(NOW + 399) is None
    mine.stock.hand_over(made_up(1, mine.steady, NOW + POLL + 1))
    taken = mine.stock.take(NOW + 400)
    assert taken is not None
    assert taken.message_id == new_id(NOW, 0)
    assert mine.stock.next_at() == NOW + POLL


async def test_the_same_report_is_here_once(mine: Office) -> None:
    """Handed over twice it waits once, and since the later time; while it is under way it is not added again."""
    old, report = made_up(0, mine.steady - USABLE), made_up(0, mine.steady)
    for each in (old, report, old):
        mine.stock.hand_over(each)
    assert len(mine.take_all()) == 1
    mine.stock.hand_over(report)
    assert mine.take_all() == []
    mine.stock.forget(key_of(report))
    mine.stock.hand_over(report)
    assert len(mine.take_all()) == 1


async def test_more_than_memory_holds_stays_in_the_database(mine: Office) -> None:
    """Of very many reports two thousand are kept; for the others the database is looked at when they are due."""
    await mine.stock.load(NOW)
    for number in range(MOST):
        mine.stock.hand_over(made_up(number, mine.steady))
    assert mine.stock.ready(NOW) == MOST
    assert mine.stock.next_at() == NOW + POLL
    mine.stock.hand_over(made_up(MOST, mine.steady, NOW + 300))
    assert mine.stock.next_at() == NOW + 300
    assert mine.stock.ready(NOW + 300) == MOST


async def test_a_lease_is_renewed_before_it_ends(mine: Office) -> None:
    """Also of a report that was taken at the last moment, right after a round of renewing: others never see it."""
    report = made_up(0, mine.steady - USABLE + 0.01)
    mine.stock.hand_over(report)
    assert mine.take_all() == [report.message_id]
    mine.steady += LEASE / 3  # as long as `Leases` rests between two rounds
    assert mine.held.all_valid([report.message_id])
    assert mine.held.ending() == [report.message_id]


async def test_what_is_forgotten_is_not_held(mine: Office) -> None:
    """A report that is settled is under way no more, and one that is given up while it waits is not given."""
    taken, waiting = made_up(0, mine.steady), made_up(1, mine.steady)
    mine.stock.hand_over(taken)
    assert mine.stock.take(NOW) == taken
    mine.stock.hand_over(waiting)
    for each in (taken, waiting):
        mine.stock.forget(key_of(each))
    assert not mine.held.all_valid([taken.message_id])
    assert mine.take_all() == []


# --- leased too long ago ---


async def test_what_waited_too_long_does_not_go(mine: Office) -> None:
    """A report goes out only within the first three quarters of its lease, so that an attempt ends before the lease."""
    for number, age in enumerate((USABLE - 0.01, USABLE, LEASE + 1)):
        mine.stock.hand_over(made_up(number, mine.steady - age))
    assert mine.take_all() == [new_id(NOW, 0)]
    assert not mine.held.all_valid([new_id(NOW, 1)])


async def test_what_waited_too_long_is_found_again(mine: Office) -> None:
    """A report that was refused for its age is looked for at once, and goes with a new lease if nobody has it."""
    (message_id,) = await owe(mine, anybodys=False)
    await mine.stock.load(NOW)
    assert mine.take_all() == [message_id]
    mine.stock.forget((message_id, Status.ACCEPTED))
    mine.stock.hand_over(made_up(0, mine.steady - USABLE))
    assert mine.take_all() == []
    assert mine.stock.next_at() == NOW
    assert mine.stock.wants(NOW)
    await mine.stock.load(NOW)
    assert mine.take_all() == [message_id]
    assert mine.held.all_valid([message_id])


async def test_what_another_took_over_meanwhile_is_not_found(mine: Office, theirs: Office) -> None:
    """A report whose lease ended while it waited here goes once: from where it was claimed since."""
    (message_id,) = await owe(mine, anybodys=False)
    mine.stock.hand_over(made_up(0, mine.steady - LEASE - 1))
    await end_leases(mine.store)
    await theirs.stock.load(NOW)
    assert theirs.take_all() == [message_id]
    assert mine.take_all() == []
    await mine.stock.load(NOW)
    assert mine.take_all() == []


# --- again ---


async def test_what_is_due_again_belongs_to_nobody(mine: Office, theirs: Office) -> None:
    """A report that is to be tried again is not kept here: whoever looks first once it is due gets it."""
    (message_id,) = await owe(mine)
    await mine.stock.load(NOW)
    report = mine.stock.take(NOW)
    assert report is not None
    due_at = NOW + 700
    later = Settlement(message_id, Status.ACCEPTED, "pending", due_at, 1, 1, 0, 0, None, "503")
    await mine.store.write(lambda tx: reports.settle(tx, [later], NOW))
    mine.stock.forget(key_of(report))
    mine.stock.again(replace(report, due_at=due_at))
    assert mine.stock.next_at() == due_at
    assert not mine.stock.wants(due_at - 1)
    assert mine.stock.wants(due_at)
    assert mine.stock.take(due_at) is None
    assert not mine.held.all_valid([message_id])
    theirs.now = mine.now = due_at
    await theirs.stock.load(due_at)
    assert theirs.take_all() == [message_id]
    await mine.stock.load(due_at)
    assert mine.take_all() == []


async def test_who_tried_it_before_may_try_it_again(mine: Office) -> None:
    """With nobody else there, a report that is due again is found where it failed, with its attempts counted."""
    (message_id,) = await owe(mine)
    await mine.stock.load(NOW)
    report = mine.stock.take(NOW)
    assert report is not None
    later = Settlement(message_id, Status.ACCEPTED, "pending", NOW + 5000, 1, 1, 0, 0, None, "503")
    await mine.store.write(lambda tx: reports.settle(tx, [later], NOW))
    mine.stock.forget(key_of(report))
    mine.stock.again(replace(report, due_at=NOW + 5000))
    assert mine.stock.next_at() == NOW + POLL
    await mine.stock.load(NOW + 4999)
    assert mine.stock.take(NOW + 4999) is None
    await mine.stock.load(NOW + 5000)
    found = mine.stock.take(NOW + 5000)
    assert found is not None
    assert (found.message_id, found.attempts, found.retries) == (message_id, 1, 1)


async def test_what_could_not_go_is_let_go_of(mine: Office) -> None:
    """A report that is put back is held no more, and is to be looked for by the clock of this moment."""
    (message_id,) = await owe(mine)
    await mine.stock.load(NOW)
    report = mine.stock.take(NOW)
    assert report is not None
    mine.now = NOW + 50
    mine.stock.put_back(report)
    assert not mine.held.all_valid([message_id])
    assert mine.take_all() == []
    assert mine.stock.next_at() == NOW + 50
    await mine.stock.load(NOW + 50)
    assert mine.take_all() == [message_id]


# --- looking ---


async def test_it_is_looked_every_second(mine: Office) -> None:
    """At first it is time to look; after a look that found little the next one is due in a second, or when asked."""
    assert mine.stock.wants(NOW)
    await mine.stock.load(NOW)
    assert mine.stock.next_at() == NOW + POLL
    assert not mine.stock.wants(NOW + POLL - 1)
    assert mine.stock.wants(NOW + POLL)
    mine.stock.compare(1000)
    assert not mine.stock.wants(NOW)
    mine.stock.look_again()
    assert mine.stock.wants(NOW)


async def test_a_look_with_a_limit_takes_so_many(mine: Office, theirs: Office) -> None:
    """A probing look takes the one report that it may, leaves the rest to others, and does not look again at once."""
    ids = await owe(mine, 5)
    await mine.stock.load(NOW, 1)
    assert mine.stock.ready(NOW) == 1
    assert mine.stock.next_at() == NOW + POLL
    assert len(others := await theirs.due()) == 4
    assert sorted(mine.take_all() + others) == ids


async def test_what_is_known_does_not_use_up_a_limit(mine: Office) -> None:
    """Those that wait here may be among those that are found, and one more is found all the same."""
    ids = await owe(mine, 5)
    await mine.stock.load(NOW, 2)
    await mine.stock.load(NOW, 1)
    assert mine.stock.ready(NOW) == 3
    await mine.stock.load(NOW)
    assert sorted(mine.take_all()) == ids


async def test_more_than_one_look_finds(mine: Office) -> None:
    """After a look that found as many as it may, the next one is due at once, but not before there is room."""
    count = LOAD + 44
    ids = await owe(mine, count)
    await mine.stock.load(NOW)
    assert mine.stock.ready(NOW) == LOAD
    assert mine.stock.next_at() == NOW
    assert not mine.stock.wants(NOW)
    taken = [mine.stock.take(NOW)]
    assert mine.stock.wants(NOW)
    await mine.stock.load(NOW)
    assert mine.stock.ready(NOW) == count - 1
    assert mine.stock.next_at() == NOW + POLL
    assert None not in taken
    assert sorted([each.message_id for each in taken if each] + mine.take_all()) == ids


async def test_what_is_under_way_is_not_found_again(mine: Office) -> None:
    """The database names what is leased to this process again; what is under way does not go twice."""
    ids = await owe(mine, 3)
    await mine.stock.load(NOW)
    taken = mine.stock.take(NOW)
    assert taken is not None
    await mine.stock.load(NOW)
    assert sorted([taken.message_id, *mine.take_all()]) == ids
    await mine.stock.load(NOW)
    assert mine.take_all() == []


async def test_what_ends_while_it_is_looked_does_not_come_back(mine: Office) -> None:
    """A report that is settled while the database is being read is not added by what was read before."""
    first, second = await owe(mine, 2, anybodys=False)
    mine.stock.hand_over(made_up(0, mine.steady))
    assert mine.take_all() == [first]
    mine.store.go_on.clear()
    looking = asyncio.create_task(mine.stock.load(NOW))
    async with asyncio.timeout(30):
        await mine.store.claimed.wait()
        done = Settlement(first, Status.ACCEPTED, "done", None, 1, 0, 0, 0, 7, None)
        await mine.store.write(lambda tx: reports.settle(tx, [done], NOW))
        mine.stock.forget((first, Status.ACCEPTED))
        mine.store.go_on.set()
        await looking
    assert mine.take_all() == [second]
    mine.stock.forget((second, Status.ACCEPTED))  # nobody looks now: it may come back
    await mine.stock.load(NOW)
    assert mine.take_all() == [second]


async def test_a_look_that_failed_is_repeated(mine: Office) -> None:
    """A database that is away is looked at again after a second, and nothing that waits here is lost by it."""
    first, second = await owe(mine, 2)
    mine.stock.hand_over(made_up(0, mine.steady))
    mine.store.away = True
    with pytest.raises(StoreError):
        await mine.stock.load(NOW)
    assert mine.stock.ready(NOW) == 1
    assert mine.stock.next_at() == NOW + POLL
    mine.store.away = False
    mine.stock.forget((first, Status.ACCEPTED))  # is nothing that ended while it was looked
    await mine.stock.load(NOW + POLL)
    assert sorted(mine.take_all()) == [first, second]


async def test_two_processes_share_a_lane(mine: Office, theirs: Office) -> None:
    """Of reports that are anybody's each goes out from exactly one process, however often both look."""
    ids = await owe(mine, 40)
    found: list[MessageId] = []
    for _ in range(20):
        await asyncio.gather(mine.stock.load(NOW, 1), theirs.stock.load(NOW, 1))
        found += mine.take_all() + theirs.take_all()
    await asyncio.gather(mine.stock.load(NOW), theirs.stock.load(NOW))
    assert sorted(found + mine.take_all() + theirs.take_all()) == ids


# --- letting go ---


async def test_all_that_waits_is_let_go_to_others(mine: Office, theirs: Office) -> None:
    """What waits here may be sent by others at once, now or when it is due; what is under way stays here."""
    ids = await owe(mine, 4)
    await mine.stock.load(NOW)
    taken = mine.stock.take(NOW)
    assert taken is not None
    assert await theirs.due() == []
    await mine.stock.let_go()
    assert mine.stock.ready(NOW) == 0
    assert mine.take_all() == []
    assert mine.held.all_valid([taken.message_id])
    await theirs.stock.load(NOW)
    assert sorted([taken.message_id, *theirs.take_all()]) == ids


async def test_nothing_to_let_go_asks_nobody(mine: Office) -> None:
    """Letting go writes only if something waits: what is under way is no reason, nor what was let go before."""
    await mine.stock.let_go()
    mine.stock.hand_over(made_up(0, mine.steady))
    assert mine.stock.take(NOW) is not None
    await mine.stock.let_go()
    assert mine.store.calls == 0
    mine.stock.hand_over(made_up(1, mine.steady, NOW + 100))
    await mine.stock.let_go()
    await mine.stock.let_go()
    assert mine.store.calls == 1
    assert mine.stock.take(NOW + 100) is None


async def test_what_could_not_be_let_go_is_found_again(mine: Office) -> None:
    """With the database away nothing of it goes out all the same; the next look finds what still is ours."""
    ids = await owe(mine, 3)
    await mine.stock.load(NOW)
    mine.store.away = True
    with pytest.raises(StoreError):
        await mine.stock.let_go()
    assert mine.take_all() == []
    mine.store.away = False
    await mine.stock.load(NOW + POLL)
    assert sorted(mine.take_all()) == ids
