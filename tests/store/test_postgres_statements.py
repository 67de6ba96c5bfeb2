"""Statements as PostgreSQL gets them: values by number, lists as arrays; each can be run, the hot ones by an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

import asyncpg
import pytest

from bridge.store import sqlite
from bridge.store.postgres.statements import OWN, STATEMENTS, Statement, compile_statement, numbered
from bridge.store.queries import QUERIES
from bridge.store.search import MessageFilter, ReportFilter, find_messages, list_reports
from bridge.store.sqlite.engine import connect
from tests.store.conftest import OpenShared
from tests.store.test_queries import HOT, LARGE, ORDERED

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
OWN_ONLY = sorted(OWN.keys() - QUERIES.keys())  # leases and locks: they run all the time


@pytest.fixture
async def connection(shared_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(shared_url)
    yield connection
    await connection.close()


@pytest.fixture
def other_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """An empty SQLite database."""
    connection = connect(tmp_path_factory.mktemp("statements") / "bridge.db", read_only=False)
    sqlite.migrate(connection)
    yield connection
    connection.close()


# --- texts ---


@pytest.mark.parametrize(
    ("text", "compiled"),
    [
        ("SELECT 1", Statement("SELECT 1", "SELECT 1", ())),
        ("SELECT :b, :a, :b", Statement("SELECT $1, $2, $1", "SELECT $1, $2, $1", ("b", "a"))),
        ("x IN (:list)", Statement("x = ANY ($1)", "x = ANY ($1)", ("list",))),
        (":a IN (:list)", Statement("$1 = ANY ($2)", "$1 = ANY ($2)", ("a", "list"))),
        ("SELECT :a::text", Statement("SELECT $1::text", "SELECT $1::text", ("a",))),
        ("SELECT :a -- not :b\n, :c", Statement("SELECT $1 \n, $2", "SELECT $1 \n, $2", ("a", "c"))),
        ("SELECT 1\nFOR UPDATE", Statement("SELECT 1\nFOR UPDATE", "SELECT 1", ())),
        (
            "SELECT 1 FOR UPDATE OF s SKIP LOCKED",
            Statement("SELECT 1 FOR UPDATE OF s SKIP LOCKED", "SELECT 1", ()),
        ),
        ("SELECT :ab, :a", Statement("SELECT $1, $2", "SELECT $1, $2", ("ab", "a"))),
    ],
)
def test_how_a_statement_is_compiled(text: str, compiled: Statement) -> None:
    """Each name has one number, in the order in which it comes; comments go, and a cast is no name."""
    assert compile_statement(text) == compiled


def test_the_clock_is_that_of_the_database() -> None:
    """`:clock` is no value that a caller gives."""
    statement = compile_statement("UPDATE t SET until = :clock + :lease")
    assert statement.names == ("lease",)
    assert "clock_timestamp()" in statement.text


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", ""),
        ("a = ?", "a = $1"),
        ("? ?,?", "$1 $2,$3"),
        ("?" * 12, "".join(f"${n}" for n in range(1, 13))),
    ],
)
def test_a_search_is_numbered(sql: str, expected: str) -> None:
    """Question marks become numbers in their order, also more than nine of them."""
    assert numbered(sql) == expected


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_takes_its_values_by_number(name: str) -> None:
    """No name and no list is left in any statement, and its numbers are those of its values."""
    statement = STATEMENTS[name]
    for text in (statement.text, statement.unlocked):
        assert {int(number) for number in re.findall(r"\$(\d+)", text)} == set(
            range(1, len(statement.names) + 1)
        )
        assert re.findall(r"(?<!:):\w+", text) == []
    assert "FOR UPDATE" not in statement.unlocked


# --- on the server ---


async def test_every_statement_can_be_prepared(connection: Connection) -> None:
    """PostgreSQL understands every statement of both files, locked and not, with the tables that there are."""
    for name in sorted(STATEMENTS):
        for text in {STATEMENTS[name].text, STATEMENTS[name].unlocked}:
            prepared = await connection.prepare(text)
            assert len(prepared.get_parameters()) == len(STATEMENTS[name].names), name


async def test_both_engines_give_the_same_columns(
    connection: Connection, other_engine: sqlite3.Connection
) -> None:
    """A statement gives as many columns on PostgreSQL as on SQLite: rows are unpacked by their place."""
    for name, text in QUERIES.items():
        values = dict.fromkeys(re.findall(r":(\w+)", text), 1)
        given = other_engine.execute(text, values).description or ()
        prepared = await connection.prepare(STATEMENTS[name].text)
        assert len(prepared.get_attributes()) == len(given), name


async def plan(connection: Connection, sql: str, count: int) -> str:
    """How it would be run with any values, were the tables large."""
    async with connection.transaction():
        for name in ("seqscan", "hashjoin", "mergejoin", "bitmapscan"):
            await connection.execute(f"SET LOCAL enable_{name} = off")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE asked AS {sql}")
        values = f"({', '.join(['NULL'] * count)})" if count else ""
        rows = await connection.fetch(f"EXPLAIN EXECUTE asked{values}")
        await connection.execute("DEALLOCATE asked")
    return "\n".join(row[0] for row in rows)


def scanned(plan: str) -> list[str]:
    """The large tables that are read from end to end."""
    return [table for table in re.findall(r"Seq Scan on (\w+)", plan) if table in LARGE]


async def test_what_runs_all_the_time_goes_by_an_index(connection: Connection) -> None:
    """No statement of everyday work reads a whole table that grows with every message."""
    for name in (*HOT, *OWN_ONLY):
        statement = STATEMENTS[name]
        assert scanned(await plan(connection, statement.text, len(statement.names))) == [], name


async def test_a_search_for_the_next_goes_by_its_order(connection: Connection) -> None:
    """What is due is found in the order of an index: nothing is sorted, however much waits."""
    for name in ORDERED:
        statement = STATEMENTS[name]
        assert "Sort" not in await plan(connection, statement.text, len(statement.names)), name


async def test_a_whole_table_would_be_noticed(connection: Connection) -> None:
    """The two tests above see a scan and a sort where there is one."""
    shown = await plan(connection, "SELECT id FROM messages WHERE sender = $1 ORDER BY updated_at", 1)
    assert scanned(shown) == ["messages"]
    assert "Sort" in shown


@pytest.mark.parametrize(
    "text", ["", "+447700900123", "a@b.example", "0190a540-f662-745b-8311-eebe56024200", "x"]
)
async def test_a_search_for_messages_can_be_run(open_shared: OpenShared, text: str) -> None:
    """What is put together for people runs on PostgreSQL, with every condition and with none."""
    store = await open_shared()
    for chosen in (
        MessageFilter(text),
        MessageFilter(text, "sms", "sent", 1, 2, b"m" * 16, 10),
    ):
        assert await store.search(lambda tx, chosen=chosen: find_messages(tx, chosen)) == []  # type: ignore[misc]


async def test_a_search_for_reports_can_be_run(open_shared: OpenShared) -> None:
    """As for messages: with every condition, with none, and by keys."""
    store = await open_shared()
    for chosen in (
        ReportFilter(),
        ReportFilter("dead", 1, "sms", "50%", (b"m" * 16, 3), None),
        ReportFilter(keys=[]),
    ):
        assert await store.search(lambda tx, chosen=chosen: list_reports(tx, chosen)) == []  # type: ignore[misc]
