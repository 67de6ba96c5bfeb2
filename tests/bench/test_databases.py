"""The databases that `bridge bench --database` makes on an operator's server, and what it leaves there: nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bridge.bench.databases import PREFIX, Databases, open_databases, own_url
from bridge.bench.subjects import PostgresSubject
from bridge.errors import BridgeError
from bridge.store.sqlite import open_store
from tests.postgres import PostgresServer

_PASSWORD = "s3cret-of-the-operator"


def with_password(server: PostgresServer) -> str:
    """The server asks for none, and takes every."""
    return server.url("postgres").replace("bridge@", f"bridge:{_PASSWORD}@")


async def names(server: PostgresServer) -> list[str]:
    """The databases of benchmarks that are on the server."""
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        found = await connection.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", PREFIX
        )
        return [row[0] for row in found]
    finally:
        await connection.close()


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    """A new SQLite database."""
    path = tmp_path / "bridge.db"
    store = open_store(path, "")
    await store.close()
    return path


async def count(url: str, table: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        found: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
        return found
    finally:
        await connection.close()


def test_the_own_database_is_on_the_same_server() -> None:
    """User, password, host, port and parameters stay; only the name of the database is another."""
    url = own_url("postgresql://me:p%40ss@[::1]:5433/theirs?sslmode=require", "ours")
    assert url == "postgresql://me:p%40ss@[::1]:5433/ours?sslmode=require"


async def test_there_is_one_database_at_a_time_and_none_in_the_end(
    postgres: PostgresServer, source: Path
) -> None:
    """Each has what is in the file; the next replaces the one before it."""
    async with open_databases(postgres.url("postgres"), print) as databases:
        first = await databases.fresh(source)
        assert await count(first, "meta") >= 1
        second = await databases.fresh(source)
        assert second != first
        assert await names(postgres) == [databases.name]
        assert await databases.megabytes() > 1
        assert databases.version.split(".")[0].isdigit()
        assert databases.settings["synchronous_commit"] == "on"
    assert await names(postgres) == []


async def test_after_an_error_nothing_stays(postgres: PostgresServer, source: Path) -> None:
    """Also while somebody is still connected to the database."""
    connections: list[asyncpg.Connection[asyncpg.Record]] = []

    async def fail() -> None:
        async with open_databases(postgres.url("postgres"), print) as databases:
            connections.append(await asyncpg.connect(await databases.fresh(source)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await names(postgres) == []
    connections[0].terminate()


async def test_a_cancelled_creation_leaves_nothing(postgres: PostgresServer, source: Path) -> None:
    """At whatever moment Ctrl-C comes, it is known whether the database is there."""

    async def use() -> None:
        async with open_databases(postgres.url("postgres"), print) as databases:
            await databases.fresh(source)

    for milliseconds in (20, 60, 100):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(use(), milliseconds / 1000)
        assert await names(postgres) == []


async def test_who_may_not_create_databases_is_told_so(postgres: PostgresServer) -> None:
    """Before anything is measured, and without the password."""
    connection = await asyncpg.connect(postgres.url("postgres"))
    await connection.execute("DROP ROLE IF EXISTS bench_guest; CREATE ROLE bench_guest LOGIN")
    await connection.close()
    url = with_password(postgres).replace("bridge:", "bench_guest:")
    with pytest.raises(BridgeError, match="may not create databases: ALTER ROLE") as caught:
        await Databases(url).look()
    assert _PASSWORD not in str(caught.value)


async def test_a_server_that_cannot_be_reached_is_named_without_its_address(postgres: PostgresServer) -> None:
    """The sentence says what to mend."""
    url = with_password(postgres).replace(str(postgres.port), "1")
    with pytest.raises(BridgeError, match="after --database") as caught:
        await Databases(url).look()
    assert _PASSWORD not in str(caught.value)


async def test_the_processes_of_a_server_on_this_machine_are_known(postgres: PostgresServer) -> None:
    """So that their processor time can stand beside that of the service."""
    pid = await Databases(postgres.url("postgres")).server_pid()
    assert pid is not None
    assert b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_name_says_how_many_there_are(postgres: PostgresServer) -> None:
    """As it is said while it is measured."""
    databases = Databases(postgres.url("postgres"))
    assert PostgresSubject(databases).name == "bridge on PostgreSQL (1 instance)"
    assert PostgresSubject(databases, 2).name == "bridge on PostgreSQL (2 instances)"


# --- the command ---


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bridge", "bench", *arguments]


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, check=False, text=True, cwd=folder, timeout=110
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--instances", "2"], "--instances needs --database"),
        (["--compare", "naive", "--database", "postgresql://a@b/c"], "two measurements"),
        (["--database", f"mysql://me:{_PASSWORD}@here/name"], "write it as database.url"),
        (["--database", f"postgresql://me:{_PASSWORD}@here:port/name"], "write it as database.url"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, arguments: Sequence[str], sentence: str
) -> None:
    """With exit code 2, and without the address."""
    ended = bench(tmp_path, *arguments)
    assert ended.returncode == 2
    shown = " ".join(ended.stderr.replace("│", " ").split())
    assert sentence in shown
    assert _PASSWORD not in shown


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_both_databases_get_the_same_figures(tmp_path: Path, postgres: PostgresServer) -> None:
    """Two instances lose and double nothing; the keys are the same for both; nothing stays behind; no password."""
    wanted = ("--only", "sends", "--only", "end_to_end", "--only", "latency")
    url = with_password(postgres)
    ended = bench(tmp_path, "--messages", "40", *wanted, "--database", url, "--instances", "2", "--json")
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    sqlite, other = result["sqlite"], result["postgres"]
    assert set(sqlite) == set(other) >= {"sends_per_second", "lost", "duplicated", "scenarios"}
    assert (result["lost"], result["duplicated"], result["problems"], result["instances"]) == (0, 0, [], 2)
    assert sqlite["sends_per_second"] > 0
    assert other["sends_per_second"] > 0
    assert other["end_to_end_messages_per_second"] > 0
    assert result["versions"]["postgresql"] == postgres.version
    assert result["server"]["fsync"] == "off"
    assert "database" in other["scenarios"]["sends"]["runs"][0]["cpu_seconds"]
    assert "Measuring sends of bridge on PostgreSQL (2 instances)." in ended.stderr
    assert _PASSWORD not in ended.stdout + ended.stderr
    assert asyncio.run(names(postgres)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(130)
def test_ctrl_c_leaves_no_database(tmp_path: Path, postgres: PostgresServer) -> None:
    """However far it has come."""
    process = subprocess.Popen(
        command("--only", "sends", "--messages", "300", "--database", postgres.url("postgres")),
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while not asyncio.run(names(postgres)):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1, said
    assert asyncio.run(names(postgres)) == []
