"""`bridge db prune`: beside a service, without one, and without changing anything."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from bridge.core.model import new_id
from bridge.store.sqlite.lock import OwnerLock
from tests.cli.conftest import SETTINGS, Run
from tests.postgres import PostgresServer

DAY = 86_400_000
COUNT = 300
MESSAGE = """INSERT INTO messages (id, gateway, type, channel, provider, smartico_uid, ext_user_id, sender,
callback_url, lane, state, created_at, updated_at)
VALUES ({0}, 'sms', 'sms', 'SMS', 'revicom', {1}, 'anna', '', {2}, '', 'delivered', 1, 1)"""
TEXT = "INSERT INTO texts (message_id, body) VALUES ({0}, {1})"


def old_ids() -> list[bytes]:
    now = time.time_ns() // 1_000_000
    return [new_id(now - 91 * DAY, number) for number in range(COUNT)] + [new_id(now, 0)]


def rows(folder: Path, table: str = "messages") -> int:
    with closing(sqlite3.connect(folder / "bridge.db")) as connection:
        count: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return count


@pytest.fixture
def old(bridge: Run, folder: Path) -> Path:
    """The folder of a SQLite database with many old messages and a young one, all of them delivered."""
    assert bridge("db", "migrate").code == 0
    with closing(sqlite3.connect(folder / "bridge.db")) as connection:
        ids = old_ids()
        connection.executemany(MESSAGE.format("?", "?", "?"), [(each, each.hex(), b"") for each in ids])
        connection.executemany(TEXT.format("?", "?"), [(each, b"") for each in ids])
        connection.commit()
    return folder


def test_a_dry_run_counts_and_the_run_deletes(bridge: Run, old: Path) -> None:
    """The same numbers, and the second time there is nothing left to do."""
    expected = {"texts": COUNT, "messages": COUNT}
    dry = bridge("db", "prune", "--dry-run", "--json")
    assert (dry.code, dry.json) == (0, {"dry_run": True, "by_service": None, "rows": expected})
    assert rows(old) == COUNT + 1
    done = bridge("db", "prune", "--json")
    assert (done.code, done.json) == (0, {"dry_run": False, "by_service": None, "rows": expected})
    assert (rows(old), rows(old, "texts")) == (1, 1)
    assert bridge("db", "prune", "--json").json["rows"] == {}
    assert bridge("db", "prune").out == "Nothing is old enough to go.\n"


def test_people_are_told_that_the_file_keeps_its_size(bridge: Run, old: Path) -> None:
    """Only where something is gone; there is neither a bar nor a colour in a pipe."""
    dry = bridge("db", "prune", "--dry-run")
    assert "These would go; nothing was changed." in dry.out
    assert "VACUUM" not in dry.out
    done = bridge("db", "prune")
    assert "messages: 300\n" in done.out
    assert "VACUUM" in done.out
    assert "\x1b" not in done.out + done.err


def test_beside_a_service_it_leaves_the_work_to_it(bridge: Run, old: Path) -> None:
    """And says so; counting goes on beside it. An owner that is no service prunes nothing: that is refused."""
    with OwnerLock(old / "bridge.db") as lock:
        assert bridge("db", "prune").code == 1
        lock.note({"url": "http://127.0.0.1:1"})
        left = bridge("db", "prune")
        assert left.code == 0
        assert f"the service that runs (process {os.getpid()}) prunes by itself" in left.out
        assert bridge("db", "prune", "--json").json["by_service"] == str(os.getpid())
        assert bridge("db", "prune", "--dry-run", "--json").json["rows"]["messages"] == COUNT
    assert rows(old) == COUNT + 1


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        ids = old_ids()
        await connection.executemany(
            MESSAGE.format("$1", "$2", "$3"), [(each, each.hex(), b"") for each in ids]
        )
        await connection.executemany(TEXT.format("$1", "$2"), [(each, b"") for each in ids])
    finally:
        await connection.close()


def test_postgresql_is_pruned_as_well(bridge: Run, folder: Path, postgres: PostgresServer) -> None:
    """The command is one more process on the database; of the size of a file it says nothing."""
    url = asyncio.run(postgres.create())
    try:
        (folder / "bridge.toml").write_text(SETTINGS.replace("sqlite:///bridge.db", url))
        asyncio.run(_fill(url))
        assert bridge("db", "prune", "--dry-run", "--json").json["rows"] == {
            "texts": COUNT, "messages": COUNT,
        }  # fmt: skip
        done = bridge("db", "prune")
        assert done.code == 0
        assert "These are gone." in done.out
        assert "VACUUM" not in done.out
        assert bridge("db", "prune", "--json").json["rows"] == {}
    finally:
        asyncio.run(postgres.drop(url))
