"""The keys of a database, and their change: hashes last, values are sealed anew, nobody is let in with half a key."""

from __future__ import annotations

import re
import sqlite3
from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bridge.core.model import DeliveryReport, InboundMessage, State
from bridge.errors import BridgeError, StoreError
from bridge.flows.rotating import Rotated, Rotation, WrongKeyError, count_values
from bridge.pii import SealedWith, Vault, cipher_key_of
from bridge.store import audit, communications, contacts, forwards, inbox, review, sends
from bridge.store.communications import NewCommunication
from bridge.store.contacts import Contact
from bridge.store.inbox import Arrived, Understood
from bridge.store.keys import is_rotating
from bridge.store.review import Kind, Member
from bridge.store.sealed import SEALED
from bridge.store.sqlite import SqliteStore, open_reader
from bridge.store.tx import Job, Store, Tx
from tests.store.conftest import EMAIL, NOW, PHONE, PII_KEY, TEXT, AddMessage, Engine, Happen

NEW_KEY, THIRD_KEY = (b64encode(bytes([number]) * 32).decode() for number in (1, 2))
COLUMNS = {(each.table, each.column) for each in SEALED}


@pytest.fixture(params=[PII_KEY], ids=["encrypted"])
def pii_key(request: pytest.FixtureRequest) -> str:
    key: str = request.param
    return key


@pytest.fixture
async def used(store: Store, add_message: AddMessage, happen: Happen) -> Store:
    """A database with something in every column that is sealed; it is closed by the test or in the end."""
    message_id = await add_message()
    await add_message(user="user-2", phone="+447700900555")
    await happen(message_id, State.SENT, State.DELIVERED)
    arrived = Arrived("revicom", 1, 0, NOW, b'{"content": "STOP"}', b"d" * 16)
    report = DeliveryReport("a-1", "delivered", "delivered", at=NOW)
    inbound = InboundMessage(
        "mo-1", "SMS", PHONE, "STOP", "inbound_sent", "inbound_sent", NOW, special='{"a": 1}'
    )
    member = Member(arrived.digest, 1, 0)

    async def job(tx: Tx) -> None:
        await sends.claim(tx, "revicom", NOW, 10)
        await contacts.put_contact(tx, Contact("jane", PHONE, EMAIL), NOW)
        await contacts.put_contact(tx, Contact("joe", PHONE, None), NOW)
        await inbox.add_batch(tx, "revicom", b"[{}]", 1, NOW)
        await inbox.put_callbacks(tx, [Understood(message_id, arrived, report, "applied")])
        for number in range(2):  # several are written in another way than one
            await inbox.add_orphan(tx, f"a-{number}", arrived)
            each = replace(inbound, provider_message_id=f"mo-{number}")
            await inbox.add_inbound(tx, arrived, each, "STOP", message_id)
        await review.add_to_review(tx, Kind.ORPHAN, "no", member, provider="revicom", sample="sample", at=NOW)
        await communications.add_communications(tx, [_communication(b"c"), _communication(b"d")])
        await forwards.add_forward(tx, forwards.INBOUND, "x", "key", b"{}", NOW)
        await forwards.add_forward(tx, forwards.INBOUND, "y", "key", b"{}", NOW)

    await store.write(job)
    return store


def _communication(sign: bytes) -> NewCommunication:
    return NewCommunication(
        id=sign * 16, digest=sign * 16, login="jane", channel="SMS", campaign_name="Flow", sent_at=NOW,
        received_at=NOW, view_url="https://v/1", body=b"{}", message_id=None, tie_at=None,
    )  # fmt: skip


async def rotate(store: Store, rotation: Rotation | None = None) -> Rotated:
    """To the end."""
    rotation = rotation or Rotation(store)
    while (rotated := await rotation.step("alice", NOW)).step != "done":
        pass
    return rotated


async def every_bytes(store: Store) -> list[tuple[str, str, bytes]]:
    """Every byte string of the database, with its table and column, whatever it is."""
    if isinstance(store, SqliteStore):
        tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
        columns = "SELECT name FROM pragma_table_info(?)"
    else:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        columns = "SELECT column_name FROM information_schema.columns WHERE table_name = ?"
    found = []
    for (table,) in await store.search(lambda tx: tx.select(tables, ())):
        found += [(table, *each) for each in await store.search(_bytes_of(table, columns))]
    return found


def _bytes_of(table: str, names: str) -> Job[list[tuple[str, bytes]]]:
    async def job(tx: Tx) -> list[tuple[str, bytes]]:
        columns = [row[0] for row in await tx.select(names, (table,))]
        rows = await tx.select(f"SELECT {', '.join(columns)} FROM {table}", ())
        return [
            (column, value)
            for row in rows
            for column, value in zip(columns, row, strict=True)
            if isinstance(value, bytes)
        ]

    return job


def opened_by(key: str, values: list[tuple[str, str, bytes]]) -> set[tuple[str, str]]:
    """The tables and columns in which something can be opened with this key."""
    vault = Vault(b"", cipher_key_of(key))
    return {
        (table, column) for table, column, value in values if vault.sealed_with(value) is SealedWith.PRESENT
    }


async def meta(store: Store) -> Mapping[str, bytes]:
    rows = await store.read(lambda tx: tx.select("SELECT key, value FROM meta", ()))
    return dict(rows)


async def audited(store: Store) -> list[tuple[str, str, dict[str, Any]]]:
    lines = await store.read(lambda tx: audit.audit_lines(tx, 2**62, 10))
    return [(line.actor, line.action, line.detail) for line in reversed(lines)]


# --- what is sealed ---


def test_the_list_of_sealed_columns_is_that_of_the_schema() -> None:
    """Whoever adds a column that is sealed says so in the migration, and it has to be in the list."""
    found, table = set(), ""
    for file in sorted(
        files("bridge.store.sqlite").joinpath("migrations").iterdir(), key=lambda file: file.name
    ):
        for line in file.read_text(encoding="utf-8").splitlines():
            if named := re.match(r"(?:CREATE|ALTER) TABLE (\w+)", line):
                table = named[1]
            if column := re.search(r"(\w+) BLOB\b.*-- sealed", line):
                found.add((table, column[1]))
    assert found == COLUMNS
    assert len(SEALED) == len(COLUMNS)


async def test_every_column_that_is_sealed_is_in_the_list(used: Store) -> None:
    """Of all byte strings in all tables the key opens those of the list, and the hash key."""
    assert opened_by(PII_KEY, await every_bytes(used)) == COLUMNS | {("meta", "value")}


# --- from one key to another ---


async def test_everything_is_sealed_anew(used: Store, engine: Engine) -> None:
    """After the rotation the new key alone opens all that was sealed, and the former one opens nothing."""
    before = await count_values(used, lambda rows, of: None)
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    assert await count_values(store, lambda rows, of: None) == {SealedWith.FORMER: sum(before.values())}
    rotated = await rotate(store)
    assert (rotated.step, rotated.resealed, rotated.unreadable) == ("done", sum(before.values()), 0)
    await store.close()

    store = await engine(NEW_KEY)
    values = await every_bytes(store)
    assert opened_by(PII_KEY, values) == set()
    assert opened_by(NEW_KEY, values) == COLUMNS | {("meta", "value")}
    assert await count_values(store, lambda rows, of: None) == {SealedWith.PRESENT: sum(before.values())}
    assert await store.read(lambda tx: contacts.get_contact(tx, "jane")) == Contact("jane", PHONE, EMAIL)
    assert not await store.read(is_rotating)
    await store.close()


async def test_searches_find_throughout(used: Store, engine: Engine) -> None:
    """Hashes do not change with the key: an address is found before, in the middle of and after a rotation."""

    async def found(store: Store) -> bool:
        values = (store.vault.hash(PHONE),)
        rows = await store.read(lambda tx: tx.select("SELECT 1 FROM messages WHERE address_hash = ?", values))
        known = await store.read(lambda tx: contacts.get_contact(tx, "jane"))
        return len(rows) == 1 and known == Contact("jane", PHONE, EMAIL)

    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    rotation = Rotation(store)
    while (await rotation.step("alice", NOW)).step != "done":
        assert await found(store)
    await store.close()
    store = await engine(NEW_KEY)
    assert await found(store)
    await store.close()


async def test_it_is_written_down_who_and_how_many(used: Store, engine: Engine) -> None:
    """Two lines for a rotation: that it was begun, and how many values there were; none where nothing was to do."""
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    rotated = await rotate(store)
    await rotate(store)
    assert await audited(store) == [
        ("alice", "keys.rotate", {"step": "begun"}),
        ("alice", "keys.rotate", {"step": "done", "resealed": rotated.resealed, "unreadable": 0}),
    ]
    await store.close()


async def test_it_can_be_interrupted(used: Store, engine: Engine) -> None:
    """What was sealed anew is recognised: those who begin again seal the rest, and every value once."""
    count = sum((await count_values(used, lambda rows, of: None)).values())
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    first = Rotation(store)
    for _ in range(4):
        await first.step("alice", NOW)
    assert 0 < first.state.resealed < count
    assert (await rotate(store)).resealed == count - first.state.resealed
    await store.close()


async def test_there_and_back(used: Store, engine: Engine) -> None:
    """A rotation that was begun can be turned round."""
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    rotation = Rotation(store)
    for _ in range(6):
        await rotation.step("alice", NOW)
    await store.close()
    store = await engine(PII_KEY, NEW_KEY)
    assert (await rotate(store)).resealed == rotation.state.resealed
    await store.close()
    await (await engine(PII_KEY)).close()


async def test_many_and_large_values(store: Store, engine: Engine) -> None:
    """More rows than one step takes, and more bytes: everything is sealed anew, in steps of a megabyte at most."""

    async def job(tx: Tx) -> None:
        for number in range(450):
            await contacts.put_contact(tx, Contact(f"user-{number}", PHONE, None), NOW)
        for number in range(6):
            await inbox.add_batch(tx, "revicom", b"%d" % number + b"x" * 700_000, 1, NOW)

    await store.write(job)
    await store.close()
    store = await engine(NEW_KEY, PII_KEY)
    rotation, steps = Rotation(store), [0]
    while (rotated := await rotation.step("alice", NOW)).step == "sealing":
        steps.append(rotated.resealed)
    assert sorted(after - before for before, after in pairwise(steps) if after > before) == (
        [1] * 6 + [50, 200, 200]
    )
    assert (await rotate(store, rotation)).resealed == 456
    await store.close()


# --- while others work ---


class Between:
    """A store in which something happens between looking and writing."""

    def __init__(self, store: Store, happens: Job[Any], times: int) -> None:
        self._store = store
        self._happens = happens
        self.times = times
        self.vault = store.vault

    async def search(self, job: Job[Any]) -> Any:
        return await self._store.search(job)

    async def write(self, job: Job[Any]) -> Any:
        if self.times:
            self.times -= 1
            await self._store.write(self._happens)
        return await self._store.write(job)


async def test_what_somebody_changes_meanwhile_is_not_overwritten(used: Store, engine: Engine) -> None:
    """A contact is replaced and a message leaves the outbox in the moment between: both stay so."""
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    other = Contact("jane", "+447700900999", "new@example.com")

    async def happens(tx: Tx) -> None:
        await contacts.put_contact(tx, other, NOW)
        await tx.select("DELETE FROM sends", ())
        await tx.select("UPDATE forwards SET payload = ?", (b"",))

    await rotate(store, Rotation(Between(store, happens, 1)))  # type: ignore[arg-type]
    assert await store.read(lambda tx: contacts.get_contact(tx, "jane")) == other
    assert await store.read(lambda tx: tx.select("SELECT count(*) FROM sends", ())) == [(0,)]
    assert await store.read(lambda tx: tx.select("SELECT DISTINCT payload FROM forwards", ())) == [(b"",)]
    await store.close()
    await (await engine(NEW_KEY)).close()


async def test_a_message_can_be_claimed_at_any_moment(
    used: Store, add_message: AddMessage, engine: Engine
) -> None:
    """Whatever of it is sealed with which key: the destination and the text of a message come out right."""
    await add_message(user="user-3")
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    rotation = Rotation(store)

    async def claim(tx: Tx) -> list[tuple[str, str]]:
        await tx.select("UPDATE sends SET phase = 'queued'", ())
        return [(each.destination, each.body) for each in await sends.claim(tx, "revicom", NOW, 10)]

    while (await rotation.step("alice", NOW)).step != "done":
        assert set(await store.write(claim)) == {(PHONE, TEXT), ("+447700900555", TEXT)}
    await store.close()


async def test_what_came_behind_it_is_found_by_the_check(used: Store, engine: Engine) -> None:
    """An instance that was not restarted yet seals with the former key: the next walk finds that."""
    former = used.vault
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)

    async def happens(tx: Tx) -> None:
        await tx.select(
            "UPDATE contacts SET email = ? WHERE ext_user_id = 'jane'", (former.seal_text(EMAIL),)
        )

    between = Between(store, happens, 14)
    await rotate(store, Rotation(between))  # type: ignore[arg-type]
    assert between.times == 0
    assert opened_by(PII_KEY, await every_bytes(store)) == set()
    await store.close()


async def test_it_gives_up_while_others_go_on_with_the_former_key(used: Store, engine: Engine) -> None:
    """It does not run for ever, and does not say that the former key can go."""
    former = used.vault
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)

    async def happens(tx: Tx) -> None:
        await tx.select(
            "UPDATE contacts SET email = ? WHERE ext_user_id = 'jane'", (former.seal_text(EMAIL),)
        )

    with pytest.raises(WrongKeyError, match="restart every bridge"):
        await rotate(store, Rotation(Between(store, happens, 1000)))  # type: ignore[arg-type]
    assert await store.read(is_rotating)
    await store.close()


async def test_what_no_key_opens_stays(used: Store, engine: Engine) -> None:
    """Values that were sealed with a key that nobody has are counted, and stop no others; empty ones are no values."""
    stranger = Vault(b"", bytes(32)).seal(b"x")
    await used.write(lambda tx: tx.select("UPDATE texts SET body = ?", (stranger,)))  # two of them
    await used.write(lambda tx: tx.select("UPDATE batches SET body = ?", (b"",)))
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    assert (await rotate(store)).unreadable == 2
    assert await store.read(lambda tx: tx.select("SELECT DISTINCT body FROM texts", ())) == [(stranger,)]
    assert await store.read(lambda tx: tx.select("SELECT body FROM batches", ())) == [(b"",)]
    await store.close()


# --- who is let in ---


async def test_half_a_rotation_wants_both_keys(used: Store, engine: Engine) -> None:
    """From the first opening with both keys to the end of the rotation neither key alone opens the database, and no
    third one takes the place of the first."""
    await used.close()
    await (await engine(NEW_KEY, PII_KEY)).close()
    with pytest.raises(StoreError, match=r"set database\.pii_key_old"):
        await engine(NEW_KEY)
    with pytest.raises(StoreError, match=r"set database\.pii_key_old"):
        await engine(THIRD_KEY, NEW_KEY)
    for keys in ((PII_KEY,), (THIRD_KEY,), (THIRD_KEY, PII_KEY), ("",)):
        with pytest.raises(StoreError, match=r"database\.pii_key is not the one"):
            await engine(*keys)
    await (await engine(NEW_KEY, PII_KEY)).close()


async def test_the_former_key_is_of_no_use_afterwards(used: Store, engine: Engine) -> None:
    """After the rotation a database opens with the new key, with or without the former one, and not with that alone."""
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    await rotate(store)
    await store.close()
    for keys in ((NEW_KEY, PII_KEY), (NEW_KEY,), (NEW_KEY, THIRD_KEY)):
        store = await engine(*keys)
        assert not await store.read(is_rotating)
        await store.close()
    with pytest.raises(StoreError, match=r"database\.pii_key is not the one"):
        await engine(PII_KEY)


async def as_it_was_made_at_first(store: Store) -> None:
    """A database of the versions that derived the hash key from the pii_key: it has the check of it, and no more."""
    check = Vault.from_pii_key(PII_KEY).check_value

    async def job(tx: Tx) -> None:
        await tx.run("delete_meta", key="sealed_hash_key")
        await tx.run("set_meta", key="hash_check", value=check)

    await store.write(job)
    await store.close()


@pytest.mark.parametrize("former", ["", PII_KEY])
async def test_databases_that_were_made_before(store: Store, engine: Engine, former: str) -> None:
    """Their hashes are derived from the key that they were made with, and stay so when it is changed."""
    await as_it_was_made_at_first(store)
    expected = Vault.from_pii_key(PII_KEY).hash(PHONE)
    for keys in ((NEW_KEY,), (NEW_KEY, THIRD_KEY), ("",)):
        with pytest.raises(StoreError, match=r"database\.pii_key is not the one"):
            await engine(*keys)
    keys = (NEW_KEY, former) if former else (PII_KEY,)
    for _ in range(2):
        store = await engine(*keys)
        assert store.vault.hash(PHONE) == expected
        assert await store.read(is_rotating) == bool(former)
        await store.close()
    store = await engine(NEW_KEY, PII_KEY)
    await rotate(store)
    assert store.vault.hash(PHONE) == expected
    await store.close()


async def test_a_new_database_has_a_hash_key_of_its_own(store: Store) -> None:
    """It is not derived from the pii_key, and stands in the database sealed with it."""
    assert store.vault.hash(PHONE) != Vault.from_pii_key(PII_KEY).hash(PHONE)
    assert {"hash_check", "sealed_hash_key"} <= (await meta(store)).keys()
    assert "hash_key" not in await meta(store)


# --- from no key to one ---


@pytest.mark.parametrize("pii_key", [""], ids=["plain"], indirect=True)
async def test_from_no_key_to_one(used: Store, engine: Engine) -> None:
    """The rows of a database without a key stay readable when one is set, and are sealed by the rotation; there is no
    way back."""
    count = sum((await count_values(used, lambda rows, of: None)).values())
    hashed = used.vault.hash(PHONE)
    with pytest.raises(WrongKeyError, match="is empty"):
        await rotate(used)
    await used.close()
    store = await engine(NEW_KEY)
    assert await store.read(is_rotating)
    assert "hash_key" not in await meta(store)
    assert await store.read(lambda tx: contacts.get_contact(tx, "jane")) == Contact("jane", PHONE, EMAIL)
    assert (await rotate(store)).resealed == count
    assert store.vault.hash(PHONE) == hashed
    assert opened_by(NEW_KEY, await every_bytes(store)) == COLUMNS | {("meta", "value")}
    assert not await store.read(is_rotating)
    await store.close()
    with pytest.raises(StoreError, match=r"database\.pii_key is not the one"):
        await engine("")


# --- the file ---


@pytest.mark.parametrize("pii_key", ["", PII_KEY], ids=["from no key", "from another"], indirect=True)
async def test_nothing_of_before_is_left_in_a_file_that_was_vacuumed(
    tmp_path: Path, used: Store, engine: Engine, pii_key: str
) -> None:
    """Pages that are free, and the log, hold former values until VACUUM: after it no file has a single one of them."""
    if not isinstance(used, SqliteStore):
        pytest.skip("a file")
    found = [value for table, column, value in await every_bytes(used) if (table, column) in COLUMNS]
    sealed = [value for value in found if len(value) > 8]  # a shorter one may stand anywhere
    assert len(sealed) > 8
    await used.close()
    store = await engine(NEW_KEY, pii_key)
    await rotate(store)
    await store.close()
    with closing(sqlite3.connect(tmp_path / "bridge.db")) as file:
        file.execute("VACUUM")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("bridge.db"))
    assert [value for value in sealed if value in content] == []


async def test_readers_beside_the_owner(tmp_path: Path, used: Store, engine: Engine) -> None:
    """A reader needs the keys of the owner, writes nothing, and reads both kinds of values."""
    if not isinstance(used, SqliteStore):
        pytest.skip("on PostgreSQL everybody can write")
    path, before = tmp_path / "bridge.db", await meta(used)
    reader = open_reader(path, NEW_KEY, PII_KEY)  # the owner was not restarted yet
    assert await reader.read(lambda tx: contacts.get_contact(tx, "jane")) == Contact("jane", PHONE, EMAIL)
    assert await reader.read(is_rotating)
    assert await meta(used) == before
    await reader.close()
    await used.close()
    store = await engine(NEW_KEY, PII_KEY)
    rotation = Rotation(store)
    for _ in range(3):
        await rotation.step("alice", NOW)
    reader = open_reader(path, NEW_KEY, PII_KEY)
    for user, email in (("jane", EMAIL), ("joe", None)):

        async def job(tx: Tx, user: str = user) -> Contact | None:
            return await contacts.get_contact(tx, user)

        assert await reader.read(job) == Contact(user, PHONE, email)
    await reader.close()
    with pytest.raises(BridgeError):
        open_reader(path, NEW_KEY)
    await store.close()
