"""Two instances at one moment, the one held up between two statements of the other: nothing is lost or stuck."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.flows import callbacks, forwarding, reporting, review, sending
from bridge.flows.review import Actor
from bridge.providers.protocol import Accepted, NoTrace, PerhapsTaken
from bridge.store import forwards, inbox, reports, sends
from bridge.store import review as items
from bridge.store.inbox import Arrived
from bridge.store.reports import DueReport
from bridge.store.review import ReviewItem
from bridge.store.tx import Job, Row, Store, Tx
from tests.flows.desk import NOW, Desk, open_desk
from tests.flows.test_applying import STEP2, UUID, status
from tests.postgres import PostgresServer

KIND = forwards.COMMUNICATION
LATER = 10**15
ACTOR = Actor("alice", "to see what happens")


class GateTx:
    """A transaction that waits behind the first run of one statement."""

    def __init__(self, tx: Tx, gate: Gate) -> None:
        self._tx = tx
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tx, name)
        if name not in ("all", "one", "any_of", "run", "run_many"):
            return found

        async def then_wait(query: str, *args: Any, **values: Any) -> Any:
            result = await found(query, *args, **values)
            await self._gate.ran(query)
            return result

        return then_wait


class Gate:
    """A store whose writes stop behind a statement, until the gate is opened."""

    def __init__(self, store: Store, statement: str) -> None:
        self._store = store
        self._statement = statement
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def ran(self, query: str) -> None:
        if query == self._statement and not self.reached.is_set():
            self.reached.set()
            await self.open.wait()

    async def write(self, job: Job[Any]) -> Any:
        return await self._store.write(lambda tx: job(GateTx(tx, self)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Between:
    """A store behind whose n-th `read` something else happens."""

    def __init__(self, store: Store, reads: int, happens: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._left = reads
        self._happens = happens

    async def read(self, job: Job[Any]) -> Any:
        result = await self._store.read(job)
        self._left -= 1
        if self._left == 0:
            await self._happens()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
async def desks(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[tuple[Desk, Desk]]:
    """Two on one database, with a contact."""
    url = await postgres.create()
    mine, theirs = await open_desk(tmp_path, database=url), await open_desk(tmp_path, database=url)
    await mine.add_contact()
    async with asyncio.timeout(30):
        yield mine, theirs
    await mine.store.close()
    await theirs.store.close()
    await postgres.drop(url)


async def rows(desk: Desk, sql: str) -> list[Row]:
    return await desk.store.read(lambda tx: tx.select(sql, ()))


@asynccontextmanager
async def held_up(
    store: Store, statement: str, work: Callable[[Store], Awaitable[Any]]
) -> AsyncIterator[None]:
    """The work has run this statement, and goes on when the block is left."""
    gate = Gate(store, statement)
    task = asyncio.ensure_future(work(gate))
    await gate.reached.wait()
    yield
    gate.open.set()
    await task


async def unknown(desk: Desk, count: int) -> list[sends.Send]:
    """Messages that were perhaps sent, and are asked for."""
    for _ in range(count):
        await desk.accept()
    claimed = await desk.claim()
    perhaps = PerhapsTaken("no answer in time")

    async def job(tx: Tx) -> list[DueReport]:
        results: Sequence[tuple[sends.Send, sending.Result]] = [(each, perhaps) for each in claimed]
        return await sending.settle(tx, desk.rules, "revicom", results, desk.now)

    await desk.store.write(job)
    return claimed


async def no_trace(desk: Desk, send: sends.Send, asked_at: int = NOW + 10**7) -> None:
    """The provider was asked at that time; the answer is stored much later."""

    async def job(tx: Tx) -> list[DueReport]:
        return await sending.settle_lookup(tx, desk.rules, "revicom", send, NoTrace(), asked_at, NOW + 10**7)

    await desk.store.write(job)


async def the_item(desk: Desk) -> ReviewItem:
    (found,) = await desk.store.read(lambda tx: items.list_reviews(tx, 10**9, 10))
    return found


# --- review items that are dismissed ---


async def test_dismissing_gives_up_no_message_that_is_sent_again(desks: tuple[Desk, Desk]) -> None:
    """While one person dismisses an item, another has its message sent again: it stays in the outbox."""
    mine, theirs = desks
    (send,) = await unknown(mine, 1)
    await no_trace(mine, send)
    item = await the_item(mine)

    async def resend() -> None:
        await review.replay(mine.store, mine.rules, item, ACTOR, NOW, resend=True)

    await review.dismiss(Between(theirs.store, 1, resend), item, ACTOR, NOW)
    assert await rows(mine, "SELECT phase FROM sends") == [("queued",)]
    assert "dismissed" not in [row[0] for row in await rows(mine, "SELECT kind FROM steps")]


async def test_what_comes_to_an_item_while_it_is_dismissed_is_dismissed_with_it(
    desks: tuple[Desk, Desk],
) -> None:
    """A message that comes under review between the last look and the end does not stay in the outbox for ever."""
    mine, theirs = desks
    first, second = await unknown(mine, 2)
    await no_trace(mine, first)
    item = await the_item(mine)
    store = Between(theirs.store, 2, lambda: no_trace(mine, second))
    assert await review.dismiss(store, item, ACTOR, NOW)
    assert await rows(mine, "SELECT phase FROM sends") == []
    assert await rows(mine, "SELECT count(*) FROM review_members") == [(0,)]
    assert await rows(mine, "SELECT state FROM review_items") == [("dismissed",)]


# --- what is passed on ---


async def add_forward(store: Store, source: str) -> None:
    await store.write(lambda tx: forwards.add_forward(tx, KIND, source, "u1", b"{}", NOW))


async def end_forward(desk: Desk, state: str) -> int:
    """The one that is due is done, or dead; gives its id."""
    (due,) = await desk.store.claim(lambda tx: forwards.due(tx, KIND, LATER, 10))
    error = None if state == "done" else "HTTP 400"
    ended = forwards.Settlement(due.id, KIND, due.source, "u1", state, None, 1, 0, None, error)
    await desk.store.write(lambda tx: forwarding.settle(tx, [ended], NOW))
    return due.id


async def test_a_forward_that_is_revived_while_the_due_one_ends(desks: tuple[Desk, Desk]) -> None:
    """Neither sees what the other does, and still one of the user's forwards is due afterwards."""
    mine, theirs = desks
    await add_forward(mine.store, "m1")
    dead = await end_forward(mine, "dead")
    await add_forward(mine.store, "m2")
    (due,) = await mine.store.claim(lambda tx: forwards.due(tx, KIND, LATER, 10))
    ended = forwards.Settlement(due.id, KIND, due.source, "u1", "done", None, 1, 0, None, None)
    gate = Gate(theirs.store, "revive_forward")
    reviving = asyncio.create_task(gate.write(lambda tx: forwards.revive(tx, dead, NOW)))
    await gate.reached.wait()
    await mine.store.write(lambda tx: forwarding.settle(tx, [ended], NOW))
    gate.open.set()
    assert await reviving
    assert await rows(mine, "SELECT source FROM forwards WHERE state = 'pending' AND due_at IS NOT NULL") == [
        ("m1",)
    ]


async def test_a_forward_that_is_revived_just_before_the_due_one_ends(desks: tuple[Desk, Desk]) -> None:
    """The revival has seen the due one, which may end only after that: then it lets the revived one go."""
    mine, theirs = desks
    await add_forward(mine.store, "m1")
    dead = await end_forward(mine, "dead")
    await add_forward(mine.store, "m2")
    gate = Gate(theirs.store, "due_forward_of_key")
    reviving = asyncio.create_task(gate.write(lambda tx: forwards.revive(tx, dead, NOW)))
    await gate.reached.wait()
    ending = asyncio.create_task(end_forward_of(mine, "m2"))
    gate.open.set()
    assert await reviving
    await ending
    assert await rows(mine, "SELECT source FROM forwards WHERE state = 'pending' AND due_at IS NOT NULL") == [
        ("m1",)
    ]


async def end_forward_of(desk: Desk, source: str) -> None:
    ((id_,),) = await rows(desk, f"SELECT id FROM forwards WHERE source = '{source}'")
    ended = forwards.Settlement(id_, KIND, source, "u1", "done", None, 1, 0, None, None)
    await desk.store.write(lambda tx: forwarding.settle(tx, [ended], NOW))


async def test_nothing_of_an_erased_person_is_left_to_be_passed_on(desks: tuple[Desk, Desk]) -> None:
    """What is added for a user while all of the user's is erased goes as well: it would never be due."""
    mine, theirs = desks
    await add_forward(mine.store, "m1")
    gate = Gate(theirs.store, "add_forward")
    adding = asyncio.create_task(add_forward(gate, "m2"))
    await gate.reached.wait()
    erasing = asyncio.create_task(mine.store.write(lambda tx: forwards.forget(tx, KIND, "u1")))
    while not await rows(mine, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
        await asyncio.sleep(0.01)
    gate.open.set()
    await adding
    assert len(await erasing) == 2
    assert await rows(mine, "SELECT source FROM forwards") == []


# --- look-ups ---


@pytest.mark.parametrize(("asked_at", "phase"), [(NOW + 1000, "lookup"), (NOW + 10**7, "review")])
async def test_an_answer_counts_for_the_time_of_the_question(
    desks: tuple[Desk, Desk], asked_at: int, phase: str
) -> None:
    """“No trace” from before a message's time was up decides nothing, however late it is stored."""
    mine, _ = desks
    (send,) = await unknown(mine, 1)
    await no_trace(mine, send, asked_at)
    assert await rows(mine, "SELECT phase FROM sends") == [(phase,)]


async def test_a_claim_that_is_stored_after_it_was_looked_for(desks: tuple[Desk, Desk]) -> None:
    """A lost claim whose commit comes late is found by the next look, and queued again."""
    mine, _ = desks
    await mine.accept()

    async def take_back() -> int:
        return await mine.store.write(lambda tx: sending.take_back(tx, mine.rules, "revicom", [NOW], NOW))

    async with held_up(
        mine.store, "hand_send", lambda store: store.write(lambda tx: sends.claim(tx, "revicom", NOW, 10))
    ):
        assert await take_back() == 0
    assert await take_back() == 1
    assert await rows(mine, "SELECT phase FROM sends") == [("queued",)]


# --- elements that wait ---


async def test_an_orphan_that_is_adopted_while_it_comes_under_review(desks: tuple[Desk, Desk]) -> None:
    """Nothing stays under review that was applied."""
    mine, theirs = desks
    await mine.accept()
    (send,) = await mine.claim()
    raw = json.dumps(status("delivered", "delivered")).encode()
    old = Arrived("revicom", 1, 0, NOW - 10**7, raw, b"d" * 16)
    await mine.store.write(lambda tx: inbox.add_orphan(tx, UUID, old))

    async def accepted(tx: Tx) -> list[DueReport]:
        return await sending.settle(tx, mine.rules, "revicom", [(send, Accepted(UUID))], NOW)

    gate = Gate(theirs.store, "old_orphans")
    reviewing = asyncio.create_task(callbacks.review_old_orphans(gate, NOW))
    await gate.reached.wait()
    adopting = asyncio.create_task(mine.store.write(accepted))
    await asyncio.wait([adopting], timeout=0.2)
    gate.open.set()
    await reviewing
    await adopting
    assert await rows(mine, "SELECT count(*) FROM orphans") == [(0,)]
    assert await rows(mine, "SELECT count(*) FROM review_items WHERE state = 'open'") == [(0,)]


async def test_an_unknown_word_that_waited_stays_under_review(desks: tuple[Desk, Desk]) -> None:
    """An element with an unmapped word, kept as an orphan while a copy of it is applied, is still for a person."""
    mine, theirs = desks
    await mine.accept()
    (send,) = await mine.claim()
    element = status("teleported", "delivered")
    await mine.receiving.receive("revicom", json.dumps([element]).encode(), NOW)
    first = await theirs.store.claim(lambda tx: inbox.waiting_batches(tx, 1000, 10**6))

    async def accepted(tx: Tx) -> list[DueReport]:
        return await sending.settle(tx, mine.rules, "revicom", [(send, Accepted(UUID))], NOW)

    async with held_up(
        theirs.store,
        "messages_of_provider_ids",
        lambda store: callbacks.process(store, theirs.rules, first, NOW, lambda _: None),
    ):
        await mine.store.write(accepted)
        await mine.receiving.receive("revicom", (json.dumps([element]) + " ").encode(), NOW)
        second = await mine.store.claim(lambda tx: inbox.waiting_batches(tx, 1000, 10**6))
        await callbacks.process(mine.store, mine.rules, second, NOW, lambda _: None)
    await callbacks.adopt_stragglers(mine.store, mine.rules, NOW, lambda _: None)
    assert await rows(mine, "SELECT count(*) FROM orphans") == [(0,)]
    assert (await the_item(mine)).kind == "unmapped"


# --- on both engines ---


async def test_a_step_of_a_cascade_that_waited_under_review(desk: Desk) -> None:
    """Once an element names the step's cascade, what waited for the step is applied, and out of review."""
    await desk.accept()
    await desk.submit(UUID)
    await desk.receive(status("delivered", "delivered", STEP2))
    assert await callbacks.review_old_orphans(desk.store, NOW + 10**8) == 1
    await desk.receive(status("sent", "sent", STEP2, cascade_message_uuid=UUID, cascade_step=2))
    assert await rows(desk, "SELECT count(*) FROM orphans") == [(0,)]
    assert await rows(desk, "SELECT state FROM review_items") == [("resolved",)]


async def test_a_report_that_was_buried_while_it_was_on_its_way(desk: Desk) -> None:
    """Given up for its age, and taken by Smartico all the same: nobody has to look at it."""
    await desk.accept()
    await desk.submit(UUID)
    await desk.receive(status("delivered", "delivered"))
    ((lane,),) = await rows(desk, "SELECT DISTINCT lane FROM reports")
    (due, *_) = await desk.store.claim(lambda tx: reports.due_reports(tx, lane, LATER, 10))
    assert await reporting.bury_aged(desk.store, desk.rules.reports, NOW + 10**10)
    done = reports.Settlement(due.message_id, due.status, "done", None, 1, 0, 0, 0, 5, None)
    await desk.store.write(lambda tx: reporting.settle(tx, [(lane, done)], NOW))
    assert await rows(desk, "SELECT state FROM reports") == [("done",)]
    assert await rows(desk, "SELECT count(*) FROM review_members") == [(0,)]
