"""Many messages from one, on a schema that is not today's: columns are known by what they hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bridge.bench.scene import person, provider_uuid
from bridge.bench.seed import Original, Seeder
from bridge.core.model import id_text, id_time, new_id

SCHEMA = """
CREATE TABLE contacts (ext_user_id TEXT PRIMARY KEY, phone_hash BLOB, phone_masked TEXT);
CREATE TABLE messages (
    number INTEGER PRIMARY KEY, public_id BLOB UNIQUE, smartico_uid TEXT UNIQUE, ext_user_id TEXT, address BLOB,
    provider_message_id BLOB UNIQUE, state TEXT
);
CREATE TABLE reports (message_number INTEGER, status TEXT, due_at INTEGER, PRIMARY KEY (message_number, status));
CREATE TABLE callbacks (id INTEGER PRIMARY KEY, message_id BLOB, digest BLOB UNIQUE, provider_id TEXT);
CREATE TABLE others (id INTEGER PRIMARY KEY, name TEXT);
"""
ORIGINAL = Original(new_id(1_000, 7), "uid", id_text(provider_uuid(99)), person(0))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """One message with two callbacks and two reports, three people, and a row that is nobody's."""
    path = tmp_path / "bridge.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        people = [(person(n), bytes([n]) * 16, f"+44•••••{n}") for n in range(3)]
        connection.executemany("INSERT INTO contacts VALUES (?, ?, ?)", people)
        message = (5, ORIGINAL.message_id, "uid", person(0), bytes(16), provider_uuid(99), "delivered")
        connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", message)
        for row in ((5, "accepted", None), (5, "delivered", 17)):
            connection.execute("INSERT INTO reports VALUES (?, ?, ?)", row)
        for digest in (b"a" * 16, b"b" * 16):
            callback = (ORIGINAL.message_id, digest, ORIGINAL.provider_uuid)
            connection.execute(
                "INSERT INTO callbacks (message_id, digest, provider_id) VALUES (?, ?, ?)", callback
            )
        connection.execute("INSERT INTO others (name) VALUES ('nobody')")
        connection.commit()
    return path


@pytest.fixture
def seeded(database: Path) -> Iterator[sqlite3.Connection]:
    """Ten more messages, in two steps."""
    seeder = Seeder(database, ORIGINAL)
    names = [row for count in (4, 6) for chunk in seeder.add(count, 2_000) for row in chunk]
    assert names[0][0] == id_text(provider_uuid(1))
    assert len(set(names)) == 10
    with closing(sqlite3.connect(database)) as connection:
        yield connection


def test_every_message_has_ids_of_its_own_and_the_rest_of_the_original(seeded: sqlite3.Connection) -> None:
    """The unique columns took them all; ids are in the order of time; everybody's turn comes."""
    rows = seeded.execute(
        "SELECT public_id, state, ext_user_id, address FROM messages ORDER BY number"
    ).fetchall()
    assert len(rows) == 11
    assert {state for _, state, _, _ in rows} == {"delivered"}
    assert [id_time(row[0]) for row in rows[:5]] == [1_000, 2_000, 2_001, 2_002, 2_003]
    assert {(user, address) for _, _, user, address in rows} == {
        (person(n), bytes([n]) * 16) for n in range(3)
    }
    (kind,) = seeded.execute("SELECT DISTINCT typeof(provider_message_id) FROM messages").fetchone()
    assert kind == "blob"


def test_rows_of_other_tables_belong_to_their_message(seeded: sqlite3.Connection) -> None:
    """By the id, or by the number of its row; what is nobody's stays alone."""
    joined = """
        SELECT count(*) FROM messages AS m JOIN reports AS r ON r.message_number = m.number
        JOIN callbacks AS c ON c.message_id = m.public_id
    """
    assert seeded.execute(joined).fetchone() == (44,)
    assert seeded.execute("SELECT count(*) FROM reports WHERE due_at = 17").fetchone() == (11,)
    assert seeded.execute("SELECT count(*) FROM others").fetchone() == (1,)
