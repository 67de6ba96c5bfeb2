"""What only SQLite promises of its transactions: shared commits, durability, and jobs that await nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.errors import StoreError
from bridge.store.sqlite import SqliteStore, open_store
from bridge.store.tx import Job, Tx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BODY = b"x" * 20_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = open_store(tmp_path / "bridge.db", "")
    yield store
    await store.close()


def put(key: str, value: bytes = b"value") -> Job[int]:
    return lambda tx: tx.run("set_meta", key=key, value=value)


def commits(database: Path) -> int:
    """How many transactions the write-ahead log holds: the frames that end one (sqlite.org/fileformat2.html)."""
    log = database.with_name(database.name + "-wal").read_bytes()
    (page_size,) = struct.unpack_from(">I", log, 8)
    size = 24 + page_size
    headers = [log[start : start + 24] for start in range(32, len(log) - size + 1, size)]
    return sum(header[4:8] != bytes(4) and header[8:16] == log[16:24] for header in headers)


async def pragma(store: SqliteStore, name: str, *, writer: bool) -> Any:
    run = store.write if writer else store.read
    return (await run(lambda tx: tx.select(f"PRAGMA {name}", ())))[0][0]


async def test_what_makes_it_durable(store: SqliteStore) -> None:
    """The writing connection syncs every commit to disk, into a write-ahead log."""
    assert await pragma(store, "journal_mode", writer=True) == "wal"
    assert await pragma(store, "synchronous", writer=True) == 2  # FULL
    assert await pragma(store, "wal_autocheckpoint", writer=True) == 4000


async def test_waiting_writers_share_a_commit(store: SqliteStore, tmp_path: Path) -> None:
    """What comes at once, or while a commit is under way, shares a commit: few for two hundred writers."""
    before = commits(tmp_path / "bridge.db")
    await asyncio.gather(*(store.write(put(f"test-{number}")) for number in range(200)))
    assert commits(tmp_path / "bridge.db") - before <= 10


async def test_a_writer_sees_what_was_written_before_it(store: SqliteStore) -> None:
    """Jobs run one after the other in the order in which they came: none overwrites what it has not seen."""

    async def increment(tx: Tx) -> None:
        row = await tx.one("get_meta", key="test-counter")
        value = int(row[0]) if row else 0
        await tx.run("set_meta", key="test-counter", value=b"%d" % (value + 1))

    await asyncio.gather(*(store.write(increment) for _ in range(200)))
    assert await store.read(lambda tx: tx.one("get_meta", key="test-counter")) == (b"200",)


async def test_one_failure_costs_few_commits(store: SqliteStore, tmp_path: Path) -> None:
    """When one of many fails, the others still share their commits: not one for each."""

    async def fail(tx: Tx) -> None:
        raise LookupError

    before = commits(tmp_path / "bridge.db")
    jobs: list[Job[Any]] = [put(f"test-{number}") for number in range(256)]
    jobs[100] = fail
    results = await asyncio.gather(*map(store.write, jobs), return_exceptions=True)
    assert sum(isinstance(result, LookupError) for result in results) == 1
    assert commits(tmp_path / "bridge.db") - before <= 10


async def test_the_loop_goes_on_while_the_disk_is_waited_for(store: SqliteStore) -> None:
    """The event loop takes turns between the statements of a write and its answer: the commit is made beside it."""
    turns = 0
    write = asyncio.ensure_future(store.write(put("test-1")))
    while not write.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 3


async def test_nothing_is_committed_where_nothing_was_written(store: SqliteStore, tmp_path: Path) -> None:
    """A job that only looks costs no commit."""
    before = commits(tmp_path / "bridge.db")
    await asyncio.gather(*(store.write(lambda tx: tx.one("get_meta", key="x")) for _ in range(20)))
    assert commits(tmp_path / "bridge.db") == before


async def test_a_write_is_in_the_file_when_it_comes_back(store: SqliteStore, tmp_path: Path) -> None:
    """Another program that opens the file sees a row as soon as its write was answered."""
    await store.write(put("test-1"))
    other = sqlite3.connect(f"file:{tmp_path / 'bridge.db'}?mode=ro", uri=True)
    assert other.execute("SELECT value FROM meta WHERE key = 'test-1'").fetchall() == [(b"value",)]
    other.close()


@pytest.mark.parametrize("what", ["a turn of the loop", "an answer"])
async def test_a_job_that_awaits_something_else_is_refused(store: SqliteStore, what: str) -> None:
    """A transaction that would stay open across I/O is refused, rolled back, and harms nobody."""
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def job(tx: Tx) -> None:
        await put("test-bad")(tx)
        await (answer if what == "an answer" else asyncio.sleep(0))

    results = await asyncio.gather(
        store.write(put("test-1")), store.write(job), store.write(put("test-2")), return_exceptions=True
    )
    assert [type(result) for result in results if isinstance(result, BaseException)] == [RuntimeError]
    rows = await store.read(lambda tx: tx.select("SELECT key FROM meta WHERE key LIKE 'test-%'", ()))
    assert rows == [("test-1",), ("test-2",)]


async def test_a_job_that_was_cancelled_inside_ends_nothing(store: SqliteStore) -> None:
    """A job that awaits a cancelled future fails like any other, and the writer and the readers go on."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()

    async def job(tx: Tx) -> None:
        await put("test-bad")(tx)
        await future

    async def look(tx: Tx) -> None:
        await future

    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError):
            await store.write(job)
        for _ in range(4):  # each reader twice
            with pytest.raises(RuntimeError):
                await store.search(look)
        await store.write(put("test-1"))
        rows = await store.read(lambda tx: tx.select("SELECT key FROM meta WHERE key LIKE 'test-%'", ()))
    assert rows == [("test-1",)]


# --- when the database fails ---


async def limit_pages(store: SqliteStore, more: int | None) -> None:
    """Lets the file grow by so many pages and no further: from then on it behaves as on a full disk."""
    size = await pragma(store, "page_count", writer=True)
    await pragma(store, f"max_page_count = {size + more if more is not None else 2**30}", writer=True)


def big_pair(number: int) -> Job[None]:
    """Two rows that belong together, the second of which does not fit any more."""

    async def job(tx: Tx) -> None:
        message_id = b"%016d" % number
        await tx.run("add_step", message_id=message_id, at=1, kind="big", detail="", actor="")
        await tx.run("add_text", message_id=message_id, body=BODY)

    return job


async def test_a_full_disk(store: SqliteStore) -> None:
    """Every caller gets a StoreError, nothing is half written, and writing works again when there is room."""
    await limit_pages(store, 2)
    results = await asyncio.gather(
        *(store.write(big_pair(number)) for number in range(50)), return_exceptions=True
    )
    assert {type(result) for result in results} == {StoreError}
    assert len({id(result) for result in results}) == 50  # nobody shares the traceback of another
    assert "full" in str(results[0])
    counts = "SELECT (SELECT count(*) FROM steps), (SELECT count(*) FROM texts)"
    assert await store.read(lambda tx: tx.select(counts, ())) == [(0, 0)]
    await limit_pages(store, None)
    await asyncio.gather(*(store.write(big_pair(number)) for number in range(50)))
    assert await store.read(lambda tx: tx.select(counts, ())) == [(50, 50)]
    assert await pragma(store, "integrity_check", writer=False) == "ok"


async def test_a_locked_database(store: SqliteStore, tmp_path: Path) -> None:
    """While another program holds the file, callers get a StoreError; afterwards writing works again."""
    assert store._writer is not None
    store._writer.patience = 0.05
    other = sqlite3.connect(tmp_path / "bridge.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    results = await asyncio.gather(
        *(store.write(put(f"test-{number}")) for number in range(10)), return_exceptions=True
    )
    assert {type(result) for result in results} == {StoreError}
    other.execute("ROLLBACK")
    other.close()
    await store.write(put("test-1"))


async def test_rows_that_cannot_be_opened(store: SqliteStore) -> None:
    """An error of the vault inside a job reaches its caller as it is."""
    with pytest.raises(Exception, match=r"database\.pii_key"):
        await store.read(lambda tx: _open(tx, b"\x01" + bytes(40)))


async def _open(tx: Tx, sealed: bytes) -> bytes:
    return tx.vault.open(sealed)
