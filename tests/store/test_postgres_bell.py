"""The bell: what one process tells wakes the others, and whoever could not hear is told to look at everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import pytest

from bridge.store.postgres import PostgresStore, open_store
from bridge.store.postgres.bell import ANYTHING
from tests.store.conftest import Databases, OpenShared

PATIENCE = 30.0  # seconds


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def listening(store: PostgresStore) -> list[str]:
    """What the store hears from now on; it hears already when this returns."""
    heard: list[str] = []
    store.listen(heard.append)
    await until(lambda: heard == [ANYTHING])
    return heard


@pytest.fixture
async def store(open_shared: OpenShared) -> PostgresStore:
    return await open_shared()


@pytest.fixture
async def other(open_shared: OpenShared) -> PostgresStore:
    """Another process on the same database."""
    return await open_shared()


async def test_others_hear_what_is_told(
    store: PostgresStore, other: PostgresStore, open_shared: OpenShared
) -> None:
    """Every other process hears the topic, also from one that does no work and listens to nothing."""
    heard, heard_too = await listening(store), await listening(other)
    third = await open_shared(worker=False)
    third.tell("sends")
    await until(lambda: "sends" in heard and "sends" in heard_too)
    assert heard == heard_too == [ANYTHING, "sends"]


async def test_nobody_hears_itself(store: PostgresStore, other: PostgresStore) -> None:
    """Who tells knows already: only what others tell is heard."""
    mine, theirs = await listening(store), await listening(other)
    store.tell("mine")
    await until(lambda: "mine" in theirs)
    other.tell("theirs")  # comes after it on the same connection
    await until(lambda: "theirs" in mine)
    assert mine == [ANYTHING, "theirs"]
    assert theirs == [ANYTHING, "mine"]


async def test_a_burst_is_told_once(store: PostgresStore, other: PostgresStore) -> None:
    """A hundred tellings of a few topics at once wake the others once for each topic."""
    heard = await listening(other)
    for _ in range(100):
        store.tell("sends")
        store.tell("reports")
    await until(lambda: {"sends", "reports"} <= set(heard))
    store.tell("end")
    await until(lambda: "end" in heard)
    assert sorted(heard) == sorted([ANYTHING, "sends", "reports", "end"])


async def test_what_is_told_while_it_is_told(store: PostgresStore, other: PostgresStore) -> None:
    """Topics that come while others are on their way are told as well."""
    heard = await listening(other)
    for number in range(20):
        store.tell(f"topic-{number}")
        await asyncio.sleep(0.002)
    await until(lambda: len(set(heard)) == 21)
    assert set(heard) == {ANYTHING, *(f"topic-{number}" for number in range(20))}


async def test_other_databases_hear_nothing(
    store: PostgresStore, other: PostgresStore, databases: Databases
) -> None:
    """Two bridges that share a server, each with its own database, do not wake each other."""
    url = await databases.lend()
    stranger = await open_store(url, "")
    heard, stranger_heard = await listening(other), await listening(stranger)
    store.tell("sends")
    await until(lambda: "sends" in heard)
    assert stranger_heard == [ANYTHING]
    await stranger.close()
    await databases.take_back(url)


async def test_after_the_connection_was_cut(
    store: PostgresStore, other: PostgresStore, shared_url: str
) -> None:
    """Who heard nothing for a while listens again by itself, and is told that anything may have happened."""
    heard = await listening(store)
    connection = await asyncpg.connect(shared_url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
    await until(lambda: heard == [ANYTHING, ANYTHING])
    other.tell("sends")
    end = time.monotonic() + PATIENCE
    while "sends" not in heard:  # the teller's connection was cut, too: what it tells may get lost
        assert time.monotonic() < end
        other.tell("sends")
        await asyncio.sleep(0.05)


async def test_closing_ends_the_listening(
    store: PostgresStore, other: PostgresStore, shared_url: str
) -> None:
    """A closed store holds no connection and hears nothing; closing right after telling is no error."""
    heard = await listening(store)
    store.tell("mine")
    await store.close()
    theirs = await listening(other)
    assert theirs == [ANYTHING]
    other.tell("theirs")
    connection = await asyncpg.connect(shared_url)
    for_listening = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    end = time.monotonic() + PATIENCE
    while await connection.fetchval(for_listening) > 1:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    await connection.close()
    assert heard == [ANYTHING]
