"""Claims on PostgreSQL are leases: two processes never hold the same work, and what one leaves the other takes over."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count as count_from
from typing import TYPE_CHECKING, Any

import pytest

from bridge.core.lifecycle import advance
from bridge.core.model import Mark, MessageId, State, Status
from bridge.store import inbox, messages, reports, sends
from bridge.store.postgres import PostgresStore
from bridge.store.reports import Settlement
from bridge.store.saving import save_transition
from bridge.store.tx import Job, Store, Tx
from bridge.tables import load_vocabulary
from tests.store.conftest import LANE, NOW, end_leases

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen, OpenShared, Select

LATER = 10**15
PATIENCE = 20.0  # seconds

Claim = Callable[[Store, int], Awaitable[list[Any]]]


@pytest.fixture
def engine(open_shared: OpenShared) -> OpenShared:
    """PostgreSQL alone."""
    return open_shared


@pytest.fixture
def pii_key() -> str:
    return ""


@pytest.fixture
async def other(open_shared: OpenShared) -> PostgresStore:
    """Another process on the same database."""
    return await open_shared()


async def claim_sends(store: Store, limit: int = 100) -> list[MessageId]:
    found = await store.claim(lambda tx: sends.claim(tx, "revicom", LATER, limit))
    return [send.message_id for send in found]


async def claim_lookups(store: Store, limit: int = 100) -> list[MessageId]:
    found = await store.claim(lambda tx: sends.due_lookups(tx, "revicom", LATER, limit))
    return [send.message_id for send in found]


async def claim_reports(store: Store, limit: int = 100) -> list[tuple[MessageId, Status]]:
    found = await store.claim(lambda tx: reports.due_reports(tx, LANE, LATER, limit))
    return [(report.message_id, report.status) for report in found]


async def claim_batches(store: Store, limit: int = 100) -> list[int]:
    found = await store.claim(lambda tx: inbox.waiting_batches(tx, limit, 10**9))
    return [batch.id for batch in found]


async def look_up(store: Store, ids: list[MessageId]) -> None:
    """They were handed over, nobody knows with what result."""
    rows = [{"message_id": each, "due_at": NOW, "lookups": 0} for each in ids]
    await store.write(lambda tx: tx.run_many("look_up_send", rows))


class Work:
    """Ways to make work of a kind, without anybody's having it, and to claim it."""

    def __init__(self, store: PostgresStore, add_message: AddMessage, happen: Happen) -> None:
        self.store = store
        self._add_message = add_message
        self._happen = happen
        self._numbers = count_from(1)

    async def sends(self, count: int) -> list[Any]:
        return [await self._add_message(lives=LATER) for _ in range(count)]

    async def lookups(self, count: int) -> list[Any]:
        ids = await self.sends(count)
        await look_up(self.store, ids)
        return ids

    async def reports(self, count: int) -> list[Any]:
        ids = await self.sends(count)
        for each in ids:
            await self._happen(each, State.DELIVERED)
        await end_leases(self.store)  # who adds a report has it
        return [(each, Status.DELIVERED) for each in ids]

    async def batches(self, count: int) -> list[Any]:
        bodies = [b"[%d]" % next(self._numbers) for _ in range(count)]
        return [
            await self.store.write(
                partial(inbox.add_batch, provider="revicom", body=body, elements=1, now=NOW)
            )
            for body in bodies
        ]


@pytest.fixture
def work(store: PostgresStore, add_message: AddMessage, happen: Happen) -> Work:
    return Work(store, add_message, happen)


CLAIMS: dict[str, Claim] = {
    "sends": claim_sends,
    "lookups": claim_lookups,
    "reports": claim_reports,
    "batches": claim_batches,
}
KINDS = pytest.mark.parametrize("kind", CLAIMS)


@KINDS
async def test_what_one_holds_the_other_does_not_get(work: Work, other: PostgresStore, kind: str) -> None:
    """What one process claimed is invisible to the other until the lease ends, and the rest is not."""
    claim, wanted = CLAIMS[kind], await getattr(work, kind)(5)
    mine = await claim(work.store, 2)
    theirs = await claim(other, 100)
    assert len(mine) == 2
    assert Counter(mine + theirs) == Counter(wanted)
    assert await claim(other, 100) == (
        [] if kind in ("sends", "lookups") else theirs
    )  # one's own may be had again


@KINDS
async def test_claims_at_the_same_moment(work: Work, other: PostgresStore, kind: str) -> None:
    """However many claim at once on two processes, everything is held by exactly one of them."""
    claim = CLAIMS[kind]
    for _ in range(4):
        wanted = await getattr(work, kind)(30)
        stores = [work.store, other] * 6
        found = await asyncio.gather(*(claim(store, 4) for store in stores))
        mine = {
            each for store, batch in zip(stores, found, strict=True) if store is work.store for each in batch
        }
        theirs = {
            each for store, batch in zip(stores, found, strict=True) if store is other for each in batch
        }
        assert not mine & theirs
        if (
            kind != "batches"
        ):  # of these a claim looks at more than it takes, and the other one sees them locked
            assert mine
            assert theirs
        if kind in ("sends", "lookups"):
            assert max(Counter(each for batch in found for each in batch).values()) == 1
        for store, held in ((work.store, mine), (other, theirs)):
            held |= set(await claim(store, 100))
        assert not mine & theirs
        assert mine | theirs == set(wanted)
        await finish(work.store, kind, wanted)


async def finish(store: Store, kind: str, ids: list[Any]) -> None:
    """So that it is claimed no more."""
    match kind:
        case "batches":
            await store.write(lambda tx: inbox.finish_batches(tx, ids))
        case "reports":
            done = [settlement(message_id, status, "done") for message_id, status in ids]
            await store.write(lambda tx: reports.settle(tx, done, NOW))
        case _:
            await store.write(lambda tx: tx.run_many("delete_send", [{"message_id": each} for each in ids]))


def settlement(message_id: MessageId, status: Status, state: str) -> Settlement:
    due_at = NOW + 5000 if state == "pending" else None
    return Settlement(message_id, status, state, due_at, 1, 1, 0, 0, None, None if state == "done" else "503")


@KINDS
async def test_a_claim_does_not_wait_for_another(work: Work, other: PostgresStore, kind: str) -> None:
    """While a transaction that claims is still open, the other process gets the rest at once, and none of those."""
    wanted = await getattr(work, kind)(6)
    claimed, end = asyncio.Event(), asyncio.Event()
    mine: list[Any] = []

    class Held:
        """Claims, and then waits in the transaction."""

        async def claim(self, job: Job[Any]) -> Any:
            async def and_wait(tx: Tx) -> Any:
                found = await job(tx)
                claimed.set()
                await end.wait()
                return found

            return await work.store.claim(and_wait)

    async def hold() -> None:
        mine.extend(await CLAIMS[kind](Held(), 2))  # type: ignore[arg-type]

    holding = asyncio.ensure_future(hold())
    await claimed.wait()
    async with asyncio.timeout(PATIENCE):
        theirs = await CLAIMS[kind](other, 100)
    end.set()
    await holding
    assert len(mine) == 2
    assert not set(mine) & set(theirs)
    if kind != "batches":  # of these it looks at more than it takes
        assert Counter(mine + theirs) == Counter(wanted)


# --- what one leaves ---


@pytest.mark.parametrize("kind", ["lookups", "reports", "batches"])
async def test_a_lease_that_ended_is_taken_over(work: Work, other: PostgresStore, kind: str) -> None:
    """After the time of its lease what a process left undone is anybody's, and then that one's alone."""
    claim, wanted = CLAIMS[kind], await getattr(work, kind)(3)
    assert Counter(await claim(work.store, 100)) == Counter(wanted)
    assert await claim(other, 100) == []
    await end_leases(work.store)
    assert Counter(await claim(other, 100)) == Counter(wanted)
    assert await claim(work.store, 100) == []


@pytest.mark.parametrize("kind", ["lookups", "reports", "batches"])
async def test_a_lease_ends_by_itself(
    open_shared: OpenShared, add_message: AddMessage, happen: Happen, kind: str
) -> None:
    """The time that a store was opened with is that of its leases: whoever waits for it gets what is left."""
    short, other = await open_shared(lease_seconds=0.3), await open_shared()
    work = Work(short, add_message, happen)
    wanted = await getattr(work, kind)(2)
    await CLAIMS[kind](short, 100)
    end = time.monotonic() + PATIENCE
    while not (found := await CLAIMS[kind](other, 100)):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    assert Counter(found) == Counter(wanted)


async def test_a_hand_over_that_was_left(work: Work, other: PostgresStore) -> None:
    """A message that was perhaps sent is never claimed again, but found by whoever recovers it once its lease ended."""
    ids = await work.sends(3)
    assert Counter(await claim_sends(work.store)) == Counter(ids)

    async def handed(store: Store) -> list[MessageId]:
        return [row[0] for row in await store.write(lambda tx: tx.all("handed_sends", provider="revicom"))]

    assert await handed(other) == await handed(work.store) == []
    await end_leases(other)
    assert await claim_sends(other) == []
    assert await handed(other) == sorted(ids)


@pytest.mark.parametrize("kind", ["sends", "lookups", "reports"])
async def test_what_is_renewed_is_kept(work: Work, other: PostgresStore, kind: str) -> None:
    """A renewed lease begins anew, and renewing tells which of them somebody else has taken over."""
    claim, renew = CLAIMS[kind], reports.renew if kind == "reports" else sends.renew
    kept, lost = [await getattr(work, kind)(1) for _ in range(2)]
    assert Counter(await claim(work.store, 100)) == Counter(kept + lost)
    ids = [each[0] if kind == "reports" else each for each in kept + lost]

    async def renewed(store: Store, some: list[MessageId]) -> set[MessageId]:
        return await store.write(lambda tx: renew(tx, some))

    assert await renewed(work.store, ids) == set(ids)
    assert await renewed(other, ids) == set()
    await end_leases(work.store)
    assert await renewed(work.store, ids[:1]) == {ids[0]}  # late, but nobody was faster
    if kind == "sends":
        rows = await other.write(lambda tx: tx.all("handed_sends", provider="revicom"))
        assert rows == [(ids[1],)]
        await look_up(other, [ids[1]])
    else:
        assert await claim(other, 100) == lost
    assert await renewed(work.store, ids) == {ids[0]}
    assert await claim(other, 100) == ([] if kind != "reports" else lost)


async def test_a_renewed_body_is_kept(work: Work, other: PostgresStore) -> None:
    """A body that is being understood in parts stays with whom it is."""
    wanted = await work.batches(2)
    await claim_batches(work.store)
    await end_leases(work.store)
    await work.store.write(lambda tx: inbox.renew(tx, wanted[:1]))
    assert await claim_batches(other) == wanted[1:]


async def test_what_is_done_is_not_renewed(work: Work, happen: Happen) -> None:
    """What left the outbox, or waits for its next time, is under way nowhere: renewing does not name it."""
    gone, asked, queued = await work.sends(3)
    await claim_sends(work.store)
    await look_up(work.store, [asked])
    await work.store.write(lambda tx: tx.run("delete_send", message_id=gone))
    await work.store.write(lambda tx: tx.run("requeue_send", message_id=queued, due_at=LATER, tries=0))
    assert await work.store.write(lambda tx: sends.renew(tx, [gone, asked, queued])) == set()
    await happen(gone, State.DELIVERED)
    await happen(asked, State.DELIVERED)
    ends = [settlement(gone, Status.DELIVERED, "done"), settlement(asked, Status.DELIVERED, "pending")]
    await work.store.write(lambda tx: reports.settle(tx, ends, NOW))
    assert await work.store.write(lambda tx: reports.renew(tx, [gone, asked])) == set()


async def test_leases_go_by_the_clock_of_the_database(work: Work, select: Select) -> None:
    """A lease ends at a time of the database's clock, whatever time callers name: theirs may differ."""
    await work.sends(1)
    await claim_sends(work.store)  # at a time far from now
    ((left,),) = await select(
        "SELECT leased_until - CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) FROM sends"
    )
    assert 0 < left <= 60_000


# --- reports ---


async def test_who_adds_a_report_has_it(work: Work, other: PostgresStore, happen: Happen) -> None:
    """The process that adds a report, or lets the next one of a message go, has it in memory and so leased."""
    (message_id,) = await work.sends(1)
    await happen(message_id, State.SENT, State.READ)
    assert await claim_reports(other) == []
    assert await claim_reports(work.store) == [(message_id, Status.ACCEPTED)]
    done = settlement(message_id, Status.ACCEPTED, "done")
    released = await work.store.write(lambda tx: reports.settle(tx, [done], NOW))
    assert [(row[0], row[1]) for row in released] == [(message_id, "delivered")]
    assert await claim_reports(other) == []
    assert await work.store.write(lambda tx: reports.renew(tx, [message_id])) == {message_id}


async def test_a_postponed_report_is_anybodys(work: Work, other: PostgresStore) -> None:
    """A report that waits for its next try is let go of: whoever looks when it is due gets it."""
    ((message_id, status),) = wanted = await work.reports(1)
    await claim_reports(work.store)
    again = settlement(message_id, status, "pending")
    await work.store.write(lambda tx: reports.settle(tx, [again], NOW))
    assert await claim_reports(other) == wanted
    assert await claim_reports(work.store) == []


async def test_who_lost_the_lease_postpones_nothing(work: Work, other: PostgresStore, select: Select) -> None:
    """A late failure of the former holder neither moves nor counts what another has under way, nor lets go of it."""
    ((message_id, status),) = await work.reports(1)
    await claim_reports(work.store)
    await end_leases(work.store)
    assert await claim_reports(other) == [(message_id, status)]
    columns = "SELECT due_at, attempts, retries, last_error, owner, leased_until FROM reports"
    before = await select(columns)
    late = settlement(message_id, status, "pending")
    await work.store.write(lambda tx: reports.settle(tx, [late], NOW))
    assert await select(columns) == before
    assert before[0][4] == other.name
    await other.write(lambda tx: reports.settle(tx, [late], NOW))
    assert (await select(columns))[0][:5] == (NOW + 5000, 1, 1, "503", None)


async def test_a_success_counts_whoever_had_it(work: Work, other: PostgresStore, select: Select) -> None:
    """What was reported was reported: also after the lease was lost, and the other one's outcome then adds nothing."""
    ((message_id, status),) = await work.reports(1)
    await claim_reports(work.store)
    await end_leases(work.store)
    await claim_reports(other)
    for store, state in ((work.store, "done"), (other, "done"), (other, "pending"), (other, "dead")):
        end = settlement(message_id, status, state)
        await store.write(lambda tx, end=end: reports.settle(tx, [end], NOW))  # type: ignore[misc]
    assert await select("SELECT state, attempts FROM reports") == [("done", 1)]


async def test_settling_again_changes_nothing(work: Work, happen: Happen, select: Select) -> None:
    """A settle job that is run again, after a commit of which nobody heard, leaves what the first run left."""
    (message_id,) = await work.sends(1)
    await happen(message_id, State.SENT, State.READ, Mark.CLICKED)
    rows = "SELECT status, state, due_at, attempts, owner, last_error FROM reports ORDER BY seq"
    for status, state in (
        (Status.ACCEPTED, "done"),
        (Status.DELIVERED, "pending"),
        (Status.DELIVERED, "dead"),
        (Status.OPENED, "done"),
    ):
        await claim_reports(work.store)
        end = settlement(message_id, status, state)
        await work.store.write(lambda tx, end=end: reports.settle(tx, [end], NOW))  # type: ignore[misc]
        before = await select(rows)
        again = await work.store.write(lambda tx, end=end: reports.settle(tx, [end], NOW))  # type: ignore[misc]
        assert again == []
        assert await select(rows) == before
    assert [(row[0], row[1], row[3]) for row in await select(rows)] == [
        ("accepted", "done", 1),
        ("delivered", "dead", 2),
        ("opened", "done", 1),
        ("clicked", "pending", 0),
    ]


# --- who does no work ---


async def test_who_is_no_worker_leases_nothing(
    open_shared: OpenShared, store: PostgresStore, work: Work
) -> None:
    """What a process without a worker adds and lets go is nobody's: a worker claims it at once."""
    api = await open_shared(worker=False)
    ids = await work.sends(2)

    async def sent(tx: Tx, each: MessageId) -> None:
        view = (await messages.load_messages(tx, [each]))[each]
        await save_transition(tx, view, advance(view.snapshot, State.READ, load_vocabulary(None)), NOW, 0)

    for each in ids:
        await api.write(partial(sent, each=each))
    assert Counter(await claim_reports(store)) == Counter((each, Status.DELIVERED) for each in ids)
    done = [settlement(each, Status.DELIVERED, "done") for each in ids]
    await api.write(lambda tx: reports.settle(tx, done, NOW))
    assert Counter(await claim_reports(store)) == Counter((each, Status.OPENED) for each in ids)


async def test_what_no_worker_looks_at_stays_free(
    open_shared: OpenShared, work: Work, other: PostgresStore
) -> None:
    """A process without a worker that looks for due work holds none of it."""
    api = await open_shared(worker=False)
    wanted = await work.reports(2)
    assert Counter(await claim_reports(api)) == Counter(wanted)
    assert Counter(await claim_reports(other)) == Counter(wanted)
    assert await claim_reports(api) == []
    bodies = await work.batches(2)
    assert await claim_batches(api) == await claim_batches(other) == bodies
    assert await claim_batches(api) == []


async def test_a_look_takes_nothing(work: Work, other: PostgresStore) -> None:
    """`read` sees what could be claimed, and leaves it to be claimed."""
    wanted = await work.reports(2)
    seen = await work.store.read(lambda tx: reports.due_reports(tx, LANE, LATER, 10))
    assert Counter((each.message_id, each.status) for each in seen) == Counter(wanted)
    assert Counter(await claim_reports(other)) == Counter(wanted)
