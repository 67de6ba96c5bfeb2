"""`bridge db copy`: from a SQLite file into an empty PostgreSQL database, everything or nothing."""

from __future__ import annotations

import asyncio
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bridge.core.model import MessageId, new_id
from bridge.pii import mask_phone
from bridge.store import messages, postgres
from bridge.store.messages import NewMessage, ToSend
from bridge.store.sqlite import open_store
from bridge.store.sqlite.lock import OwnerLock
from bridge.store.tx import Tx
from tests.cli.conftest import SETTINGS, Run
from tests.postgres import PostgresServer, create_sync

NOW = 1_795_234_921_250
PHONE = "+447700900123"
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
WORDS = {
    ("messages", "state"): ("queued", "unknown", "submitted", "delivered", "failed"),
    ("sends", "phase"): ("queued", "handed", "lookup", "review"),
    ("reports", "state"): ("pending", "done", "dead"),
    ("batches", "state"): ("waiting", "done", "unreadable"),
    ("review_items", "state"): ("open", "dismissed", "resolved"),
    ("callbacks", "outcome"): ("applied", "noted", "superseded", "held", "unmapped"),
}
ROWS = 15  # in each table, beside those that were made in earnest


def on(url: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a PostgreSQL database."""

    async def fetch() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def do(url: str, script: str) -> None:
    """Runs statements on a PostgreSQL database."""

    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(script)
        finally:
            await connection.close()

    asyncio.run(execute())


def new_message(number: int, store: Any) -> NewMessage:
    """A message of a store, just accepted."""
    return NewMessage(
        id=new_id(NOW, number),
        gateway="sms",
        type="sms",
        channel="SMS",
        provider="revicom",
        smartico_uid=f"uid-{number}",
        ext_user_id="anna",
        sender="Casino",
        address_hash=store.vault.hash(PHONE),
        address_masked=mask_phone(PHONE),
        callback_url=store.vault.seal_text("https://api.smartico.ai/status"),
        lane="sms@api.smartico.ai",
        created_at=NOW,
    )


async def add_messages(path: Path, pii_key: str) -> list[MessageId]:
    """Two messages: the first is queued, the second was perhaps sent."""
    store = open_store(path, pii_key)
    ids = []
    for number in (1, 2):
        message = new_message(number, store)
        vault = store.vault
        new = ToSend(message, vault.seal_text(PHONE), vault.seal_text("Hello"), NOW + 86_400_000)
        await store.write(partial(messages.add_messages, new=[new]))
        ids.append(message.id)
    await store.write(lambda tx: tx.run("hand_send", message_id=ids[1], now=NOW))
    await store.close()
    return ids


def tables(connection: sqlite3.Connection) -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid"
        )
    ]


def columns(connection: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    """Name, type, whether it must have a value, and whether it is in the primary key."""
    info = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return [(name, kind, bool(needed) or bool(key)) for _, name, kind, needed, _, key in info]


def made_up(table: str, column: str, kind: str, number: int) -> object:
    """A value that fits; texts with all kinds of characters."""
    words = WORDS.get((table, column))
    if words:
        return words[number % len(words)]
    if kind == "TEXT":
        return f"{column} {number} 'ñ\n\\😀"
    return bytes([number, 0, 255]) * 6 if kind == "BLOB" else number * 1000 + 7


def fill(path: Path) -> None:
    """Rows for every column of every table, as the file itself describes them; every third is short of values."""
    with closing(sqlite3.connect(path)) as connection:
        for table in tables(connection):
            names = columns(connection, table)
            marks = ", ".join("?" for _ in names)
            for number in range(1, ROWS + 1):
                row = [
                    made_up(table, name, kind, number) if needed or number % 3 else None
                    for name, kind, needed in names
                ]
                connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)
        connection.commit()


def contents(path: Path) -> dict[str, list[str]]:
    """All rows of the file, by table, in an order that both engines can be brought to."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: sorted(map(repr, connection.execute(f"SELECT * FROM {table}")))
            for table in tables(connection)
        }


def copied(url: str, path: Path) -> dict[str, list[str]]:
    """The same of the other database, without what it has of its own."""
    found = {}
    with closing(sqlite3.connect(path)) as connection:
        for table in tables(connection):
            names = ", ".join(f'"{name}"' for name, *_ in columns(connection, table))
            rows = on(url, f"SELECT {names} FROM {table}")
            found[table] = sorted(repr(row) for row in rows if row[0] != "schema_version")
    return found


def count(url: str) -> int:
    """How many rows are in the tables, beside the version of the schema."""
    names = on(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    total = sum(on(url, f"SELECT count(*) FROM {name}")[0][0] for (name,) in names)
    return int(total) - (1 if names else 0)


def settings(folder: Path, pii_key: str = KEY, url: str = "sqlite:///bridge.db") -> None:
    text = SETTINGS.replace("sqlite:///bridge.db", url).replace(KEY, pii_key)
    (folder / "bridge.toml").write_text(text)


@pytest.fixture
def target(postgres: PostgresServer) -> Iterator[str]:
    """A new database without anything in it."""
    url = create_sync(postgres, migrated=False)
    yield url
    asyncio.run(postgres.drop(url))


@pytest.fixture
def source(bridge: Run, folder: Path) -> Path:
    """A file with a few contacts."""
    (folder / "people.csv").write_text(f"ext_user_id,phone,email\nanna,{PHONE},\nben,+447700900124,\n")
    assert bridge("contacts", "import", "people.csv").code == 0
    return folder / "bridge.db"


@pytest.mark.parametrize("pii_key", ["", KEY], ids=["plain", "encrypted"])
def test_everything_is_copied(bridge: Run, folder: Path, target: str, pii_key: str) -> None:
    """All rows of all tables; people and messages are found and shown as before."""
    settings(folder, pii_key)
    (folder / "people.csv").write_text(f"ext_user_id,phone,email,opted_out\nanna,{PHONE},a@example.com,SMS\n")
    assert bridge("contacts", "import", "people.csv").code == 0
    path = folder / "bridge.db"
    ids = asyncio.run(add_messages(path, pii_key))
    looks = (["contacts", "show", "anna"], ["messages", "find", PHONE], ["messages", "show", ids[0].hex()])
    asked = [[*words, "--json"] for words in looks]
    before = [bridge(*words) for words in asked]
    fill(path)
    rows = contents(path)

    result = bridge("db", "copy", "--to", target, "--json")
    assert result.code == 0, result.err
    assert result.json["tables"] == {table: len(each) for table, each in rows.items()}
    assert result.json["rows"] == sum(map(len, rows.values()))
    assert all(len(each) >= ROWS for each in rows.values())
    assert copied(target, path) == rows
    assert contents(path) == rows
    assert "messages: 17 rows checked" in result.err

    settings(folder, pii_key, target)
    after = [bridge(*words) for words in asked]
    assert [each.json for each in after] == [each.json for each in before]
    assert before[1].json["items"]
    assert bridge("db", "status").code == 0


def test_who_serves_next_takes_over_what_was_perhaps_sent(bridge: Run, folder: Path, target: str) -> None:
    """It has no lease, and a lease that is over is what workers look for; nothing else is leased."""
    ids = asyncio.run(add_messages(folder / "bridge.db", KEY))
    assert bridge("db", "copy", "--to", target).code == 0
    leases = on(target, "SELECT message_id, owner, leased_until FROM sends ORDER BY message_id")
    assert leases == [(ids[0], None, None), (ids[1], None, 0)]

    async def take_over() -> list[Any]:
        store = await postgres.open_store(target, KEY)

        async def job(tx: Tx) -> list[Any]:
            return await tx.all("handed_sends", provider="revicom")

        try:
            return await store.write(job)
        finally:
            await store.close()

    assert asyncio.run(take_over()) == [(ids[1],)]


def test_numbers_go_on_behind_the_copied_ones(bridge: Run, folder: Path, target: str) -> None:
    """A number that was given is never given again; a table without rows begins with 1."""
    bridge("db", "migrate")
    with closing(sqlite3.connect(folder / "bridge.db")) as connection:
        connection.execute("INSERT INTO steps (id, message_id, at, kind) VALUES (4711, x'00', 1, 'x')")
        connection.execute("INSERT INTO batches VALUES (900, 'revicom', x'00', 'done', 1, 1, x'00')")
        connection.commit()
    assert bridge("db", "copy", "--to", target).code == 0
    step = "INSERT INTO steps (message_id, at, kind) VALUES ('', 1, 'x') RETURNING id"
    assert on(target, step) == [(4712,)]
    batch = "INSERT INTO batches (provider, digest, state, elements, received_at, body) VALUES ('', '', '', 1, 1, '') "
    assert on(target, batch + "RETURNING id") == [(901,)]
    assert on(
        target, "INSERT INTO audit (at, actor, action, detail) VALUES (1, '', '', '') RETURNING id"
    ) == [(1,)]


def test_a_nul_in_a_text_becomes_another_sign(bridge: Run, source: Path, target: str) -> None:
    """PostgreSQL cannot keep it, also where it makes a key sort otherwise; the check knows of it."""
    with closing(sqlite3.connect(source)) as connection:
        for name in ("user\0a", "user b", "userc"):
            connection.execute("INSERT INTO contacts (ext_user_id, updated_at) VALUES (?, 1)", [name])
        connection.commit()
    assert bridge("db", "copy", "--to", target).code == 0
    names = {name for (name,) in on(target, "SELECT ext_user_id FROM contacts")}
    assert names == {"anna", "ben", "user\N{REPLACEMENT CHARACTER}a", "user b", "userc"}


def test_the_end_says_what_to_do_next(bridge: Run, source: Path, target: str) -> None:
    """How much was copied, that it was compared, and neither user nor password of the address."""
    result = bridge("db", "copy", "--to", target.replace("bridge@", "bridge:hunter2@"))
    assert result.code == 0
    assert "rows of 23 tables are now in postgresql://127.0.0.1:" in result.out
    assert "the check found them equal" in result.out
    assert "set database.url" in result.out
    assert "hunter2" not in result.out + result.err
    assert "contacts: 2 rows copied\ncontacts: 2 rows checked\n" in result.err
    assert "\x1b" not in result.err


def test_on_a_terminal_there_is_a_bar(bridge: Run, source: Path, target: str) -> None:
    """It is drawn on standard error; the result stays on standard output."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bridge", "db", "copy", "--to", target]
    environ = {**os.environ, "TERM": "xterm"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environ, check=False)
    os.close(theirs)
    drawn = os.read(ours, 65536)
    os.close(ours)
    assert done.returncode == 0
    assert "━".encode() in drawn
    assert b"rows of 23 tables" in done.stdout


def test_nothing_is_copied_while_a_service_runs(bridge: Run, source: Path, target: str) -> None:
    """The owner of the file is named, and the target stays as it was."""
    with OwnerLock(source):
        result = bridge("db", "copy", "--to", target)
    assert (result.code, result.out) == (1, "")
    assert f"owns the database {source}: stop it first." in result.err
    assert count(target) == 0


def test_nothing_is_copied_from_nowhere(bridge: Run, folder: Path, target: str) -> None:
    """A wrong database.url does not make a new file."""
    result = bridge("db", "copy", "--to", target)
    assert result.code == 1
    assert "There is no database" in result.err
    assert not (folder / "bridge.db").exists()


def test_the_key_has_to_be_that_of_the_file(bridge: Run, folder: Path, source: Path, target: str) -> None:
    """Else nobody could read what was copied."""
    settings(folder, KEY.replace("MDEyMzQ1", "OTg3NjU0"))
    result = bridge("db", "copy", "--to", target)
    assert result.code == 1
    assert "database.pii_key is not the one" in result.err
    assert count(target) == 0


def test_postgresql_is_no_source(bridge: Run, folder: Path, target: str) -> None:
    """Between two servers there is pg_dump."""
    settings(folder, KEY, target)
    result = bridge("db", "copy", "--to", target)
    assert result.code == 1
    assert "database.url names PostgreSQL already" in result.err


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO contacts (ext_user_id, updated_at) VALUES ('carl', 1)",
        "CREATE TABLE foreign_one AS SELECT 1",
    ],
    ids=["contacts", "foreign_one"],
)
def test_a_target_with_rows_is_refused(
    bridge: Run, source: Path, postgres: PostgresServer, sql: str, request: pytest.FixtureRequest
) -> None:
    """Whosever they are; the sentence names the tables, and they stay as they are."""
    url = create_sync(postgres)
    do(url, sql)
    result = bridge("db", "copy", "--to", url)
    assert result.code == 1
    assert f"it has rows in {request.node.callspec.id}:" in result.err
    assert count(url) == 1
    asyncio.run(postgres.drop(url))


def test_a_target_that_bridge_has_looked_at(bridge: Run, source: Path, postgres: PostgresServer) -> None:
    """The keys that a command made there guard nothing yet: those of the file take their place."""
    url = create_sync(postgres)
    do(url, "INSERT INTO meta VALUES ('hash_key', 'another'), ('hash_check', 'another')")
    result = bridge("db", "copy", "--to", url)
    assert result.code == 0, result.err
    assert on(url, "SELECT key FROM meta WHERE value = 'another'") == []
    asyncio.run(postgres.drop(url))


def test_nothing_is_made_in_the_database_of_somebody_else(bridge: Run, source: Path, target: str) -> None:
    """Rows are looked for before the schema is made."""
    do(target, "CREATE TABLE foreign_one AS SELECT 1")
    assert bridge("db", "copy", "--to", target).code == 1
    assert on(target, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("foreign_one",)]


def test_a_target_of_a_newer_version_is_refused(bridge: Run, source: Path, postgres: PostgresServer) -> None:
    """This version does not know what the newer one wants."""
    url = create_sync(postgres)
    do(url, "UPDATE meta SET value = '999'")
    result = bridge("db", "copy", "--to", url)
    assert result.code == 1
    assert "newer version of bridge" in result.err
    asyncio.run(postgres.drop(url))


def test_a_foreign_table_in_the_file_is_refused(bridge: Run, source: Path, target: str) -> None:
    """It would be lost without a word."""
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    result = bridge("db", "copy", "--to", target)
    assert result.code == 1
    assert "The table notes of the SQLite file (with text) is none of bridge's" in result.err
    assert count(target) == 0


TRIGGER = """
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {action} RETURN NEW; END $$;
CREATE TRIGGER act BEFORE INSERT ON error_texts FOR EACH ROW EXECUTE FUNCTION act();
"""
DROP_TRIGGER = "DROP TRIGGER act ON error_texts"


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (
            "NEW.text := NEW.text || '!';",
            "found a difference in the table error_texts (2 rows in SQLite, 2 in PostgreSQL)",
        ),
        (
            "IF NEW.code = 'one' THEN RETURN NULL; END IF;",
            "found a difference in the table error_texts (2 rows in SQLite, 1 in PostgreSQL)",
        ),
        (
            "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100';",
            "The copy failed at the table error_texts, and nothing of it was kept. The database cannot be used now",
        ),
        (
            "PERFORM pg_terminate_backend(pg_backend_pid());",
            "The copy failed at the table error_texts, and nothing of it was kept.",
        ),
        (
            "RAISE EXCEPTION 'a secret of %', NEW.text USING ERRCODE = '23514';",
            "PostgreSQL refuses a part of the table error_texts (CheckViolationError)",
        ),
    ],
    ids=["changed", "left out", "disk full", "server gone", "refused"],
)
def test_a_copy_that_is_not_equal_leaves_nothing(
    bridge: Run, source: Path, postgres: PostgresServer, action: str, sentence: str
) -> None:
    """One sentence, no row, no number spent, and the next try succeeds."""
    url = create_sync(postgres)
    with closing(
        sqlite3.connect(source)
    ) as connection:  # the last of all tables, and one with numbers before it
        connection.execute(
            "INSERT INTO error_texts VALUES ('revicom', 'one', 'secret'), ('revicom', 'two', 'x')"
        )
        connection.execute("INSERT INTO audit VALUES (77, 1, '', '', '')")
        connection.commit()
    do(url, TRIGGER.replace("{action}", action))
    result = bridge("db", "copy", "--to", url)
    assert (result.code, result.out) == (1, "")
    assert sentence in result.err
    assert "secret" not in result.err
    assert count(url) == 0
    assert on(url, "SELECT nextval(pg_get_serial_sequence('audit', 'id'))") == [(1,)]
    do(url, DROP_TRIGGER)
    assert bridge("db", "copy", "--to", url).code == 0
    assert copied(url, source) == contents(source)
    asyncio.run(postgres.drop(url))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///other.db",
        "mysql://bridge:hunter2@127.0.0.1/bridge",
        "postgresql://bridge:hunter2@127.0.0.1:5432",
        "postgresql://bridge:hunter2@:5432/bridge",
        "postgresql://bridge:hunter2@127.0.0.1:port/bridge",
        "postgresql://bridge:12/hunter2@127.0.0.1/bridge",
        "",
    ],
)
def test_an_address_that_is_none_is_wrong_usage(bridge: Run, source: Path, url: str) -> None:
    """It says how one is written, and shows nothing of what was given."""
    result = bridge("db", "copy", "--to", url)
    assert (result.code, result.out) == (2, "")
    assert "postgresql://user:password@host:5432/name" in result.err
    assert "hunter2" not in result.err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("/test_", "/none_"), "has no database of that name"),
        (("127.0.0.1", "no-such-host.invalid"), "PostgreSQL cannot be reached ("),
        (("127.0.0.1:{port}", "127.0.0.1:1"), "PostgreSQL cannot be reached ("),
        (("/test_", "/test_?sslmode=nonsense&x="), "cannot be asked with this address"),
    ],
    ids=["database", "host", "port", "parameter"],
)
def test_a_server_that_is_not_there_is_a_sentence(
    bridge: Run, source: Path, target: str, postgres: PostgresServer, change: tuple[str, str], sentence: str
) -> None:
    """With what to look at, and without the password."""
    old, new = change
    url = target.replace("bridge@", "bridge:hunter2@").replace(old.format(port=postgres.port), new)
    result = bridge("db", "copy", "--to", url)
    assert (result.code, result.out) == (1, "")
    assert sentence in result.err
    assert "the address after --to" in result.err
    assert "hunter2" not in result.err
    assert result.err.count("\n") == 1
