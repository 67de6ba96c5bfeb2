"""What lies on the disk: with a pii_key no address, text or callback URL can be read from the files.

For SQLite these are all of its files, for PostgreSQL those of the one database (its log is that of the whole server).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from bridge.core.model import DeliveryReport, InboundMessage, State
from bridge.store import contacts, inbox, review, sends
from bridge.store.contacts import Contact
from bridge.store.inbox import Arrived, Understood
from bridge.store.postgres import PostgresStore
from bridge.store.review import Kind, Member
from bridge.store.tx import Store, Tx
from tests.postgres import PostgresServer
from tests.store.conftest import Databases

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen

NOW = 1_795_234_921_250
PHONE = "+447700900123"
EMAIL = "jane.doe@example.com"
ELEMENT = b'{"message_uuid": "a-1", "item": {"destination": "447700900123", "content": "please STOP this"}}'

# As they may stand in a file: parts that no mask shows, in the encodings that a database may use.
SECRETS = {
    "phone": "7700900123",
    "e-mail": "jane.doe",
    "text": "your code is 4711",
    "callback url": "status/9f3c",
    "inbound text": "please STOP this",
    "raw element": '"destination"',
}


Folder = Callable[[], Awaitable[Path]]


@pytest.fixture
def databases(postgres: PostgresServer) -> Databases:
    """Each test gets a new database: on the pages of one that was lent before there are rows of other tests."""
    return Databases(postgres)


@pytest.fixture
async def folder(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Folder:
    """Where the files of the database are, with everything that was committed in them."""

    async def sqlite() -> Path:
        return tmp_path

    if not isinstance(store, PostgresStore):
        return sqlite
    server: PostgresServer = request.getfixturevalue("postgres")
    ((name, oid),) = await store.read(
        lambda tx: tx.select("SELECT datname, oid FROM pg_database WHERE datname = current_database()", ())
    )

    async def postgres() -> Path:
        connection = await asyncpg.connect(server.url(name))
        await connection.execute("CHECKPOINT")
        await connection.close()
        return server.folder / "data" / "base" / str(oid)

    return postgres


def found_in(folder: Path) -> set[str]:
    """Which of the secrets stand in a file of the folder."""
    content = b"\n".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    encodings = ("utf-8", "utf-16-le", "utf-16-be")
    return {
        name
        for name, secret in SECRETS.items()
        if any(secret.encode(encoding) in content for encoding in encodings)
        or b64encode(secret.encode()).rstrip(b"=")[:-1] in content
        or secret.encode().hex().encode() in content
    }


@pytest.fixture
async def used(store: Store, add_message: AddMessage, happen: Happen) -> Store:
    """A database in which everything personal was written at least once."""
    message_id = await add_message()
    await happen(message_id, State.SENT, State.DELIVERED)
    arrived = Arrived("revicom", 1, 0, NOW, ELEMENT, b"d" * 16)
    report = DeliveryReport("a-1", "delivered", "delivered", at=NOW)
    inbound = InboundMessage("mo-1", "SMS", PHONE, "please STOP this", "inbound_sent", "inbound_sent", NOW)

    async def job(tx: Tx) -> None:
        await sends.claim(tx, "revicom", NOW, 10)
        await contacts.put_contact(tx, Contact("jane", PHONE, EMAIL), NOW)
        await contacts.close_channel_of_address(tx, tx.vault.hash(PHONE), "SMS", "the person wrote STOP", NOW)
        await inbox.add_batch(tx, "revicom", b"[" + ELEMENT + b"]", 1, NOW)
        await inbox.put_callbacks(tx, [Understood(message_id, arrived, report, "applied")])
        await inbox.add_orphan(tx, "a-2", arrived)
        await inbox.add_inbound(tx, arrived, inbound, "STOP", message_id)
        await review.add_to_review(
            tx,
            Kind.ORPHAN,
            "no message",
            Member(arrived.digest, 1, 0),
            provider="revicom",
            sample=ELEMENT.decode(),
            at=NOW,
        )

    await store.write(job)
    return store


@pytest.mark.parametrize("pii_key", [b64encode(bytes(range(32))).decode()], ids=["encrypted"])
async def test_nothing_personal_can_be_read_from_the_files(used: Store, folder: Folder) -> None:
    """The database holds no clear address, text, raw element or callback URL, open or closed; nor does SQLite's log."""
    assert found_in(await folder()) == set()
    await used.close()
    assert found_in(await folder()) == set()


@pytest.mark.parametrize("pii_key", [""], ids=["plain"])
async def test_without_a_key_it_can(used: Store, folder: Folder) -> None:
    """Without a pii_key all of it is there: the search above would find what is not encrypted."""
    assert found_in(await folder()) == set(SECRETS)


async def test_everything_can_be_read_again(used: Store) -> None:
    """What was sealed comes back where it is needed: for sending, for reports, for review."""
    (batch,) = await used.read(lambda tx: inbox.waiting_batches(tx, 10, 10**6))
    assert batch.body == b"[" + ELEMENT + b"]"
    assert await used.read(lambda tx: contacts.get_contact(tx, "jane")) == Contact("jane", PHONE, EMAIL)
    (orphan,) = await used.write(lambda tx: inbox.take_orphans(tx, "revicom", "a-2"))
    assert orphan.raw == ELEMENT
    (item,) = await used.read(lambda tx: review.list_reviews(tx, 2**62, 10))
    assert item.sample == ELEMENT.decode()
