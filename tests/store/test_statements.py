"""Statements as SQLite gets them: the values at their places, and lists of any length."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from bridge.pii import Vault
from bridge.store.queries import QUERIES
from bridge.store.sqlite.engine import SqliteTx, run_job
from bridge.store.sqlite.statements import STATEMENTS, compile_statement, padded
from bridge.store.tx import Row, Tx

SIZES = (0, 1, 2, 3, 4, 511, 512, 513, 1024, 2000)


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """A database in memory, with a table of numbers."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, parity TEXT)")
        rows = [(number, "odd" if number % 2 else "even") for number in range(3000)]
        connection.executemany("INSERT INTO numbers VALUES (?, ?)", rows)
        yield connection


def run(database: sqlite3.Connection, text: str, **values: object) -> list[Row]:
    sql, bind = compile_statement(text)
    return database.execute(sql, bind(values)).fetchall()


def run_list(database: sqlite3.Connection, text: str, keys: list[int], **values: object) -> list[Row]:
    """As `Tx.any_of` does."""
    sql, bind = compile_statement(text)
    first = bind(values)
    return [
        row
        for sized, some in padded(sql, keys, len(first))
        for row in database.execute(sized, (*first, *some)).fetchall()
    ]


def test_values_go_to_their_names(database: sqlite3.Connection) -> None:
    """None, one and several values arrive where they are named, in whatever order they are given."""
    assert run(database, "SELECT 7") == [(7,)]
    assert run(database, "SELECT :one", one="a") == [("a",)]
    assert run(database, "SELECT :b, :a, :c", a="a", c="c", b="b") == [("b", "a", "c")]


def test_a_name_that_stands_twice_is_one_value(database: sqlite3.Connection) -> None:
    """A repeated name is bound once, and means the same everywhere."""
    sql, bind = compile_statement("SELECT :now, :after, :now + 1, :after || :now")
    assert bind({"after": "x", "now": 5}) == (5, "x")
    assert database.execute(sql, (5, "x")).fetchall() == [(5, "x", 6, "x5")]


def test_a_name_that_begins_like_another_is_another(database: sqlite3.Connection) -> None:
    """`:id` in `:id_of_batch` is not taken for it."""
    assert run(database, "SELECT :id_of_batch, :id, :i", i=3, id=2, id_of_batch=1) == [(1, 2, 3)]


def test_comments_are_no_statement(database: sqlite3.Connection) -> None:
    """What a comment names is no value; the line after it counts again."""
    text = "SELECT :a -- not :b, (:list) nor 'this\n, :c -- :d"
    assert run(database, text, a=1, c=3) == [(1, 3)]
    assert compile_statement(text)[1]({"a": 1, "c": 3}) == (1, 3)


def test_more_than_nine_values(database: sqlite3.Connection) -> None:
    """The tenth number is not the first one with a zero."""
    values = {f"value{number}": number for number in range(30)}
    text = "SELECT " + ", ".join(f":{name}" for name in reversed(values))
    assert run(database, text, **values) == [tuple(reversed(range(30)))]


def test_a_value_that_is_missing_is_an_error() -> None:
    """A forgotten value does not become NULL, whether the statement has one or several."""
    for text in ("SELECT :a", "SELECT :a, :b"):
        with pytest.raises(KeyError):
            compile_statement(text)[1]({"c": 1})


@pytest.mark.parametrize("size", SIZES)
def test_lists_of_any_length(database: sqlite3.Connection, size: int) -> None:
    """Every key is looked for exactly once, also where there are more of them than one statement takes."""
    keys = [3 * number % 3001 for number in range(size)]
    found = run_list(database, "SELECT number FROM numbers WHERE number IN (:list)", keys)
    assert sorted(found) == sorted({(key,) for key in keys if key < 3000})
    assert len(found) == len(set(found))


@pytest.mark.parametrize("size", SIZES)
def test_values_beside_a_list(database: sqlite3.Connection, size: int) -> None:
    """Values before, after and on both sides of the list keep their places."""
    text = (
        "SELECT number, :label FROM numbers WHERE parity = :parity AND number IN (:list) AND number < :below"
        " AND parity = :parity"
    )
    found = run_list(database, text, list(range(size)), below=1500, parity="odd", label="x")
    assert sorted(found) == [(number, "x") for number in range(size) if number % 2 and number < 1500]


@pytest.mark.parametrize("size", SIZES)
def test_few_texts_exist(size: int) -> None:
    """Each part of a list has the size of a power of two, at most 512, and the number of its marks is that of keys."""
    keys = list(range(size))
    seen: list[int] = []
    for text, some in padded("SELECT ?1 WHERE 0 IN (:list)", keys, 1):
        assert len(some) in {1 << power for power in range(10)}
        assert re.findall(r"\?(\d+)", text) == [str(number) for number in range(1, len(some) + 2)]
        seen += some
    assert list(dict.fromkeys(seen)) == keys


def test_the_keys_that_were_given_are_not_changed() -> None:
    """Filling up happens on a copy; a tuple will do as well."""
    keys = [1, 2, 3]
    list(padded("x (:list)", keys, 0))
    assert keys == [1, 2, 3]
    assert [some for _, some in padded("x (:list)", (1, 2, 3), 0)] == [[1, 2, 3, 3]]


def test_a_change_by_list_changes_each_row_once(database: sqlite3.Connection) -> None:
    """A key that fills up a list changes nothing twice, and an UPDATE gives each row once."""
    text = "UPDATE numbers SET parity = parity || :sign WHERE number IN (:list) RETURNING number"
    assert sorted(run_list(database, text, list(range(700)), sign="!")) == [(n,) for n in range(700)]
    changed = database.execute("SELECT count(*) FROM numbers WHERE parity LIKE '%!'").fetchone()
    assert changed == (700,)
    assert database.execute("SELECT count(*) FROM numbers WHERE parity LIKE '%!!'").fetchone() == (0,)


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_every_statement_takes_its_values_by_number(name: str) -> None:
    """No statement keeps a name, and each takes exactly as many values as it was given names."""
    sql, bind = STATEMENTS[name]
    names = set(re.findall(r":(\w+)", re.sub(r"--.*", "", QUERIES[name]))) - {"list"}
    bound = bind({each: each for each in names})
    assert set(bound) == names
    assert {int(number) for number in re.findall(r"\?(\d+)", sql)} == set(range(1, len(names) + 1))
    assert re.findall(r":\w+", sql) == ([":list"] if "(:list)" in QUERIES[name] else [])


def test_a_transaction_takes_lists(database: sqlite3.Connection) -> None:
    """Through `Tx`: no keys are no statement at all, and 2000 keys with a value beside them are all looked for."""
    database.execute("CREATE TABLE provider_messages (provider, provider_message_id, message_id)")
    database.executemany(
        "INSERT INTO provider_messages VALUES ('revicom', ?, ?)", [(str(n), n) for n in range(2000)]
    )
    asked: list[str] = []
    database.set_trace_callback(asked.append)
    tx = SqliteTx(database, Vault(b""))

    async def none(tx: Tx) -> list[Row]:
        return await tx.any_of("messages_of_provider_ids", [], provider="revicom")

    async def many(tx: Tx) -> list[Row]:
        keys = [str(number) for number in range(2000)]
        return await tx.any_of("messages_of_provider_ids", keys, provider="revicom")

    assert run_job(none, tx) == []
    assert asked == []
    assert len(run_job(many, tx)) == 2000
