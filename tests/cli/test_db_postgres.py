"""`bridge db` and `bridge check` where database.url names PostgreSQL."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bridge.cli.check_postgres import check_connections, check_server, check_server_clock
from bridge.store.postgres.facts import Server
from tests.cli.conftest import SETTINGS, Run
from tests.postgres import PostgresServer, create_sync


def use(folder: Path, url: str) -> None:
    """Settings with this database."""
    (folder / "bridge.toml").write_text(SETTINGS.replace("sqlite:///bridge.db", url))


def do(url: str, *statements: str) -> None:
    """Runs statements on the database, each by itself."""

    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute())


@pytest.fixture
def database(folder: Path, postgres: PostgresServer) -> Iterator[str]:
    """A new database without anything in it; the settings name it, with a password that nobody asks for."""
    url = create_sync(postgres, migrated=False)
    use(folder, url.replace("bridge@", "bridge:hunter2@"))
    yield url
    asyncio.run(postgres.drop(url))


@pytest.fixture
def guarded(postgres: PostgresServer, database: str) -> Iterator[str]:
    """The address of the same database for a user whose password is wanted, and who may do nothing."""
    do(database, "CREATE ROLE guarded LOGIN PASSWORD 'the-right-one'")
    rules = postgres.folder / "data/pg_hba.conf"
    before = rules.read_text()
    rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + before)
    do(database, "SELECT pg_reload_conf()")
    url = database.replace("bridge@", "guarded:the-right-one@")
    _wait_until_refused(url.replace("the-right-one", "another"))
    yield url
    rules.write_text(before)
    do(database, "SELECT pg_reload_conf()", "DROP OWNED BY guarded", "DROP ROLE guarded")


def _wait_until_refused(url: str) -> None:
    """The server reads its rules a moment later."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            do(url)
        except asyncpg.InvalidPasswordError:
            return
    raise AssertionError("the server does not ask for a password")


def name(url: str) -> str:
    return url.replace("bridge@", "")


def test_migrate_makes_the_schema_once(bridge: Run, database: str) -> None:
    """It says from which version to which; the database is called by its address without user and password."""
    first = bridge("db", "migrate", "--json")
    assert (first.code, first.json["path"], first.json["before"]) == (0, name(database), 0)
    again = bridge("db", "migrate", "--json").json
    assert again["before"] == again["after"] == first.json["after"] > 0
    assert "is up to date" in bridge("db", "migrate").out


def test_a_newer_database_is_refused(bridge: Run, database: str) -> None:
    """By every command alike."""
    bridge("db", "migrate")
    do(database, "UPDATE meta SET value = '999' WHERE key = 'schema_version'")
    for words in (["db", "migrate"], ["db", "status"], ["check", "--offline"]):
        result = bridge(*words)
        assert result.code == 1
        assert "newer version of bridge" in result.out + result.err


def test_status_counts_what_is_leased(bridge: Run, database: str) -> None:
    """Leases that are over, finished work and rows that nobody owns do not count."""
    bridge("db", "migrate")
    send = "INSERT INTO sends VALUES ('{}', 'revicom', 'sms', 'handed', '', 1, 1, 1, 0, {}, {})"
    report = (
        "INSERT INTO reports (message_id, status, seq, lane, state, owed_at, owner, leased_until)"
        " VALUES ('{}', 'sent', 0, 'sms', '{}', 1, {}, {})"
    )
    future = 9_999_999_999_999
    do(
        database,
        send.format("a", "'one'", future),
        send.format("b", "'two'", future),
        send.format("c", "'three'", 1),
        send.format("d", "NULL", 0),
        report.format("a", "pending", "'one'", future),
        report.format("b", "done", "'four'", future),
        report.format("c", "dead", "NULL", "NULL"),
    )
    status = bridge("db", "status", "--json").json
    assert status.pop("bytes") > 1_000_000
    assert status.pop("server").startswith("PostgreSQL ")
    assert status.pop("schema_version") > 0
    assert status == {
        "path": name(database), "leases": 3, "lease_owners": 2, "messages": {},
        "reports_owed": 1, "reports_done": 1, "reports_dead": 1, "inbox_waiting": 0, "review_open": 0,
    }  # fmt: skip
    lines = bridge("db", "status").out
    assert "lease owners:" in lines
    assert "hunter2" not in lines


def test_a_backup_is_a_matter_of_pg_dump(bridge: Run, folder: Path, database: str) -> None:
    """The sentence has the command, without the password."""
    result = bridge("db", "backup", "copy.db")
    assert result.code == 1
    assert f"pg_dump --format=custom --username=USER --file=bridge.dump {name(database)}" in result.err
    assert "hunter2" not in result.err
    assert not (folder / "copy.db").exists()


def test_check_looks_at_the_server(bridge: Run, database: str) -> None:
    """Database, clock and connections; neither SQLite nor the disk of this machine."""
    result = bridge("check", "--offline")
    assert result.code == 0
    assert f"ok       database: {name(database)}, PostgreSQL " in result.out
    assert "it can be written" in result.out
    assert "ok       database: the clock of the database is 0." in result.out
    assert "connections are free, and one instance opens up to 11" in result.out
    assert "hunter2" not in result.out
    found = {item["check"] for item in bridge("check", "--offline", "--json").json["items"]}
    assert found == {"settings", "mappings", "database", "contacts", "clock"}


def test_check_says_when_another_key_is_set(bridge: Run, folder: Path, database: str) -> None:
    """As on SQLite."""
    bridge("check", "--offline")
    text = (folder / "bridge.toml").read_text()
    (folder / "bridge.toml").write_text(text.replace("MDEyMzQ1", "OTg3NjU0"))
    result = bridge("check", "--offline")
    assert result.code == 1
    assert "error    database: database.pii_key is not the one" in result.out


def test_a_wrong_password_is_a_sentence(bridge: Run, folder: Path, guarded: str) -> None:
    """Neither the wrong nor the right one is shown."""
    use(folder, guarded.replace("the-right-one", "hunter2"))
    for words in (["check", "--offline"], ["db", "migrate"], ["db", "status"]):
        result = bridge(*words)
        assert result.code == 1
        assert "password" in result.out + result.err
        assert "hunter2" not in result.out + result.err
    assert "PostgreSQL refuses the user or the password: correct database.url." in bridge("db", "migrate").err


def test_a_user_without_rights_is_a_sentence(bridge: Run, folder: Path, database: str, guarded: str) -> None:
    """Whoever may read but not write is told by the check, not by the first message."""
    bridge("db", "migrate")
    use(folder, guarded)
    do(database, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guarded")
    result = bridge("check", "--offline")
    assert result.code == 1
    assert "permission denied for table meta" in result.out
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://bridge:hunter2@127.0.0.1:1/bridge", "PostgreSQL cannot be reached ("),
        ("postgresql://bridge:hunter2@no-such-host.invalid/bridge", "PostgreSQL cannot be reached ("),
        ("postgresql://bridge:hunter2@127.0.0.1:{port}/nowhere", "has no database of that name"),
    ],
    ids=["port", "host", "database"],
)
def test_a_server_that_is_not_there_is_a_sentence(
    bridge: Run, folder: Path, postgres: PostgresServer, url: str, sentence: str
) -> None:
    """The check and the commands say the same, with the mend."""
    use(folder, url.format(port=postgres.port))
    checked, migrated = bridge("check", "--offline"), bridge("db", "migrate")
    assert (checked.code, migrated.code) == (1, 1)
    assert sentence in checked.out
    assert sentence in migrated.err
    assert "database.url" in migrated.err
    assert "hunter2" not in checked.out + migrated.err


def test_without_the_driver_it_says_what_to_install(folder: Path) -> None:
    """Every command that wants PostgreSQL, whichever way it gets there."""
    url = "postgresql://bridge:hunter2@127.0.0.1:1/bridge"
    script = "import sys; sys.modules['asyncpg'] = None\nfrom bridge.cli import main\nmain(sys.argv[1:])"
    start = [sys.executable, "-c", script]

    def run(*words: str) -> Any:
        return subprocess.run([*start, *words], capture_output=True, text=True, check=False)

    assert run("db", "migrate").returncode == 0
    copied = run("db", "copy", "--to", url)
    use(folder, url)
    for done in (copied, run("db", "migrate"), run("db", "status"), run("check", "--offline")):
        assert done.returncode == 1
        assert "asyncpg is not installed: install bridge[postgres]." in done.stdout + done.stderr
        assert "hunter2" not in done.stdout + done.stderr


def server(major: int = 18, encoding: str = "UTF8") -> Server:
    return Server(str(major), major, encoding, 1, 100, 90, 0.0)


def test_which_servers_can_be_used() -> None:
    """Version 14 or newer, and texts in UTF-8."""
    assert not list(check_server(server(14)))
    assert [each.level for each in check_server(server(13))] == ["error"]
    assert [each.level for each in check_server(server(encoding="LATIN1"))] == ["error"]


@pytest.mark.parametrize(
    ("ahead", "level"), [(0.1, "ok"), (-2.0, "ok"), (2.1, "warning"), (-3600.0, "warning")]
)
def test_two_clocks(ahead: float, level: str) -> None:
    """More than two seconds are odd, whichever is before."""
    assert check_server_clock(ahead).level == level


@pytest.mark.parametrize(("free", "level"), [(22, "ok"), (21, "warning")])
def test_two_instances_need_room(free: int, level: str) -> None:
    """One more has to be able to start beside the one that runs."""
    assert check_connections(free, 100).level == level
