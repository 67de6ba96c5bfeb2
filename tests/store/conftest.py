"""What the tests of the store share: databases of every engine, with and without a pii_key, and rows to begin with.

Another engine joins the whole suite in the fixture `engine`. What only one promises is in `test_sqlite_*.py` and
`test_postgres_*.py`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import pytest

from bridge.core.lifecycle import Happening, advance
from bridge.core.model import MessageId, new_id
from bridge.pii import mask_phone
from bridge.store import messages, postgres
from bridge.store.messages import MessageView, NewMessage, ToSend
from bridge.store.postgres import PostgresStore
from bridge.store.saving import save_transition
from bridge.store.sqlite import open_store
from bridge.store.tx import Row, Store, Tx
from bridge.tables import load_vocabulary
from tests.postgres import PostgresServer

NOW = 1_795_234_921_250
PHONE = "+447700900123"
EMAIL = "jane.doe@example.com"
TEXT = "Hello Jane, your code is 4711"
CALLBACK_URL = "https://api.smartico.ai/status/9f3c?brand=7"
LANE = "sms@api.smartico.ai"
PII_KEY = b64encode(bytes(range(32))).decode()

Engine = Callable[..., Awaitable[Store]]
ENGINES = ("sqlite", "postgres")


class AddMessage(Protocol):
    """Stores a message that was just accepted."""

    async def __call__(
        self,
        *,
        at: int = NOW,
        gateway: str = "sms",
        uid: str | None = None,
        user: str = "user-1",
        phone: str | None = PHONE,
        channel: str = "SMS",
        provider: str = "revicom",
        lives: int = 86_400_000,
    ) -> MessageId: ...


class Happen(Protocol):
    """Lets things happen to a message, one transaction each, as the flows do."""

    async def __call__(
        self, message_id: MessageId, *happenings: Happening, at: int = NOW, settled_at: int = 0
    ) -> MessageView: ...


class Select(Protocol):
    """Rows, by SQL."""

    async def __call__(self, sql: str, *values: object) -> list[Row]: ...


class OpenShared(Protocol):
    """Opens the one PostgreSQL database of the test, as often as one likes; what was opened is closed in the end."""

    async def __call__(
        self, pii_key: str = "", *, lease_seconds: float = 60.0, worker: bool = True
    ) -> PostgresStore: ...


class Databases:
    """Migrated databases, emptied and lent again: a new one for each test takes a hundred times as long."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._free: list[str] = []

    async def lend(self) -> str:
        return self._free.pop() if self._free else await self._server.create()

    async def take_back(self, url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(_CUT_OTHERS)
            rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            tables = sorted(row[0] for row in rows if row[0] != "meta")
            await connection.execute("; ".join(f"DELETE FROM {table}" for table in tables))
            await connection.execute("DELETE FROM meta WHERE key <> 'schema_version'")
            await connection.execute(
                "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
            )
        finally:
            await connection.close()
        self._free.append(url)


_CUT_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture(scope="session")
def databases(postgres: PostgresServer) -> Databases:
    return Databases(postgres)


@pytest.fixture
async def shared_url(databases: Databases) -> AsyncIterator[str]:
    """The URL of an empty PostgreSQL database that is up to date."""
    url = await databases.lend()
    yield url
    await databases.take_back(url)


@pytest.fixture
async def open_shared(shared_url: str) -> AsyncIterator[OpenShared]:
    opened: list[PostgresStore] = []

    async def open_one(pii_key: str = "", **how: Any) -> PostgresStore:
        opened.append(await postgres.open_store(shared_url, pii_key, **{"lease_seconds": 60.0, **how}))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    """One engine after the other: opens the one database of the test with a pii_key, as often as one likes.

    While the key is changed, the former one is given as well.
    """
    if request.param == "sqlite":

        async def open_sqlite(pii_key: str, former_key: str = "") -> Store:
            return open_store(tmp_path / "bridge.db", pii_key, former_key)

        yield open_sqlite
        return
    databases: Databases = request.getfixturevalue("databases")
    url = await databases.lend()

    async def open_postgres(pii_key: str, former_key: str = "") -> Store:
        return await postgres.open_store(url, pii_key, former_key)

    yield open_postgres
    await databases.take_back(url)


@pytest.fixture(params=["", PII_KEY], ids=["plain", "encrypted"])
def pii_key(request: pytest.FixtureRequest) -> str:
    """Without and with encryption."""
    key: str = request.param
    return key


@pytest.fixture
async def store(engine: Engine, pii_key: str) -> AsyncIterator[Store]:
    """A new database on disk."""
    store = await engine(pii_key)
    yield store
    await store.close()


@pytest.fixture
def select(store: Store) -> Select:
    async def select(sql: str, *values: object) -> list[Row]:
        return await store.read(lambda tx: tx.select(sql, values))

    return select


async def end_leases(store: Store) -> None:
    """As if everybody who took something on had ended, and the time of the leases were over; SQLite has none."""
    if store.lease_seconds is not None:
        for table in ("sends", "batches", "reports", "forwards"):
            await store.write(partial(_end_leases, table=table))


async def _end_leases(tx: Tx, table: str) -> None:
    await tx.select(f"UPDATE {table} SET leased_until = 0 WHERE leased_until IS NOT NULL", ())


@pytest.fixture
def add_message(store: Store) -> AddMessage:
    numbers = count(1)

    async def add(
        *,
        at: int = NOW,
        gateway: str = "sms",
        uid: str | None = None,
        user: str = "user-1",
        phone: str | None = PHONE,
        channel: str = "SMS",
        provider: str = "revicom",
        lives: int = 86_400_000,
    ) -> MessageId:
        number, vault = next(numbers), store.vault
        message = NewMessage(
            id=new_id(at, number),
            gateway=gateway,
            type="sms",
            channel=channel,
            provider=provider,
            smartico_uid=uid or f"uid-{number}",
            ext_user_id=user,
            sender="Amazing",
            address_hash=vault.hash(phone) if phone else None,
            address_masked=mask_phone(phone) if phone else None,
            callback_url=vault.seal_text(CALLBACK_URL),
            lane=LANE,
            created_at=at,
        )
        new = ToSend(message, vault.seal_text(phone or ""), vault.seal_text(TEXT), at + lives)
        await store.write(lambda tx: messages.add_messages(tx, [new]))
        return message.id

    return add


@pytest.fixture
def happen(store: Store) -> Happen:
    vocabulary = load_vocabulary(None)

    async def happen(
        message_id: MessageId, *happenings: Happening, at: int = NOW, settled_at: int = 0
    ) -> MessageView:
        async def job(tx: Tx, happening: Happening | None = None) -> MessageView:
            message = (await messages.load_messages(tx, [message_id]))[message_id]
            if happening is None:
                return message
            transition = advance(message.snapshot, happening, vocabulary)
            return await save_transition(tx, message, transition, at, settled_at)

        for happening in happenings:
            await store.write(partial(job, happening=happening))
        return await store.read(job)

    return happen
