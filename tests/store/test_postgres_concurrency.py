"""Two processes change the same messages, reports and review items at the same time: nothing is lost, nothing is stuck.

The rounds are random, from a seed that stands in the name of the test.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pytest

from bridge.core.lifecycle import Happening, advance
from bridge.core.model import Mark, MessageId, State, Status
from bridge.store import inbox, messages, reports, review
from bridge.store.inbox import Arrived
from bridge.store.messages import MessageView
from bridge.store.postgres import PostgresStore
from bridge.store.reports import DueReport, Settlement
from bridge.store.review import Kind, Member
from bridge.store.saving import Saving
from bridge.store.tx import Job, Store, Tx
from bridge.tables import load_vocabulary
from tests.store.conftest import LANE, NOW

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, OpenShared, Select

LATER = 10**15
PATIENCE = 30.0  # seconds
WORDS = load_vocabulary(None)
HAPPENINGS: Sequence[Happening] = (
    State.SUBMITTED, State.SENT, State.DELIVERED, State.READ, State.FAILED, State.REJECTED, *Mark,
)  # fmt: skip

Step = Callable[[], Awaitable[object]]


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


async def happen(store: Store, history: Sequence[tuple[MessageId, Happening]]) -> list[DueReport]:
    """All of it in one transaction, as a batch of callbacks."""

    async def job(tx: Tx) -> list[DueReport]:
        views = await messages.load_messages(tx, sorted({message_id for message_id, _ in history}))
        saving = Saving(tx, NOW, 0)
        for message_id, happening in history:
            transition = advance(views[message_id].snapshot, happening, WORDS)
            if transition.after != views[message_id].snapshot:
                views[message_id] = saving.add(views[message_id], transition)
        return await saving.write()

    return await store.write(job)


def end(message_id: MessageId, status: Status, state: str) -> Settlement:
    due_at = NOW if state == "pending" else None
    return Settlement(message_id, status, state, due_at, 1, 0, 0, 0, None, None)


async def settle_some(store: Store, rng: random.Random) -> None:
    """Claims what is due and settles it, each report in some way, all in one transaction."""
    found = await store.claim(lambda tx: reports.due_reports(tx, LANE, LATER, rng.randint(1, 8)))
    ends = [
        end(each.message_id, each.status, rng.choice(["done", "done", "dead", "pending"])) for each in found
    ]
    await store.write(lambda tx: reports.settle(tx, ends, NOW))


async def revive_dead(store: Store, rng: random.Random) -> None:
    """As an operator: everything that is dead goes again, in any order."""
    rows = await store.read(
        lambda tx: tx.select("SELECT message_id, status FROM reports WHERE state = 'dead'", ())
    )
    keys = [(message_id, Status(status)) for message_id, status in rows]
    rng.shuffle(keys)
    await store.write(lambda tx: reports.revive(tx, keys[:4], NOW))


async def bury(store: Store) -> None:
    """What waits too long is buried, whoever has it under way."""
    rows = await store.read(lambda tx: tx.all("aged_reports", until=NOW, limit=3))

    async def job(tx: Tx) -> None:
        waiting = await reports.pending(tx, [row[0] for row in rows])
        dead = [(row[0], Status(row[1])) for row in rows if (row[0], Status(row[1])) in waiting]
        await reports.settle(tx, [end(*key, "dead") for key in dead], NOW)

    await store.write(job)


async def check(store: Store, ids: Sequence[MessageId]) -> None:
    """What must hold of every message whenever nobody is at work."""
    views = await store.read(lambda tx: messages.load_messages(tx, ids))
    for message_id in ids:
        rows = await store.read(lambda tx, each=message_id: tx.all("message_reports", message_id=each))  # type: ignore[misc]
        assert {row[0] for row in rows} == views[message_id].snapshot.owed
        assert [row[1] for row in rows] == list(range(len(rows)))  # each was owed once, after those before it
        waiting = [row for row in rows if row[2] == "pending"]
        assert sum(row[3] is not None for row in waiting) == min(1, len(waiting)), rows


async def drain(stores: Sequence[Store]) -> None:
    """Everything that is pending can still be sent, by one process or the other."""
    for _ in range(50):
        done = 0
        for store in stores:
            found = await store.claim(lambda tx: reports.due_reports(tx, LANE, LATER, 100))
            ends = [end(each.message_id, each.status, "done") for each in found]
            await store.write(lambda tx, ends=ends: reports.settle(tx, ends, NOW))  # type: ignore[misc]
            done += len(ends)
        if not done:
            return
    raise AssertionError("the reports never end")


@pytest.mark.parametrize("seed", range(3))
async def test_two_that_advance_the_same_messages(
    store: Store, other: PostgresStore, add_message: AddMessage, select: Select, seed: int
) -> None:
    """In any order of happenings on two processes every status is owed exactly once, and one is due at a time."""
    rng = random.Random(seed)
    for _ in range(12):
        ids = [await add_message() for _ in range(3)]
        steps = [
            (each, what) for each in ids for what in (State.SENT, State.DELIVERED, State.READ, Mark.CLICKED)
        ]
        rng.shuffle(steps)
        await asyncio.gather(*(happen(rng.choice([store, other]), [step]) for step in steps))
        await check(store, ids)
        owed = await select("SELECT message_id, status FROM reports WHERE status <> 'accepted'")
        wanted = {(each, status) for each in ids for status in ("delivered", "opened", "clicked")}
        assert wanted <= set(owed)
    await drain([store, other])
    assert await select("SELECT DISTINCT state FROM reports") == [("done",)]


@pytest.mark.parametrize("seed", range(4))
async def test_everything_at_once(
    store: Store, other: PostgresStore, add_message: AddMessage, select: Select, seed: int
) -> None:
    """While two processes advance, settle, bury and revive the same messages, no report is lost, doubled or stuck."""
    rng = random.Random(f"at once {seed}")
    ids: list[MessageId] = []
    for _ in range(5):
        ids = [*ids[-2:], await add_message(), await add_message()]
        steps: list[Step] = []
        for _ in range(24):
            one = rng.choice([store, other])
            history = [(rng.choice(ids), rng.choice(HAPPENINGS)) for _ in range(rng.randint(1, 5))]
            steps += rng.choices(
                [
                    partial(happen, one, history),
                    partial(settle_some, one, rng),
                    partial(revive_dead, one, rng),
                    partial(bury, one),
                ],
                weights=[5, 5, 2, 1],
            )
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(step() for step in steps))
        await check(store, ids)
    await drain([store, other])
    assert await select("SELECT count(*) FROM reports WHERE state = 'pending'") == [(0,)]


async def test_a_batch_changes_messages_in_any_order(
    store: Store, other: PostgresStore, add_message: AddMessage
) -> None:
    """Two large batches about the same messages, in opposite order, both get through: rows are locked by their key."""
    ids = [await add_message() for _ in range(60)]
    for happening in (State.SENT, State.DELIVERED, State.READ):
        await asyncio.gather(
            happen(store, [(each, happening) for each in ids]),
            happen(other, [(each, happening) for each in reversed(ids)]),
        )
    await check(store, ids)


# --- review items ---


def add(subject: bytes) -> Job[None]:
    member = Member(subject)
    return lambda tx: review.add_to_review(
        tx, Kind.UNMAPPED, "cause", member, provider="p", sample="", at=NOW
    )


def settle_subject(subject: bytes) -> Job[None]:
    return lambda tx: review.settle_subject(tx, subject, NOW)


async def interleave(first: Job[None], of: Store, then: Job[None], on: Store) -> None:
    """The second job begins when the first has done its work, and before that is committed."""
    done, go = asyncio.Event(), asyncio.Event()

    async def hold(tx: Tx) -> None:
        await first(tx)
        done.set()
        await go.wait()

    holding = asyncio.ensure_future(of.write(hold))
    await done.wait()
    second = asyncio.ensure_future(on.write(then))
    await asyncio.wait([second], timeout=0.2)  # it ends, or waits for the first
    go.set()
    async with asyncio.timeout(PATIENCE):
        await holding
        await second


async def items(select: Select) -> list[tuple[str, int]]:
    rows = await select(
        "SELECT state, (SELECT count(*) FROM review_members AS m WHERE m.review_id = i.id) "
        "FROM review_items AS i ORDER BY id"
    )
    return [(state, count) for state, count in rows]


async def test_a_thing_that_comes_while_the_last_one_goes(
    store: Store, other: PostgresStore, select: Select
) -> None:
    """A thing put under review while the last one of its cause is settled stays visible, whoever is first."""
    await store.write(add(b"a"))
    await interleave(add(b"b"), store, settle_subject(b"a"), other)
    assert await items(select) == [("open", 1)]
    await interleave(settle_subject(b"b"), store, add(b"c"), other)
    assert [each for each in await items(select) if each[1]] == [("open", 1)]
    assert all(count or state == "resolved" for state, count in await items(select))


async def test_the_last_two_things_go_at_once(store: Store, other: PostgresStore, select: Select) -> None:
    """Two processes that each settle one of the last two things leave no open item with nothing behind it."""
    await store.write(add(b"a"))
    await store.write(add(b"b"))
    await interleave(settle_subject(b"a"), store, settle_subject(b"b"), other)
    assert await items(select) == [("resolved", 0)]


async def test_a_thing_that_comes_while_its_item_is_dismissed(
    store: Store, other: PostgresStore, select: Select
) -> None:
    """A thing put under review while a person dismisses its cause either goes with it or opens a new item."""
    for first_is_add in (True, False):
        await store.write(add(b"a"))
        ((review_id,),) = await select("SELECT id FROM review_items WHERE state = 'open'")

        async def dismiss(tx: Tx, item: int = review_id) -> None:
            await review.close_review(tx, item, "alice", "known", NOW)

        jobs = (add(b"b"), dismiss) if first_is_add else (dismiss, add(b"b"))
        await interleave(jobs[0], store, jobs[1], other)
        assert all(state == "open" for state, count in await items(select) if count)
        await store.write(settle_subject(b"b"))


@pytest.mark.parametrize("seed", range(3))
async def test_review_items_come_and_go(
    store: Store, other: PostgresStore, select: Select, seed: int
) -> None:
    """However adding and settling of one cause are mixed, in the end what is open has members, and no other."""
    rng = random.Random(f"review {seed}")
    for _ in range(15):
        jobs = [
            rng.choice([add, settle_subject])(rng.choice([b"a", b"b", b"c"]))
            for _ in range(rng.randint(2, 8))
        ]
        await asyncio.gather(*(rng.choice([store, other]).write(job) for job in jobs))
        assert all((state == "open") == (count > 0) for state, count in await items(select))


# --- transactions that wait for each other ---


async def test_elements_that_wait_while_others_are_taken(store: Store, other: PostgresStore) -> None:
    """An element that comes between the look at what waits for a message and the end of that is taken later."""
    elements = [Arrived("revicom", 1, number, NOW, b"{}", number.to_bytes(16)) for number in range(400)]
    taken: list[Arrived] = []

    async def take() -> None:
        taken.extend(await other.write(lambda tx: inbox.take_orphans(tx, "revicom", "uuid-1")))

    async def add(some: Sequence[Arrived]) -> None:
        for each in some:
            await store.write(partial(inbox.add_orphan, root="uuid-1", arrived=each))

    async with asyncio.timeout(PATIENCE):
        adding = asyncio.gather(*(add(elements[number::4]) for number in range(4)))
        while not adding.done():
            await take()
        await adding
        await take()
    assert sorted(each.position for each in taken) == list(range(400))


async def test_a_deadlock(store: Store, other: PostgresStore, select: Select) -> None:
    """Of two transactions that lock the same rows in opposite order one is run again: both are committed."""
    await store.write(lambda tx: tx.run_many("set_meta", [{"key": f"test-{n}", "value": b""} for n in "ab"]))
    has_one = {"a": asyncio.Event(), "b": asyncio.Event()}
    runs: list[str] = []

    def job(first: str, second: str) -> Job[None]:
        async def job(tx: Tx) -> None:
            runs.append(first)
            for key in (first, second):
                value = b"%s then %s" % (first.encode(), second.encode())
                await tx.run("set_meta", key=f"test-{key}", value=value)
                has_one[first].set()
                await has_one[second].wait()

        return job

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(store.write(job("a", "b")), other.write(job("b", "a")))
    assert sorted(runs) in (["a", "a", "b"], ["a", "b", "b"])
    rows = await select("SELECT value FROM meta WHERE key LIKE 'test-%'")
    assert rows[0] == rows[1]  # both rows are of who came last
    assert rows[0][0] in (b"a then b", b"b then a")


async def test_several_deadlocks_at_once(store: Store, other: PostgresStore) -> None:
    """A few transactions that lock the same rows in random order are all committed, and each counts once."""
    keys = [f"test-{number}" for number in range(3)]
    await store.write(lambda tx: tx.run_many("set_meta", [{"key": key, "value": b"0"} for key in keys]))
    rng = random.Random("deadlocks")

    def count(order: list[str]) -> Job[None]:
        async def job(tx: Tx) -> None:
            for key in order:
                await tx.select(
                    "UPDATE meta SET value = convert_to((convert_from(value, 'UTF8')::bigint + 1)::text, 'UTF8') "
                    "WHERE key = ?",
                    [key],
                )

        return job

    async with asyncio.timeout(PATIENCE * 2):
        await asyncio.gather(
            *(rng.choice([store, other]).write(count(rng.sample(keys, 3))) for _ in range(4))
        )
    rows = [await store.read(lambda tx, key=key: tx.one("get_meta", key=key)) for key in keys]  # type: ignore[misc]
    assert rows == [(b"4",)] * 3


async def test_what_was_loaded_cannot_change_before_it_is_saved(
    store: Store, other: PostgresStore, add_message: AddMessage
) -> None:
    """Who loads a message in a write has it alone until the commit; who reads does not wait for that."""
    message_id = await add_message()
    loaded, go = asyncio.Event(), asyncio.Event()
    views: list[MessageView] = []

    async def first(tx: Tx) -> None:
        view = (await messages.load_messages(tx, [message_id]))[message_id]
        loaded.set()
        await go.wait()
        saving = Saving(tx, NOW, 0)
        saving.add(view, advance(view.snapshot, State.DELIVERED, WORDS))
        await saving.write()

    async def second(tx: Tx) -> None:
        views.append((await messages.load_messages(tx, [message_id]))[message_id])

    holding = asyncio.ensure_future(store.write(first))
    await loaded.wait()
    waiting = asyncio.ensure_future(other.write(second))
    async with asyncio.timeout(PATIENCE):
        seen = await other.read(lambda tx: messages.load_messages(tx, [message_id]))
        assert seen[message_id].snapshot.state == State.QUEUED
        assert not views
        go.set()
        await holding
        await waiting
    assert views[0].snapshot.state == State.DELIVERED
