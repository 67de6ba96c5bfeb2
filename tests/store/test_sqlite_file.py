"""The SQLite file: who owns it, how it comes up to date, which files are refused, who may read it, and its backup."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from bridge.errors import StoreError
from bridge.store.sqlite import backup, latest_version, open_reader, open_store, read_owner, schema_version
from bridge.store.sqlite.contents import open_contents
from bridge.store.tx import Job, Tx

KEY = b64encode(bytes(range(32))).decode()
OTHER_KEY = b64encode(bytes(range(1, 33))).decode()

# Owns the file, writes rows, and says which were committed, until it is killed.
OWNER = """
import asyncio, sys
from pathlib import Path
from bridge.store.sqlite import open_store

async def main():
    store = open_store(Path(sys.argv[1]), "")
    store.lock.note({"url": "http://127.0.0.1:8080"})
    print("ready", flush=True)
    for number in range(1_000_000):
        await asyncio.gather(*(
            store.write(lambda tx, key=f"test-{number}-{n}": tx.run("set_meta", key=key, value=b"")) for n in range(5)
        ))
        print(number, flush=True)

asyncio.run(main())
"""

# Writes until the file may not grow any more, then gives itself room, and writes again.
LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from bridge.errors import StoreError
from bridge.store.sqlite import open_store

async def main():
    path = Path(sys.argv[1])
    store = open_store(path, "")
    def pair(number):
        async def job(tx):
            await tx.run("add_step", message_id=b"%016d" % number, at=1, kind="big", detail="", actor="")
            await tx.run("add_text", message_id=b"%016d" % number, body=b"x" * 20000)
        return job
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    results = await asyncio.gather(*(store.write(pair(n)) for n in range(200)), return_exceptions=True)
    results += [await asyncio.gather(store.write(pair(1000 + n)), return_exceptions=True) for n in range(3)]
    failed = sum(isinstance(each, StoreError) or isinstance(each, list) and isinstance(each[0], StoreError)
                 for each in results)
    counts = "SELECT (SELECT count(*) FROM steps), (SELECT count(*) FROM texts)"
    (steps, texts), = await store.read(lambda tx: tx.select(counts, ()))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await asyncio.gather(*(store.write(pair(2000 + n)) for n in range(200)))
    (after, _), = await store.read(lambda tx: tx.select(counts, ()))
    (check,), = await store.read(lambda tx: tx.select("PRAGMA integrity_check", ()))
    await store.close()
    print(len(results), failed, steps, texts, after, check)

asyncio.run(main())
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where a database is to be; nothing is there yet."""
    return tmp_path / "bridge.db"


def put(key: str, value: bytes = b"") -> Job[int]:
    return lambda tx: tx.run("set_meta", key=key, value=value)


async def make(database: Path, pii_key: str = "") -> None:
    """A database that was used and closed."""
    store = open_store(database, pii_key)
    await store.write(put("test-1"))
    await store.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def edit(database: Path, sql: str) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute(sql)
    connection.close()


# --- the owner ---


@pytest.fixture
def owner(database: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the database and writes."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(database)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert line_of(process) == "ready"
        yield process
        process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    output: IO[str] | None = process.stdout
    assert output is not None
    return output.readline().strip()


async def test_a_second_owner_is_refused(database: Path) -> None:
    """Who opens an owned file to write gets a sentence that says what to do, and the owner goes on."""
    store = open_store(database, "")
    with pytest.raises(StoreError) as caught:
        open_store(database, "")
    assert "Another process already serves" in caught.value.sentence
    assert "Stop it first" in caught.value.sentence
    await store.write(put("test-1"))
    await store.close()
    await open_store(database, "").close()


async def test_another_process_is_refused(database: Path, owner: subprocess.Popen[str]) -> None:
    """The lock holds across processes; readers are let in, and learn where the owner answers."""
    with pytest.raises(StoreError, match="Another process"):
        open_store(database, "")
    assert read_owner(database) == {"pid": str(owner.pid), "url": "http://127.0.0.1:8080"}
    reader = open_reader(database, "")
    assert await reader.read(lambda tx: tx.one("get_meta", key="hash_check"))
    await reader.close()


async def test_a_killed_owner_frees_the_file(database: Path, owner: subprocess.Popen[str]) -> None:
    """After kill -9 the next owner opens the file at once and finds every row that was committed."""
    committed = [line_of(owner) for _ in range(50)]
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert read_owner(database) is None
    store = open_store(database, "")
    rows = await store.read(lambda tx: tx.select("SELECT key FROM meta", ()))
    assert {f"test-{number}-{n}" for number in committed for n in range(5)} <= {key for (key,) in rows}
    check = await store.read(lambda tx: tx.select("PRAGMA integrity_check", ()))
    assert check == [("ok",)]
    await store.close()


async def test_nobody_owns_a_closed_file(database: Path) -> None:
    """After an orderly end, and where there never was a database, no owner is found; closing twice is harmless."""
    assert read_owner(database) is None
    store = open_store(database, "")
    assert read_owner(database) == {"pid": str(os.getpid())}
    await store.close()
    assert read_owner(database) is None
    other = open_store(database, "")
    await store.close()
    assert read_owner(database) == {"pid": str(os.getpid())}
    await other.close()


async def test_a_refused_file_is_not_owned(database: Path) -> None:
    """When opening fails, the lock is let go: the next try is not told of another process."""
    database.write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"is damaged, or is none.*put a backup in its place"):
            open_store(database, "")
    database.unlink()
    await open_store(database, "").close()


# --- migrations ---


async def test_a_new_file_is_up_to_date(database: Path) -> None:
    """A missing file is made with the newest schema; so is an empty one."""
    assert schema_version(database) == 0
    await make(database)
    assert schema_version(database) == latest_version() >= 1
    database.unlink()
    database.touch()
    await make(database)
    assert schema_version(database) == latest_version()


async def test_opening_again_changes_nothing(database: Path) -> None:
    """Migrations run once: opening an up-to-date file leaves its schema and its rows alone."""
    await make(database)
    before = sqlite_dump(database)
    await open_store(database, "").close()
    assert sqlite_dump(database) == before
    assert any("test-1" in line for line in before)


def sqlite_dump(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


@pytest.mark.parametrize("opener", [open_store, open_reader])
async def test_a_newer_file_is_refused(database: Path, opener: object) -> None:
    """A file of a newer version is left alone, and the sentence says so, to writers and readers."""
    await make(database)
    edit(database, f"PRAGMA user_version = {latest_version() + 1}")
    with pytest.raises(StoreError, match="newer version of bridge"):
        opener(database, "")  # type: ignore[operator]
    assert schema_version(database) == latest_version() + 1
    edit(database, f"PRAGMA user_version = {latest_version()}")
    await open_store(database, "").close()


async def test_a_migration_that_fails_leaves_no_half(database: Path) -> None:
    """A file that cannot be brought up to date keeps its schema, is not owned, and is not locked."""
    edit(database, "CREATE TABLE steps (something TEXT)")  # the migration comes to this name late
    with pytest.raises(StoreError, match="cannot be brought up to date"):
        open_store(database, "")
    assert schema_version(database) == 0
    assert [line for line in sqlite_dump(database) if line.startswith("CREATE")] == [
        "CREATE TABLE steps (something TEXT);"
    ]
    edit(database, "DROP TABLE steps")
    await open_store(database, "").close()


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    """A folder that is not there is named, with the setting; nothing is made in its place."""
    with pytest.raises(StoreError, match=r"does not exist.*database\.url"):
        open_store(tmp_path / "nowhere" / "bridge.db", "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_database(database: Path) -> None:
    """A path that leads to a folder is refused with a sentence."""
    database.mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(database, "")
    with pytest.raises(StoreError):
        open_reader(database, "")


async def test_odd_paths(tmp_path: Path) -> None:
    """Signs that mean something in an address are taken as they are."""
    for name in ("a b?mode=ro&x=%20#f.db", "ü•.db"):
        database = tmp_path / name
        await make(database)
        assert database.is_file()
        assert schema_version(database) == latest_version()


# --- readers ---


async def test_a_reader_beside_the_owner(database: Path) -> None:
    """A reader sees what the owner commits, and cannot write."""
    store = open_store(database, "")
    reader = open_reader(database, "")
    await store.write(put("test-1", b"new"))
    assert await reader.read(lambda tx: tx.one("get_meta", key="test-1")) == (b"new",)
    with pytest.raises(StoreError, match="only reads"):
        await reader.write(put("test-2"))
    with pytest.raises(StoreError):
        await reader.read(put("test-2"))
    await reader.close()
    await store.close()


async def test_a_reader_without_an_owner(database: Path) -> None:
    """A closed database can be read, and the reader owns nothing."""
    await make(database)
    reader = open_reader(database, "")
    assert await reader.read(lambda tx: tx.one("get_meta", key="test-1")) == (b"",)
    assert read_owner(database) is None
    await open_store(database, "").close()
    await reader.close()


def test_a_reader_of_nothing(database: Path) -> None:
    """A missing database is said, and not made by a reader."""
    with pytest.raises(StoreError, match="cannot be opened"):
        open_reader(database, "")
    assert not database.exists()


@pytest.mark.parametrize("content", [b"", b"no database at all " * 500])
def test_a_reader_of_something_else(database: Path, content: bytes) -> None:
    """An empty file and one that is no database are answered with a sentence, not with an error of SQLite."""
    database.write_bytes(content)
    with pytest.raises(StoreError):
        open_reader(database, "")
    assert database.read_bytes() == content


async def test_a_reader_of_an_older_file(database: Path) -> None:
    """A file that was not brought up to date yet is not read as if it were."""
    await make(database)
    edit(database, "PRAGMA user_version = 0")
    with pytest.raises(StoreError, match="bridge db migrate"):
        open_reader(database, "")


# --- keys ---


@pytest.mark.parametrize(("made", "opened"), [(KEY, ""), (KEY, OTHER_KEY)])
@pytest.mark.parametrize("opener", [open_store, open_reader])
async def test_another_key_is_refused(database: Path, made: str, opened: str, opener: object) -> None:
    """A database is opened with the pii_key that it was made with, or not at all; the sentence holds no key."""
    await make(database, made)
    with pytest.raises(StoreError, match=r"database\.pii_key is not the one") as caught:
        opener(database, opened)  # type: ignore[operator]
    assert not any(key and key in str(caught.value) for key in (made, opened))
    await make(database, made)  # the right key still opens it: nothing was changed


@pytest.mark.parametrize("pii_key", ["", KEY])
async def test_hashes_last(database: Path, pii_key: str) -> None:
    """The hash of an address is the same after a restart, and for a reader, with and without a pii_key."""
    store = open_store(database, pii_key)
    reader = open_reader(database, pii_key)
    found = {store.vault.hash("+447700900123"), reader.vault.hash("+447700900123")}
    await reader.close()
    await store.close()
    store = open_store(database, pii_key)
    assert found == {store.vault.hash("+447700900123")}
    await store.close()


async def test_each_database_has_its_own_hash_key(tmp_path: Path) -> None:
    """Two databases without a pii_key hash the same number differently."""
    stores = [open_store(tmp_path / name, "") for name in ("a.db", "b.db")]
    assert stores[0].vault.hash("+447700900123") != stores[1].vault.hash("+447700900123")
    for store in stores:
        await store.close()


# --- who may read the files ---


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The most generous umask: whatever is not protected is readable for all."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
async def test_only_the_owner_may_read_the_files(database: Path) -> None:
    """The database, its log, its index and its lock are for their owner alone, whatever the umask says."""
    store = open_store(database, "")
    await store.write(put("test-1"))
    files = {path.name: mode(path) for path in database.parent.iterdir()}
    assert files == dict.fromkeys(["bridge.db", "bridge.db-wal", "bridge.db-shm", "bridge.db.lock"], 0o600)
    await store.close()
    reader = open_reader(database, "")
    await reader.read(lambda tx: tx.one("get_meta", key="test-1"))
    assert {mode(path) for path in database.parent.iterdir()} == {0o600}
    await reader.close()


@pytest.mark.usefixtures("open_umask")
async def test_a_generous_file_is_closed(database: Path) -> None:
    """A database that was readable for all is not any more once it was opened."""
    await make(database)
    database.chmod(0o644)
    await make(database)
    assert mode(database) == 0o600


# --- backups ---


@pytest.mark.usefixtures("open_umask")
async def test_a_backup_while_it_is_written(database: Path, tmp_path: Path) -> None:
    """A backup of a file of many pages ends although commits never do, and holds one moment of it, whole."""
    store = open_store(database, "")
    for number in range(20):
        await store.write(put(f"test-big-{number}", bytes(1_000_000)))

    def pair(number: int) -> Job[None]:
        async def job(tx: Tx) -> None:
            await put("test-left", b"%d" % number)(tx)
            await put("test-right", b"%d" % number)(tx)

        return job

    target, done, written = tmp_path / "copy.db", threading.Event(), 0

    def copy() -> None:
        backup(database, target)
        done.set()

    await store.write(pair(0))
    async with asyncio.timeout(30):
        copying = asyncio.create_task(asyncio.to_thread(copy))
        while not done.is_set():
            written += 1
            await asyncio.gather(*(store.write(pair(written)) for _ in range(3)))
        await copying
    assert mode(target) == 0o600
    copied = open_store(target, "")
    rows = await copied.read(
        lambda tx: tx.select("SELECT value FROM meta WHERE key IN ('test-left', 'test-right')", ())
    )
    assert rows[0] == rows[1]
    assert await copied.read(lambda tx: tx.select("PRAGMA integrity_check", ())) == [("ok",)]
    await copied.close()
    await store.close()


async def test_a_backup_of_a_closed_database(database: Path, tmp_path: Path) -> None:
    """A database that nobody serves can be copied, and opened with the same key."""
    await make(database, KEY)
    backup(database, tmp_path / "copy.db")
    store = open_store(tmp_path / "copy.db", KEY)
    assert await store.read(lambda tx: tx.one("get_meta", key="test-1"))
    await store.close()


async def test_a_backup_replaces_nothing(database: Path, tmp_path: Path) -> None:
    """A file that is there already is refused and kept."""
    await make(database)
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        backup(database, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"


async def test_a_backup_that_fails_leaves_nothing(database: Path, tmp_path: Path) -> None:
    """What was begun of a backup is removed when it fails, so that nobody takes it for one and it can be repeated."""
    database.write_bytes(b"no database at all " * 500)
    with pytest.raises(StoreError):
        backup(database, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    database.unlink()
    with pytest.raises(StoreError):
        backup(database, tmp_path / "copy.db")
    await make(database)
    with pytest.raises(StoreError, match="failed"):
        backup(database, tmp_path / "nowhere" / "copy.db")
    backup(database, tmp_path / "copy.db")


async def test_tables_of_others_are_not_copied(database: Path) -> None:
    """litestream keeps two tables in the file, which PostgreSQL need not have."""
    await make(database)
    edit(database, "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
    with open_contents(database) as contents:
        names = {table.name for table in contents.tables}
    assert {"meta", "messages"} < names
    assert not any(name.startswith("_litestream") for name in names)


# --- a full disk ---


async def test_no_room_on_the_disk(database: Path) -> None:
    """When the operating system takes no more, callers get a StoreError, nothing is half written, and it recovers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LIMITED, str(database), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    tried, failed, steps, texts, after, check = output.decode().split()
    assert int(failed) > 0
    assert steps == texts
    assert int(steps) == int(tried) - int(failed)
    assert int(after) == int(steps) + 200
    assert check == "ok"


async def test_a_file_that_becomes_read_only(database: Path) -> None:
    """Callers and the check get a sentence with the mend, reading goes on; then all does."""
    store = open_store(database, "")
    await store.write(put("test-1"))
    assert store._writer is not None
    store._writer.fresh = 0.0
    store._writer._connection.execute("PRAGMA query_only = ON")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"readonly.*file or disk is read-only: look at the rights"):
            await store.write(put("test-2"))
        with pytest.raises(StoreError, match="read-only"):
            await store.check()
    assert await store.read(lambda tx: tx.one("get_meta", key="test-1")) == (b"",)
    store._writer._connection.execute("PRAGMA query_only = OFF")
    await store.check()
    await store.write(put("test-2"))
    await store.close()
