"""What the tests of the store share: databases of every engine, with and without a pii_key, and rows to begin with.

A second engine joins the whole suite by one line in `ENGINES`. What only SQLite promises is in `test_sqlite_*.py`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from bridge.core.lifecycle import Happening, advance
from bridge.core.model import MessageId, new_id
from bridge.pii import mask_phone
from bridge.store import messages
from bridge.store.messages import MessageView, NewMessage
from bridge.store.saving import save_transition
from bridge.store.sqlite import open_store
from bridge.store.tx import Row, Store, Tx
from bridge.tables import load_vocabulary

NOW = 1_795_234_921_250
PHONE = "+447700900123"
EMAIL = "jane.doe@example.com"
TEXT = "Hello Jane, your code is 4711"
CALLBACK_URL = "https://api.smartico.ai/status/9f3c?brand=7"
LANE = "sms@api.smartico.ai"
PII_KEY = b64encode(bytes(range(32))).decode()

Engine = Callable[[Path, str], Awaitable[Store]]


async def open_sqlite(folder: Path, pii_key: str) -> Store:
    """The database of this folder, made where it is missing."""
    return open_store(folder / "bridge.db", pii_key)


ENGINES: Mapping[str, Engine] = {"sqlite": open_sqlite}


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


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    """One engine after the other."""
    return ENGINES[request.param]


@pytest.fixture(params=["", PII_KEY], ids=["plain", "encrypted"])
def pii_key(request: pytest.FixtureRequest) -> str:
    """Without and with encryption."""
    key: str = request.param
    return key


@pytest.fixture
async def store(engine: Engine, pii_key: str, tmp_path: Path) -> AsyncIterator[Store]:
    """A new database on disk."""
    store = await engine(tmp_path, pii_key)
    yield store
    await store.close()


@pytest.fixture
def select(store: Store) -> Select:
    async def select(sql: str, *values: object) -> list[Row]:
        return await store.read(lambda tx: tx.select(sql, values))

    return select


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
        destination, body = vault.seal_text(phone or ""), vault.seal_text(TEXT)
        await store.write(
            lambda tx: messages.add_message(
                tx, message, destination=destination, body=body, expires_at=at + lives
            )
        )
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
