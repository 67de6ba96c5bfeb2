"""Pruning in the store: by an index, however many rows there are, and by two instances at the same time."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import asyncpg
import pytest

import bridge
from bridge.core.model import MessageId, new_id
from bridge.flows.pruning import Pruning, Retention
from bridge.store.messages import NewMessage, ToSend, add_messages
from bridge.store.postgres import PostgresStore
from bridge.store.postgres.statements import STATEMENTS
from bridge.store.pruning import START, Prunable, Until, delete, find
from bridge.store.queries import QUERIES
from bridge.store.sqlite import migrate
from bridge.store.sqlite.engine import connect
from bridge.store.tx import Store, Tx
from tests.store.conftest import NOW, AddMessage, OpenShared, Select

DAY = 86_400_000
MILLION = 1_000_000
STATEMENTS_OF_A_ROUND = (
    "next_audit_lines", "next_batches", "next_inbound", "next_orphans", "next_review_items", "old_messages",
    "old_texts", "prune_answers", "prune_audit_lines", "prune_batches", "prune_bodies", "prune_callbacks",
    "prune_inbound", "prune_messages", "prune_orphan", "prune_provider_messages", "prune_reports", "prune_review_items",
    "prune_steps", "prune_texts", "quiet_messages", "old_communications", "next_forwards", "prune_communications",
    "prune_forwards",
)  # fmt: skip
SMALL = {"v", "review_items", "audit"}
# Table, columns, and the values of number {n}, whose message has the {id}; {blob} is a byte.
FILL = (
    (
        "messages",
        """id, gateway, type, channel, provider, smartico_uid, ext_user_id, sender, callback_url, lane, state,
        created_at, updated_at""",
        "{id}, 'sms', 'sms', 'SMS', 'revicom', 'uid-' || {n}, 'user-' || {n}, '', {blob}, '', 'delivered', 1, 1",
    ),
    ("texts", "message_id, body", "{id}, {blob}"),
    ("provider_messages", "provider, provider_message_id, message_id", "'revicom', 'id-' || {n}, {id}"),
    ("steps", "message_id, at, kind", "{id}, 1, 'x'"),
    (
        "reports",
        "message_id, status, seq, lane, state, owed_at, finished_at",
        "{id}, 'delivered', 0, '', 'done', 1, 1",
    ),
    (
        "callbacks",
        "message_id, digest, batch_id, position, provider_message_id, event, status, outcome, received_at",
        "{id}, {id}, {n}, 0, '', '', '', 'applied', 1",
    ),
    (
        "batches",
        "id, provider, digest, state, elements, received_at, body",
        "{n} + 1, 'revicom', {id}, 'done', 1, {n}, {blob}",
    ),
    (
        "inbound",
        "provider, provider_message_id, channel, handset_hash, handset_masked, text, message_id, received_at",
        "'revicom', 'in-' || {n}, 'SMS', {id}, '', {blob}, {id}, 1",
    ),
    (
        "communications",
        "id, digest, login, channel, campaign_name, received_at, view_url, body, message_id",
        "{id}, {id}, 'user-' || {n}, 'SMS', 'campaign', 1, {blob}, {blob}, {id}",
    ),
    (
        "forwards",
        "id, kind, source, key, payload, state, owed_at, finished_at",
        "{n} + 1, 'communication', 'source-' || {n}, 'user-' || {n}, {blob}, 'done', 1, 1",
    ),
)
ORDERED = ("old_communications", "next_forwards", "old_texts", "old_messages", "next_batches", "next_inbound")


def until(at: int) -> Until:
    return Until(texts=at, bodies=None, batches=at, messages=at, unsettled=at, rest=at)


# --- plans ---


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A SQLite file with a million messages, texts, batches, and what belongs to them, and statistics of it."""
    with closing(connect(tmp_path_factory.mktemp("large") / "bridge.db", read_only=False)) as connection:
        migrate(connection)
        connection.execute("PRAGMA synchronous = OFF")
        for table, columns, values in FILL:
            text = values.format(n="n", id="CAST(printf('%016d', n) AS BLOB)", blob="x'00'")
            connection.execute(
                f"""WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {MILLION})
                INSERT INTO {table} ({columns}) SELECT {text} FROM numbers"""
            )
        connection.execute("ANALYZE")
        yield connection


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_round_on_a_million_rows_goes_by_indexes(large: sqlite3.Connection) -> None:
    """SQLite, with its statistics: no statement reads a table from its beginning to its end, or sorts."""
    for name in STATEMENTS_OF_A_ROUND:
        values = dict.fromkeys(re.findall(r":(\w+)", QUERIES[name]), 1)
        steps = [row[3] for row in large.execute(f"EXPLAIN QUERY PLAN {QUERIES[name]}", values)]
        scans = [step for step in steps if step.startswith("SCAN") and "USING" not in step]
        assert [step for step in scans if step.split()[1] not in SMALL] == [], name
        assert not [step for step in steps if "TEMP B-TREE" in step], name


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_round_on_a_million_rows_goes_by_indexes_on_postgresql(shared_url: str) -> None:
    """As PostgreSQL plans it with its statistics, for values that it does not know; a tenth as many rows will do."""
    connection = await asyncpg.connect(shared_url)
    try:
        for table, columns, values in FILL:
            text = values.format(n="n", id="decode(lpad(n::text, 32, '0'), 'hex')", blob="'\\x00'::bytea")
            source = f"generate_series(0, {MILLION // 10 - 1}) AS n"
            await connection.execute(f"INSERT INTO {table} ({columns}) SELECT {text} FROM {source}")
        await connection.execute("ANALYZE")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        for name in STATEMENTS_OF_A_ROUND:
            statement = STATEMENTS[name]
            await connection.execute(f"PREPARE asked AS {statement.text}")
            nothing = ", ".join(["NULL"] * len(statement.names))
            rows = await connection.fetch(f"EXPLAIN EXECUTE asked({nothing})")
            await connection.execute("DEALLOCATE asked")
            shown = "\n".join(row[0] for row in rows)
            assert not re.search(r"Seq Scan on (?!review|audit|orphans|sends)\w+", shown), (name, shown)
            assert name not in ORDERED or "Sort" not in shown, (name, shown)
    finally:
        await connection.execute("; ".join(f"TRUNCATE {table}" for table, _, _ in FILL))
        await connection.close()


# --- one step ---


async def delivered(store: Store, message_ids: list[MessageId]) -> None:
    """They left the outbox, and nothing more is expected of them."""

    async def job(tx: Tx) -> None:
        for message_id in message_ids:
            await tx.run("delete_send", message_id=message_id)
            await tx.select("UPDATE messages SET state = 'delivered' WHERE id = ?", (message_id,))

    await store.write(job)


async def test_a_step_looks_at_so_many_rows_and_goes_on_behind_them(
    store: Store, add_message: AddMessage
) -> None:
    """Rows that stay are passed as well; the last part says that there is no more."""
    ids = [await add_message(at=NOW + number) for number in range(5)]
    await delivered(store, [ids[0], ids[4]])

    async def step(tx: Tx, place: tuple[bytes]) -> tuple[list[bytes], tuple[bytes], bool]:
        found = await find(tx, Prunable.MESSAGES, place, until(NOW + DAY), 2)
        await delete(tx, Prunable.MESSAGES, found.keys)
        return [key[0] for key in found.keys], (found.place[0],), found.more

    place = (b"",)
    for keys, last, more in (([ids[0]], ids[1], True), ([], ids[3], True), ([ids[4]], ids[4], False)):
        assert await store.write(partial(step, place=place)) == (keys, (last,), more)
        place = (last,)
    assert sorted(await store.read(lambda tx: tx.any_of("known_messages", ids))) == [(i,) for i in ids[1:4]]


async def test_looking_changes_nothing(store: Store, add_message: AddMessage, select: Select) -> None:
    """Also where a store is only read, and rows cannot be locked."""
    await delivered(store, [await add_message()])
    for kind in Prunable:
        found = await store.search(
            partial(find, kind=kind, place=START[kind], until=until(NOW + DAY), limit=10)
        )
        assert len(found.keys) == (kind in {Prunable.TEXTS, Prunable.MESSAGES})
    assert await select("SELECT count(*) FROM texts") == [(1,)]


async def test_young_batches_between_old_ones_are_passed(store: Store, select: Select) -> None:
    """Ids are not exactly in the order of time where several processes draw them in stocks."""

    async def add(tx: Tx) -> None:
        for number, at in enumerate([1, 9, 1, 9, 9, 1]):
            values = (number + 1, b"%d" % number, at, b"")
            await tx.select(
                "INSERT INTO batches (id, provider, digest, state, elements, received_at, body)"
                " VALUES (?, 'revicom', ?, 'done', 1, ?, ?)",
                values,
            )

    await store.write(add)
    found = await store.read(lambda tx: find(tx, Prunable.BATCHES, (0,), until(5), 4))
    assert (found.keys, found.place, found.more) == ([(1,), (3,)], (3,), True)
    found = await store.read(lambda tx: find(tx, Prunable.BATCHES, (3,), until(5), 2))
    assert (found.keys, found.place, found.more) == ([], (3,), False)


# --- two at the same time ---


async def fill(store: PostgresStore, count: int) -> None:
    ids = [new_id(NOW + number, number) for number in range(count)]
    new = [
        ToSend(
            NewMessage(
                id=id_, gateway="sms", type="sms", channel="SMS", provider="revicom",
                smartico_uid=f"uid-{number}", ext_user_id="user", sender="", address_hash=None,
                address_masked=None, callback_url=b"", lane="sms@a.example", created_at=NOW,
            ),
            b"", b"", NOW,
        )
        for number, id_ in enumerate(ids)
    ]  # fmt: skip

    async def job(tx: Tx) -> None:
        await add_messages(tx, new)
        await tx.select("DELETE FROM sends", ())
        await tx.select("UPDATE messages SET state = 'delivered'", ())
        await tx.select(
            "INSERT INTO reports (message_id, status, seq, lane, state, owed_at, finished_at)"
            " SELECT id, 'delivered', 0, lane, 'done', 1, 1 FROM messages",
            (),
        )
        await tx.select(
            "INSERT INTO inbound (provider, provider_message_id, channel, handset_hash, handset_masked, text,"
            " received_at) SELECT 'revicom', smartico_uid, 'SMS', id, '', id, 1 FROM messages",
            (),
        )

    await store.write(job)


async def prune(store: Store) -> Counter[str]:
    pruning = Pruning(store, Retention(90, 90))
    counts: Counter[str] = Counter()
    while (pruned := await pruning.step(NOW + 100 * DAY)) is not None:
        counts[pruned.kind.value] += pruned.count
    return counts


async def test_two_instances_prune_at_the_same_time(open_shared: OpenShared) -> None:
    """Neither fails, both have work, and each row goes once: what one is at the other leaves alone."""
    first, second = await open_shared(), await open_shared()
    await fill(first, 3000)
    counts = await asyncio.gather(prune(first), prune(second))
    assert counts[0] + counts[1] == {"texts": 3000, "messages": 3000, "inbound": 3000}
    for table in ("messages", "texts", "reports", "inbound"):
        left = await first.read(lambda tx, table=table: tx.select(f"SELECT count(*) FROM {table}", ()))  # type: ignore[misc]
        assert left == [(0,)]


async def test_a_row_that_somebody_is_at_is_left_alone(open_shared: OpenShared) -> None:
    """A message that a callback is changing is passed at once, without waiting for it, and stays."""
    first, second = await open_shared(), await open_shared()
    await fill(first, 3)
    locked, done = asyncio.Event(), asyncio.Event()
    busy = new_id(NOW + 1, 1)

    async def apply(tx: Tx) -> None:
        await tx.any_of("load_messages", [busy])
        locked.set()
        await done.wait()

    task = asyncio.create_task(first.write(apply))
    await locked.wait()
    counts = await prune(second)
    done.set()
    await task
    assert counts["messages"] == 2
    assert await first.read(lambda tx: tx.any_of("known_messages", [busy])) == [(busy,)]


def test_every_statement_of_a_round_is_looked_at() -> None:
    """The statements of the section `pruning`, all of them."""
    text = (Path(bridge.__file__).parent / "store/queries.sql").read_text()
    names = re.findall(r"-- name: (\w+)", text.partition("===== pruning =====")[2].partition("=====")[0])
    assert sorted(names) == sorted(STATEMENTS_OF_A_ROUND)
