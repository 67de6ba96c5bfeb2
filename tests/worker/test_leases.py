"""What is under way stays ours as long as its lease is renewed, and counts as lost as soon as nobody can be sure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from bridge.core.model import MessageId, new_id
from bridge.errors import StoreError
from bridge.store import postgres, reports, sends
from bridge.store.postgres import PostgresStore
from bridge.store.reports import DueReport
from bridge.store.sends import Send
from bridge.store.sqlite import open_store
from bridge.store.tx import Job, Store, Tx
from bridge.worker.leases import Held, Leases
from tests.store.conftest import end_leases
from tests.worker.wrapped import WrappedStore

T = TypeVar("T")
NOW = 1_795_234_921_250
LATER = 10**15
LEASE = 60.0  # seconds
LANE = "sms@a.example"
A, B, C = (new_id(NOW, number) for number in range(3))


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class AwayStore(WrappedStore):
    """A database that counts writes, can be away, and lets something happen while it writes."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.writes = 0
        self.away = False
        self.hangs = False
        self.meanwhile: Callable[[], None] = lambda: None

    async def write(self, job: Job[T]) -> T:
        self.writes += 1
        if self.away:
            raise StoreError("The database cannot be used now: it is away.")
        if self.hangs:
            await asyncio.Event().wait()
        value = await super().write(job)
        self.meanwhile()
        return value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def held(clock: Clock) -> Held:
    return Held(LEASE, clock)


@pytest.fixture
async def store(shared_url: str) -> AsyncIterator[AwayStore]:
    made = AwayStore(await postgres.open_store(shared_url, "", lease_seconds=LEASE))
    yield made
    await made.close()


@pytest.fixture
async def other(shared_url: str) -> AsyncIterator[PostgresStore]:
    """Another process on the same database."""
    made = await postgres.open_store(shared_url, "", lease_seconds=LEASE)
    yield made
    await made.close()


@pytest.fixture
def leases(store: AwayStore, clock: Clock) -> Leases:
    return Leases(store, clock)


async def add_work(store: Store) -> None:
    """Three messages, each with a hand-over to come and a report that is due; nobody has any of it."""
    seal = store.vault.seal_text
    messages = [
        {
            "id": each, "gateway": "sms", "type": "sms", "channel": "SMS", "provider": "revicom",
            "smartico_uid": each.hex(), "ext_user_id": "user", "sender": "", "address_hash": None,
            "address_masked": None, "callback_url": seal("https://a.example/cb"), "lane": LANE, "created_at": NOW,
        }
        for each in (A, B, C)
    ]  # fmt: skip
    queued = [
        {
            "message_id": each, "gateway": "sms", "provider": "revicom", "destination": seal("+447700900123"),
            "due_at": NOW, "expires_at": LATER,
        }
        for each in (A, B, C)
    ]  # fmt: skip
    owed = [
        {"message_id": each, "status": "accepted", "seq": 0, "lane": LANE, "due_at": NOW, "owed_at": NOW}
        for each in (A, B, C)
    ]

    async def job(tx: Tx) -> None:
        await tx.run_many("add_message", messages)
        await tx.run_many("add_send", queued)
        await tx.run_many("add_report", owed)

    await store.write(job)
    await end_leases(store)


async def claim_sends(store: Store) -> list[Send]:
    return await store.claim(lambda tx: sends.claim(tx, "revicom", NOW, 100))


async def claim_reports(store: Store) -> list[DueReport]:
    return await store.claim(lambda tx: reports.due_reports(tx, LANE, NOW, 100))


async def left_behind(store: Store) -> list[MessageId]:
    """The hand-overs whose lease is over."""
    rows = await store.write(lambda tx: tx.all("handed_sends", provider="revicom"))
    return [row[0] for row in rows]


async def hold_all(leases: Leases, store: Store) -> None:
    """This process has everything, since now."""
    await add_work(store)
    assert len(await claim_sends(store)) == len(await claim_reports(store)) == 3
    for each in (leases.sends, leases.reports):
        each.add([A, B, C], each.now())


# --- what is held ---


def test_a_lease_is_valid_until_its_time_is_over(held: Held, clock: Clock) -> None:
    """What is held counts as ours up to the end of its lease, and from that moment on no more."""
    held.add([A], clock.at)
    clock.at += LEASE - 0.001
    assert held.all_valid([A])
    clock.at += 0.001
    assert not held.all_valid([A])


def test_one_that_is_lost_spoils_all(held: Held, clock: Clock) -> None:
    """Several are valid together only if each of them is; one that was never held, or was dropped, is not."""
    held.add([A, B], clock.at)
    assert held.all_valid([A, B])
    assert held.all_valid([])
    assert not held.all_valid([A, C])
    held.drop([B, C])
    assert held.all_valid([A])
    assert not held.all_valid([A, B])


def test_a_lease_counts_from_when_it_was_asked_for(held: Held, clock: Clock) -> None:
    """A lease that began before it was heard of ends that much earlier."""
    held.add([A], clock.at - LEASE + 1)
    assert held.all_valid([A])
    clock.at += 1
    assert not held.all_valid([A])


def test_a_third_of_its_time_over_a_lease_is_to_be_renewed(held: Held, clock: Clock) -> None:
    """Only those are renewed whose lease is more than a third over, in the order of their ids."""
    held.add([C, A], clock.at)
    clock.at += LEASE / 3
    held.add([B], clock.at)
    assert held.ending() == []
    clock.at += 0.001
    assert held.ending() == sorted([A, C])


def test_only_what_is_still_held_is_renewed(held: Held, clock: Clock) -> None:
    """A renewal of something that was done meanwhile does not bring it back."""
    held.add([A, B], clock.at)
    held.drop([B])
    clock.at += LEASE / 2
    held.renewed([A, B, C], clock.at)
    clock.at += LEASE * 3 / 4
    assert held.all_valid([A])
    assert not held.all_valid([B])
    assert not held.all_valid([C])
    assert held.ending() == [A]


def test_who_owns_the_database_alone_holds_for_ever(clock: Clock) -> None:
    """Without leases everything that is held stays valid, and nothing is ever to be renewed."""
    held = Held(None, clock)
    held.add([A], clock.at)
    clock.at += 10**9
    assert held.all_valid([A])
    assert held.ending() == []
    assert not held.all_valid([A, B])


# --- renewals ---


async def test_a_database_of_ones_own_has_no_renewals(tmp_path: Path, clock: Clock) -> None:
    """On SQLite neither a round nor the end asks the database for anything."""
    store = AwayStore(open_store(tmp_path / "bridge.db", ""))
    leases = Leases(store, clock)
    leases.sends.add([A], clock.at)
    clock.at += 10**6
    assert await leases.step() is None
    await leases.give_back()
    assert store.writes == 0
    await store.close()


async def test_nothing_is_written_before_it_is_time(leases: Leases, store: AwayStore, clock: Clock) -> None:
    """A round in which no lease is a third over writes nothing, and the next one is due after a third of the time."""
    leases.sends.add([A], clock.at)
    leases.reports.add([A], clock.at)
    assert await leases.step() == LEASE / 3
    assert store.writes == 0


async def test_what_is_under_way_is_renewed(
    leases: Leases, store: AwayStore, other: PostgresStore, clock: Clock
) -> None:
    """Each round begins the leases of sends and reports anew, here and in the database, where nobody else gets them."""
    await hold_all(leases, store)
    for _ in range(4):
        clock.at += LEASE / 2
        await end_leases(store)
        await leases.step()
    assert leases.sends.all_valid([A, B, C])
    assert leases.reports.all_valid([A, B, C])
    assert await left_behind(other) == []
    assert await claim_reports(other) == []


async def test_a_renewal_counts_from_before_it_was_written(
    leases: Leases, store: AwayStore, clock: Clock
) -> None:
    """However long the database takes to renew, the lease counts from before it was asked."""
    await hold_all(leases, store)

    def slow() -> None:
        clock.at += 10

    clock.at += LEASE / 2
    store.meanwhile = slow
    await leases.step()  # two writes, of sends and of reports
    clock.at += LEASE - 20
    assert not leases.sends.all_valid([A])
    assert leases.reports.all_valid([A])
    clock.at += 10
    assert not leases.reports.all_valid([A])


async def test_what_another_took_over_is_not_renewed(
    leases: Leases, store: AwayStore, other: PostgresStore, clock: Clock
) -> None:
    """A lease that somebody else got meanwhile stays lost, however often it is asked for, and the rest is kept."""
    await hold_all(leases, store)
    await end_leases(store)
    await store.store.write(lambda tx: reports.renew(tx, [A, B]))
    assert [each.message_id for each in await claim_reports(other)] == [C]
    for _ in range(3):
        clock.at += LEASE / 2
        await leases.step()
    assert leases.reports.all_valid([A, B])
    assert not leases.reports.all_valid([C])
    assert leases.sends.all_valid([A, B, C])
    renewed = await other.write(lambda tx: reports.renew(tx, [A, B, C]))
    assert renewed == {C}


async def test_what_is_done_while_it_is_renewed_stays_done(
    leases: Leases, store: AwayStore, clock: Clock
) -> None:
    """What ended while the database was renewing its lease is held no more afterwards."""
    await hold_all(leases, store)
    clock.at += LEASE / 2
    store.meanwhile = lambda: leases.sends.drop([B])
    await leases.step()
    assert leases.sends.all_valid([A, C])
    assert not leases.sends.all_valid([B])
    clock.at += LEASE / 2
    assert leases.sends.ending() == [A, C]


async def test_while_the_database_is_away_leases_end(leases: Leases, store: AwayStore, clock: Clock) -> None:
    """A failed renewal prolongs nothing; once the database is back, what nobody took over is ours again."""
    await hold_all(leases, store)
    store.away = True
    clock.at += LEASE / 2
    with pytest.raises(StoreError):
        await leases.step()
    assert leases.sends.all_valid([A, B, C])
    clock.at += LEASE / 2
    with pytest.raises(StoreError):
        await leases.step()
    assert not leases.sends.all_valid([A])
    assert not leases.reports.all_valid([A])
    store.away = False
    assert await leases.step() == LEASE / 3
    assert leases.sends.all_valid([A, B, C])
    assert leases.reports.all_valid([A, B, C])


async def test_renewals_go_on_after_the_database_was_away(
    leases: Leases, store: AwayStore, clock: Clock
) -> None:
    """The pump survives a round that failed, and renews when it is woken the next time."""
    await hold_all(leases, store)
    store.away = True
    store.writes = 0
    clock.at += LEASE / 2
    running = asyncio.create_task(leases.run())
    async with asyncio.timeout(30):
        while not store.writes:
            await asyncio.sleep(0.002)
        store.away = False
        while leases.reports.ending():
            leases.wake()
            await asyncio.sleep(0.002)
        await leases.stop()
        await running
    assert leases.sends.ending() == []


# --- at the end ---


async def test_what_is_given_back_is_anybodys_at_once(
    leases: Leases, store: AwayStore, other: PostgresStore
) -> None:
    """After an orderly stop others need not wait for our leases to end; what they have themselves stays theirs."""
    await hold_all(leases, store)
    await end_leases(store)
    await store.store.write(lambda tx: reports.renew(tx, [A, B]))
    assert [each.message_id for each in await claim_reports(other)] == [C]
    await leases.give_back()
    assert await left_behind(other) == [A, B, C]
    assert {each.message_id for each in await claim_reports(other)} == {A, B, C}
    assert await claim_reports(store) == []


@pytest.mark.parametrize("how", ["away", "hangs"])
async def test_the_end_does_not_wait_for_a_database_that_is_away(
    leases: Leases, store: AwayStore, other: PostgresStore, how: str
) -> None:
    """Leases that cannot be given back hold up nobody's stop and raise nothing: they end by themselves."""
    await hold_all(leases, store)
    setattr(store, how, True)
    async with asyncio.timeout(30):
        await leases.give_back()
    assert await claim_reports(other) == []
