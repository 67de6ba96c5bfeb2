"""The schema on PostgreSQL: that of SQLite but for what is listed here, made once, whoever comes at the same time."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import asyncpg
import pytest

from bridge.errors import StoreError
from bridge.store import postgres, sqlite
from bridge.store.postgres import open_store, schema
from bridge.store.postgres.schema import known_version, latest_version, migrate
from bridge.store.sqlite.engine import connect
from tests.postgres import PostgresServer
from tests.store.conftest import PII_KEY

TYPES = {"TEXT": "text", "INTEGER": "bigint", "BLOB": "bytea"}
VIEWS = ("v_messages", "v_reports", "v_callbacks", "v_costs")

# Whose a claim is, and until when: there is nothing to lease where one process owns the database.
LEASED = ("sends", "batches", "reports", "forwards")
LEASE = {"owner": ("text", False, None), "leased_until": ("bigint", False, None)}
# Ids that SQLite counts by itself are an identity.
COUNTED = {
    ("batches", "id"),
    ("steps", "id"),
    ("review_items", "id"),
    ("audit", "id"),
    ("forwards", "id"),
    ("opt_out_changes", "id"),
}
# Ids come from several sequences' caches at once, so that the order of arrival is not that of the ids.
OTHER_INDEXES = {"batches_waiting": (["received_at", "id"], ["id"])}
# SQLite keeps the version in `PRAGMA user_version`.
OTHER_META = {"schema_version"}

Column = tuple[str, bool, str | None]


class Index(NamedTuple):
    """`where` is its condition without brackets and types."""

    table: str
    unique: bool
    columns: list[str]
    where: str


class Schema(NamedTuple):
    """What can be compared of two engines. A column: type, NOT NULL, default."""

    columns: dict[str, dict[str, Column]]
    keys: dict[str, list[str]]
    indexes: dict[str, Index]
    views: dict[str, list[str]]


@pytest.fixture
def sqlite_schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Schema]:
    connection = connect(tmp_path_factory.mktemp("schema") / "bridge.db", read_only=False)
    sqlite.migrate(connection)
    yield read_sqlite(connection)
    connection.close()


def read_sqlite(connection: sqlite3.Connection) -> Schema:
    rows = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    ).fetchall()
    texts = {name: sql for _, name, sql in rows}
    columns: dict[str, dict[str, Column]] = {}
    keys: dict[str, list[str]] = {}
    indexes: dict[str, Index] = {}
    for table in (name for kind, name, _ in rows if kind == "table"):
        infos = connection.execute(f"PRAGMA table_info({table})").fetchall()
        columns[table] = {
            name: (TYPES[type_], bool(not_null or key), default)
            for _, name, type_, not_null, default, key in infos
        }
        keys[table] = [info[1] for info in sorted(infos, key=lambda info: info[5]) if info[5]]
        for _, index, unique, origin, _ in connection.execute(f"PRAGMA index_list({table})").fetchall():
            if origin == "c":
                parts = [row[2] for row in connection.execute(f"PRAGMA index_info({index})")]
                where = texts[index].partition(" WHERE ")[2]
                indexes[index] = Index(table, bool(unique), parts, where)
    views = {
        name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
        for kind, name, _ in rows
        if kind == "view"
    }
    return Schema(columns, keys, indexes, views)


@pytest.fixture
async def connection(shared_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(shared_url)
    yield connection
    await connection.close()


_COLUMNS = """
SELECT c.relkind = 'v', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
"""
_INDEXES = """
SELECT c.relname, t.relname, i.indisunique, i.indisprimary, pg_get_expr(i.indpred, i.indrelid),
       (SELECT array_agg(a.attname ORDER BY k.place)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.number)
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid
WHERE t.relnamespace = 'public'::regnamespace
"""


async def read_postgres(connection: asyncpg.Connection[asyncpg.Record]) -> Schema:
    columns: dict[str, dict[str, Column]] = {}
    views: dict[str, list[str]] = {}
    for is_view, table, column, type_, not_null, default in await connection.fetch(_COLUMNS):
        if is_view:
            views.setdefault(table, []).append(column)
        else:
            plain = re.sub(r"::\w+", "", default) if default else None
            columns.setdefault(table, {})[column] = (type_, not_null, plain)
    keys: dict[str, list[str]] = {}
    indexes: dict[str, Index] = {}
    for name, table, unique, primary, where, parts in await connection.fetch(_INDEXES):
        if primary:
            keys[table] = list(parts)
        else:
            plain = re.sub(r"[()]|::\w+", "", where or "")
            indexes[name] = Index(table, unique, list(parts), plain)
    return Schema(columns, keys, indexes, views)


async def test_the_tables_agree(
    sqlite_schema: Schema, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Same tables; same columns in the same order, with type, NOT NULL and default; leases are the only ones more."""
    found = (await read_postgres(connection)).columns
    expected = {table: dict(columns) for table, columns in sqlite_schema.columns.items()}
    for table in LEASED:
        expected[table] |= LEASE
    assert found == expected
    assert {table: [each for each in columns if each not in LEASE] for table, columns in found.items()} == {
        table: list(columns) for table, columns in sqlite_schema.columns.items()
    }


async def test_the_keys_agree(sqlite_schema: Schema, connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Each table has the same primary key, its columns in the same order."""
    assert (await read_postgres(connection)).keys == sqlite_schema.keys


async def test_the_indexes_agree(
    sqlite_schema: Schema, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Same indexes on the same columns, unique or not, with the same conditions; but for those listed above."""
    found, expected = (await read_postgres(connection)).indexes, sqlite_schema.indexes
    for name, (here, there) in OTHER_INDEXES.items():
        assert (found[name].columns, expected[name].columns) == (here, there)
        found[name] = found[name]._replace(columns=there)
    assert found == expected


async def test_the_views_agree(sqlite_schema: Schema, connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """The views for people have the same columns in the same order, so that what reads them runs on both."""
    found = (await read_postgres(connection)).views
    assert found == sqlite_schema.views
    assert set(found) == set(VIEWS)


async def test_counted_ids(sqlite_schema: Schema, connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """What SQLite numbers by itself is an identity, and nothing else is."""
    rows = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND is_identity = 'YES'"
    )
    assert {tuple(row) for row in rows} == COUNTED
    assert all(sqlite_schema.keys[table] == [column] for table, column in COUNTED)


async def test_what_is_looked_for_is_compared_byte_by_byte(
    connection: asyncpg.Connection[asyncpg.Record],
) -> None:
    """Every text in an index has the collation "C": no new version of the operating system makes an index wrong."""
    rows = await connection.fetch(
        "SELECT c.relname, a.attname, o.collname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
        "JOIN pg_attribute AS a ON a.attrelid = c.oid JOIN pg_collation AS o ON o.oid = a.attcollation "
        "JOIN pg_class AS t ON t.oid = i.indrelid WHERE t.relnamespace = 'public'::regnamespace"
    )
    assert rows
    assert [tuple(row) for row in rows if row[2] != "C"] == []


async def test_what_stands_in_meta(
    connection: asyncpg.Connection[asyncpg.Record], shared_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An opened database knows the same of itself on both engines, and on PostgreSQL its version."""
    await (await open_store(shared_url, "")).close()
    found = {row[0] for row in await connection.fetch("SELECT key FROM meta")}
    store = sqlite.open_store(tmp_path_factory.mktemp("meta") / "bridge.db", "")
    rows = await store.read(lambda tx: tx.select("SELECT key FROM meta", ()))
    await store.close()
    assert found == {row[0] for row in rows} | OTHER_META
    version = await connection.fetchval("SELECT value FROM meta WHERE key = 'schema_version'")
    assert int(version) == latest_version()


# --- migrations ---


@pytest.fixture
async def empty(postgres: PostgresServer) -> AsyncIterator[str]:
    """The URL of a database in which nothing is."""
    url = await postgres.create(migrated=False)
    yield url
    await postgres.drop(url)


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row[0] for row in rows}
    finally:
        await connection.close()


async def test_an_empty_database_is_made(empty: str) -> None:
    """Opening makes the tables, and opening again finds them and changes nothing."""
    assert await tables(empty) == set()
    for _ in range(2):
        store = await open_store(empty, "")
        await store.write(lambda tx: tx.run("set_meta", key="test", value=b"kept"))
        assert await store.read(lambda tx: tx.select("SELECT * FROM v_messages", ())) == []
        await store.close()
    again = await open_store(empty, "", make=False)
    assert await again.read(lambda tx: tx.one("get_meta", key="test")) == (b"kept",)
    await again.close()


async def test_migrating_twice_changes_nothing(empty: str) -> None:
    """A second run finds everything done: schema and version are those of the first."""
    connection = await asyncpg.connect(empty)
    await migrate(connection)
    before = await read_postgres(connection)
    await migrate(connection)
    assert await read_postgres(connection) == before
    assert await connection.fetchval("SELECT count(*) FROM meta") == 1
    await connection.close()


async def test_several_that_migrate_at_once(empty: str) -> None:
    """Of eight that come at once one makes the tables, and the others wait for it and find them."""
    connections = [await asyncpg.connect(empty) for _ in range(8)]
    await asyncio.gather(*map(migrate, connections))
    assert await connections[0].fetchval("SELECT count(*) FROM meta") == 1
    for connection in connections:
        await connection.close()


_OPEN = """
import asyncio, sys
from bridge.store.postgres import open_store

async def main():
    store = await open_store(sys.argv[1], "")
    print(store.vault.hash("x").hex())
    await store.close()

asyncio.run(main())
"""


async def test_several_processes_that_start_at_once(empty: str) -> None:
    """Processes that open a new database at the same moment all get through, and hash alike."""
    starts = [
        asyncio.create_subprocess_exec(sys.executable, "-c", _OPEN, empty, stdout=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    processes = await asyncio.gather(*starts)
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len({output for output, _ in outputs}) == 1


async def test_a_migration_is_all_or_nothing(empty: str) -> None:
    """Where a table of ours stands in the way nothing is made, and the sentence says so."""
    connection = await asyncpg.connect(empty)
    await connection.execute("CREATE TABLE error_texts (mine TEXT)")  # the last one that is made
    await connection.close()
    with pytest.raises(StoreError, match="error_texts"):
        await open_store(empty, "")
    assert await tables(empty) == {"error_texts"}


async def test_a_view_upon_a_view_is_in_the_way(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views are made anew by a migration: one of the operator's own that is built upon them is named, and stays."""
    scripts = schema._scripts()
    monkeypatch.setattr(schema, "_scripts", lambda: scripts[:-1])
    await (await open_store(empty, "")).close()
    connection = await asyncpg.connect(empty)
    await connection.execute("CREATE VIEW mine AS SELECT state FROM v_messages")
    monkeypatch.setattr(schema, "_scripts", lambda: scripts)
    with pytest.raises(StoreError, match="built upon the views of bridge") as caught:
        await open_store(empty, "")
    assert caught.value.sentence.endswith(".")
    assert await known_version(connection) == len(scripts) - 1
    await connection.execute("DROP VIEW mine")
    await (await open_store(empty, "")).close()
    assert await known_version(connection) == len(scripts)
    await connection.close()


async def test_a_migration_may_take_long(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes longer than a statement otherwise may is waited for: to begin anew would not end it either."""
    await (await open_store(empty, "")).close()
    scripts = [*schema._scripts(), "SELECT pg_sleep(2.5)"]
    monkeypatch.setattr(schema, "_scripts", lambda: scripts)
    monkeypatch.setattr(postgres, "_LONG_SECONDS", 1.5)
    await (await open_store(empty, "")).close()
    connection = await asyncpg.connect(empty)
    assert await known_version(connection) == len(scripts)
    await connection.close()


async def test_a_newer_database_is_refused(empty: str) -> None:
    """What a later version wrote is left alone, with a sentence that says the mend, by whoever opens it."""
    await (await open_store(empty, "")).close()
    connection = await asyncpg.connect(empty)
    newer = str(latest_version() + 1).encode()
    await connection.execute("UPDATE meta SET value = $1 WHERE key = 'schema_version'", newer)
    await connection.close()
    for make in (True, False):
        with pytest.raises(StoreError, match="newer version of bridge") as caught:
            await open_store(empty, "", make=make)
        assert caught.value.sentence.endswith(".")


async def test_who_may_not_make_it_says_what_to_do(empty: str) -> None:
    """Opened to look only, an empty database stays empty, and the sentence names the command."""
    with pytest.raises(StoreError, match="bridge db migrate"):
        await open_store(empty, "", make=False)
    assert await tables(empty) == set()


# --- keys ---


async def test_two_that_open_a_new_database_agree_on_its_key(empty: str) -> None:
    """Without a pii_key the hash key is made once: stores opened at the same moment find each other's rows."""
    stores = await asyncio.gather(*(open_store(empty, "") for _ in range(6)))
    assert len({store.vault.hash("+447700900123") for store in stores}) == 1
    for store in stores:
        await store.close()


@pytest.mark.parametrize(("first", "then"), [(PII_KEY, ""), (PII_KEY, b64encode(bytes(32)).decode())])
async def test_another_key_is_refused(shared_url: str, first: str, then: str) -> None:
    """A database opens with the pii_key that it was made with, and with no other, nor with none."""
    await (await open_store(shared_url, first)).close()
    with pytest.raises(StoreError, match=r"database\.pii_key"):
        await open_store(shared_url, then)
    await (await open_store(shared_url, first)).close()
