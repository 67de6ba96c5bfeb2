"""What only PostgreSQL promises of its transactions: what errors say, and that the store works again by itself."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from asyncpg import exceptions

from bridge.errors import StoreError
from bridge.sim import free_port
from bridge.store.postgres import PostgresStore, open_store
from bridge.store.postgres.engine import QueryError, translate
from bridge.store.tx import Job, Store, Tx
from tests.e2e.fault_proxy import FAULTS, FaultProxy
from tests.postgres import PostgresServer, running_postgres
from tests.store.conftest import EMAIL, PHONE

if TYPE_CHECKING:
    from tests.store.conftest import OpenShared, Select

PATIENCE = 30.0  # seconds
ID = b"m" * 16


@pytest.fixture
def engine(open_shared: OpenShared) -> OpenShared:
    """PostgreSQL alone."""
    return open_shared


@pytest.fixture
def pii_key() -> str:
    return ""


def put(key: str, value: bytes = b"value") -> Job[int]:
    return lambda tx: tx.run("set_meta", key=key, value=value)


async def keys(store: Store) -> set[str]:
    rows = await store.read(lambda tx: tx.select("SELECT key FROM meta WHERE key LIKE 'test-%'", ()))
    return {key for (key,) in rows}


async def until_it_works(store: Store, job: Job[Any]) -> None:
    """Tries until the database is there again; until then there is nothing but StoreErrors."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            await store.write(job)
        except StoreError:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        else:
            return


# --- values ---


async def test_a_nul_in_a_text(store: Store, select: Select) -> None:
    """PostgreSQL keeps no NUL: the sign for what cannot be shown stands in its place, and finds the row again."""
    await store.write(lambda tx: tx.run("add_error_text", provider="p\0", code="1", text="a\0b\0"))
    await store.write(
        lambda tx: tx.run_many(
            "add_error_text", [{"provider": "q\0", "code": str(number), "text": "\0"} for number in range(2)]
        )
    )
    assert await select("SELECT text FROM error_texts WHERE provider = ?", "p\0") == [("a�b�",)]
    assert await select("SELECT DISTINCT provider FROM error_texts ORDER BY provider") == [("p�",), ("q�",)]
    assert await store.read(lambda tx: tx.one("error_text", provider="p\0", code="1")) == ("a�b�",)


async def test_a_nul_in_bytes_stays(store: Store) -> None:
    """Bytes are kept as they are."""
    await store.write(put("test-1", bytes(range(256))))
    assert await store.read(lambda tx: tx.one("get_meta", key="test-1")) == (bytes(range(256)),)


async def test_a_nul_in_a_list(store: Store) -> None:
    """Keys of a list are treated as values by themselves: what was written with a NUL is found with it."""
    await store.write(
        lambda tx: tx.run(
            "add_provider_message", provider="p", provider_message_id="a\0", message_id=ID, step=None
        )
    )
    found = await store.write(lambda tx: tx.any_of("messages_of_provider_ids", ["a\0", "b"], provider="p"))
    assert [message_id for _, message_id in found] == [ID]


async def test_how_many_rows_were_changed(store: Store) -> None:
    """`run` says how many rows it changed, none among them."""
    for number in range(3):
        row = {"message_id": b"%016d" % number, "body": b""}
        assert await store.write(lambda tx, row=row: tx.run("add_text", **row)) == 1  # type: ignore[misc]
    assert await store.write(lambda tx: tx.run("forget_text", message_id=b"nobody")) == 0
    assert await store.write(lambda tx: tx.run("clear_error_texts")) == 0
    assert await store.write(lambda tx: tx.run("forget_text", message_id=b"%016d" % 1)) == 1


async def test_no_rows_are_no_statement(store: Store) -> None:
    """Nothing is asked for an empty list."""
    assert await store.write(lambda tx: tx.any_of("no such statement", [])) == []
    await store.write(lambda tx: tx.run_many("no such statement", []))


# --- reads ---


@pytest.mark.parametrize("how", ["read", "search"])
async def test_a_read_cannot_write(store: Store, how: str) -> None:
    """Neither a read nor a search changes anything, whatever statement it runs."""
    look = getattr(store, how)
    for job in (
        put("test-1"),
        lambda tx: tx.select("INSERT INTO meta VALUES ('test-2', '')", ()),
        lambda tx: tx.select("DELETE FROM meta RETURNING key", ()),
        lambda tx: tx.select("SELECT 1 FROM meta FOR UPDATE", ()),
    ):
        with pytest.raises(StoreError, match="read-only"):
            await look(job)
    assert await keys(store) == set()
    await store.write(put("test-3"))


async def test_readers_do_not_wait_for_writers(store: Store) -> None:
    """While a transaction holds a row, reads see what was committed before."""
    await store.write(put("test-1", b"old"))
    written, end = asyncio.Event(), asyncio.Event()

    async def hold(tx: Tx) -> None:
        await put("test-1", b"new")(tx)
        written.set()
        await end.wait()

    holding = asyncio.ensure_future(store.write(hold))
    await written.wait()
    async with asyncio.timeout(PATIENCE):
        assert await store.read(lambda tx: tx.one("get_meta", key="test-1")) == (b"old",)
        assert await store.search(lambda tx: tx.one("get_meta", key="test-1")) == (b"old",)
    end.set()
    await holding
    assert await store.read(lambda tx: tx.one("get_meta", key="test-1")) == (b"new",)


# --- what errors say ---


def said(error: BaseException) -> str:
    """Everything that a log could show of an error."""
    shown = traceback.format_exception(error)
    return "\n".join(
        [*(line for line in shown if not line.lstrip().startswith("File ")), repr(error), repr(error.args)]
    )


async def repeat(tx: Tx) -> None:
    for _ in range(2):
        await tx.select("INSERT INTO contacts (ext_user_id, updated_at) VALUES (?, 1)", [EMAIL])


WRONG: dict[str, Job[Any]] = {
    "twice": repeat,
    "twice, a statement": lambda tx: tx.run_many(
        "add_error_text", [{"provider": EMAIL, "code": PHONE, "text": ""}] * 2
    ),
    "no value": lambda tx: tx.run("add_error_text", provider=EMAIL, code=PHONE, text=None),
    "no value, many": lambda tx: tx.run_many(
        "add_error_text", [{"provider": EMAIL, "code": PHONE, "text": text} for text in ("", None)]
    ),
    "wrong type": lambda tx: tx.run("set_meta", key="test-1", value=EMAIL),
    "wrong type in a list": lambda tx: tx.any_of("load_messages", [EMAIL, PHONE]),
    "text for a number": lambda tx: tx.run("forget_text", message_id=PHONE),
    "too large": lambda tx: tx.run("add_audit", at=2**70, actor=EMAIL, action="", detail=PHONE),
    "no number": lambda tx: tx.select("SELECT CAST(CAST(? AS TEXT) AS BIGINT)", [EMAIL]),
    "no UUID": lambda tx: tx.select("SELECT CAST(CAST(? AS TEXT) AS UUID)", [PHONE]),
    "no Unicode": lambda tx: tx.run("add_error_text", provider=EMAIL + "\ud800", code="1", text=""),
    "division": lambda tx: tx.select("SELECT 1 / length(substr(?, 1, 0))", [EMAIL]),
}


@pytest.mark.parametrize("what", WRONG)
async def test_an_error_names_the_statement_and_no_value(store: Store, what: str) -> None:
    """What goes wrong with values is a bug of ours: it says which statement and how, and quotes nothing of a row."""
    with pytest.raises(QueryError) as caught:
        await store.write(WRONG[what])
    text = said(caught.value)
    for personal in ("jane", "example.com", "7700900123"):
        assert personal not in text
    assert caught.value.__cause__ is None
    name = str(caught.value).partition(":")[0]
    assert name in ("add_error_text", "set_meta", "load_messages", "forget_text", "add_audit", "a search")
    await store.write(put("test-1"))
    assert await keys(store) == {"test-1"}


async def test_errors_of_the_server_hold_no_value(store: Store) -> None:
    """An error of the schema or of a limit is a StoreError with the server's sentence, and quotes nothing of a row."""
    jobs: list[Job[Any]] = [
        lambda tx: tx.select("SELECT nothing FROM contacts WHERE ext_user_id = ?", [EMAIL]),
        lambda tx: tx.select("SELECT * FROM nowhere WHERE x = ?", [EMAIL]),
        lambda tx: tx.run("set_meta", key=EMAIL + random.Random(1).randbytes(9000).hex(), value=b""),
    ]
    for job in jobs:
        with pytest.raises(StoreError, match=r"cannot be used now: .+\.") as caught:
            await store.write(job)
        assert "jane" not in said(caught.value)


async def test_what_a_job_raises_is_left_as_it_is(store: Store) -> None:
    """An exception of a job's own reaches the caller, from a write and from a read."""

    async def fail(tx: Tx) -> None:
        raise LookupError("own")

    for run in (store.write, store.read, store.search, store.claim):
        with pytest.raises(LookupError, match="own"):
            await run(fail)


def test_every_error_of_the_server_is_translated() -> None:
    """Nothing that asyncpg raises gets out as it is, and none of it quotes its further lines."""
    found = [
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type) and issubclass(kind, (asyncpg.PostgresError, asyncpg.InterfaceError))
    ]
    assert len(found) > 200
    for kind in found:
        translated = translate(kind(f"a sentence\nDETAIL: {EMAIL}"), "a search")
        assert isinstance(translated, (StoreError, QueryError)), kind
        assert EMAIL not in str(translated)


# --- the server cannot be reached ---


async def refused(url: str) -> str:
    with pytest.raises(
        StoreError, match=r"^PostgreSQL cannot be reached \(.+\): check database\.url"
    ) as caught:
        await open_store(url, "")
    return caught.value.sentence


async def test_nobody_listens() -> None:
    """A wrong port is said in one sentence, at once."""
    async with asyncio.timeout(PATIENCE):
        await refused(f"postgresql://bridge@127.0.0.1:{free_port()}/bridge")


async def test_no_such_database(postgres: PostgresServer) -> None:
    """The name of the database that is not there stands in the sentence, and so does a user's."""
    assert '"nowhere"' in await refused(postgres.url("nowhere"))
    assert '"nobody"' in await refused(postgres.url("postgres").replace("bridge@", "nobody@"))


async def test_the_password_is_not_said(postgres: PostgresServer) -> None:
    """Whatever is wrong with the URL, its password is in no sentence."""
    for url in (postgres.url("nowhere"), f"postgresql://bridge@127.0.0.1:{free_port()}/bridge"):
        assert "s3cr3t" not in await refused(url.replace("bridge@", "bridge:s3cr3t@"))


@pytest.mark.parametrize("end", [":abc/bridge", "/bridge?sslmode=perhaps"])
async def test_an_url_that_is_none(end: str) -> None:
    """A URL that cannot be understood is a StoreError as well, for whoever starts the program."""
    with pytest.raises(StoreError, match=r"database\.url") as caught:
        await open_store(f"postgresql://bridge:s3cr3t@127.0.0.1{end}", "")
    assert "s3cr3t" not in said(caught.value)


# --- the server goes away ---


@pytest.fixture(scope="module")
def frail() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with running_postgres() as server:
        yield server


@pytest.fixture
async def frail_store(frail: PostgresServer) -> AsyncIterator[PostgresStore]:
    url = await frail.create()
    store = await open_store(url, "")
    yield store
    await store.close()
    await frail.drop(url)


@pytest.mark.parametrize("at_once", [True, False], ids=["crash", "stop"])
async def test_a_server_that_was_stopped(
    frail: PostgresServer, frail_store: PostgresStore, at_once: bool
) -> None:
    """While it is gone every call is a StoreError; when it is there again, the same store works, with what was kept."""
    await asyncio.gather(*(frail_store.write(put(f"test-{number}")) for number in range(6)))
    before = await keys(frail_store)
    frail.stop(at_once=at_once)
    try:
        async with asyncio.timeout(PATIENCE):
            runs = (frail_store.write, frail_store.read, frail_store.search, frail_store.claim) * 2
            errors = await asyncio.gather(
                *(run(lambda tx: tx.one("get_meta", key="test-1")) for run in runs), return_exceptions=True
            )
            for error in errors:
                assert isinstance(error, StoreError)
                assert re.fullmatch(r"The database cannot be used now: .+\.", error.sentence)
            with pytest.raises(StoreError, match="cannot be reached"):
                await open_store(frail.url("bridge"), "")
    finally:
        frail.start()
    await until_it_works(frail_store, put("test-again"))
    assert await keys(frail_store) == before | {"test-again"}


async def test_a_server_that_goes_in_the_middle(frail: PostgresServer, frail_store: PostgresStore) -> None:
    """Transactions that were under way fail with a StoreError, whole; those of after the start are committed."""
    begun = [asyncio.Event() for _ in range(4)]

    def slow(number: int) -> Job[None]:
        async def job(tx: Tx) -> None:
            await put(f"test-{number}")(tx)
            begun[number].set()
            await tx.select("SELECT pg_sleep(60)", ())

        return job

    jobs = [asyncio.ensure_future(frail_store.write(slow(number))) for number in range(4)]
    for event in begun:
        await event.wait()
    frail.stop(at_once=True)
    try:
        async with asyncio.timeout(PATIENCE):
            results = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(result, StoreError) for result in results)
    finally:
        frail.start()
    await until_it_works(frail_store, put("test-after"))
    assert await keys(frail_store) == {"test-after"}


async def test_closing_while_the_server_is_gone(frail: PostgresServer) -> None:
    """A store whose server is gone closes all the same, and soon."""
    url = await frail.create()
    store = await open_store(url, "")
    store.listen(lambda topic: None)
    await asyncio.gather(*(store.write(put(f"test-{number}")) for number in range(6)))
    frail.stop(at_once=True)
    try:
        async with asyncio.timeout(PATIENCE):
            await store.close()
    finally:
        frail.start()
    await frail.drop(url)


# --- a connection goes away ---


async def pid_of(tx: Tx) -> int:
    ((pid,),) = await tx.select("SELECT pg_backend_pid()", ())
    return int(pid)


async def cut(url: str, *pids: int) -> None:
    """As an operator does, or a firewall."""
    connection = await asyncpg.connect(url)
    for pid in pids:
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
        end = time.monotonic() + PATIENCE
        while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
    await connection.close()


async def test_a_connection_that_is_cut_in_a_transaction(store: Store, shared_url: str) -> None:
    """What was not committed for certain is run again on another connection: the caller hears nothing of it."""
    runs = 0

    async def job(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        await put(f"test-half-{runs}")(tx)
        if runs == 1:
            await cut(shared_url, await pid_of(tx))
        await put("test-other-half")(tx)

    await store.write(job)
    assert runs == 2
    assert await keys(store) == {"test-half-2", "test-other-half"}


async def test_connections_that_are_cut_again_and_again(store: Store, shared_url: str) -> None:
    """A transaction that never gets through fails with a StoreError after a while, and leaves nothing."""

    async def job(tx: Tx) -> None:
        await put("test-half")(tx)
        await cut(shared_url, await pid_of(tx))
        await put("test-other-half")(tx)

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StoreError, match="cannot be used now"):
            await store.write(job)
    await store.write(put("test-1"))
    assert await keys(store) == {"test-1"}


async def test_a_connection_that_is_cut_before_the_commit(store: Store, shared_url: str) -> None:
    """Where nobody knows whether it was committed the caller is told, and the job is not run again."""
    runs = 0

    async def job(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        await put("test-lost")(tx)
        await cut(shared_url, await pid_of(tx))

    with pytest.raises(StoreError):
        await store.write(job)
    assert runs == 1
    assert await keys(store) == set()


async def test_a_reading_connection_that_is_cut(store: Store, shared_url: str) -> None:
    """A read whose connection goes fails once, and the next one works."""

    async def job(tx: Tx) -> None:
        await cut(shared_url, await pid_of(tx))
        await tx.one("get_meta", key="x")

    for run in (store.read, store.search):
        with pytest.raises(StoreError):
            await run(job)
        assert await run(lambda tx: tx.one("get_meta", key="x")) is None


async def test_idle_connections_that_were_cut(store: Store, shared_url: str) -> None:
    """Connections that died while nobody used them cost a try or none: the store finds others by itself."""
    pids = await asyncio.gather(*(store.write(pid_of) for _ in range(6)))
    await cut(shared_url, *set(pids))
    await until_it_works(store, put("test-1"))
    assert await keys(store) == {"test-1"}


async def test_a_transaction_that_hangs(store: Store, other: PostgresStore) -> None:
    """The server lets go of a transaction whose client does nothing for five seconds: others get its rows."""
    await store.write(put("test-1"))
    has_it, end = asyncio.Event(), asyncio.Event()

    async def hang(tx: Tx) -> None:
        await put("test-1", b"hanging")(tx)
        has_it.set()
        await end.wait()

    hanging = asyncio.ensure_future(store.write(hang))
    await has_it.wait()
    async with asyncio.timeout(PATIENCE):
        await until_it_works(other, put("test-1", b"other"))
    end.set()
    with pytest.raises(StoreError):
        await hanging
    assert await store.read(lambda tx: tx.one("get_meta", key="test-1")) == (b"other",)


@pytest.fixture
async def other(open_shared: OpenShared) -> PostgresStore:
    """Another process on the same database."""
    return await open_shared()


async def test_callers_that_go_away_at_any_moment(store: Store, shared_url: str) -> None:
    """However writes are cancelled, what was answered is committed whole, and no transaction is left open."""
    rng = random.Random("cancelled")
    answered: set[int] = set()

    async def write(number: int) -> None:
        async def job(tx: Tx) -> None:
            await put(f"test-{number}-left")(tx)
            await put(f"test-{number}-right")(tx)

        await store.write(job)
        answered.add(number)

    for start in range(0, 200, 20):
        writes = [asyncio.ensure_future(write(number)) for number in range(start, start + 20)]
        for one in rng.sample(writes, 12):
            for _ in range(rng.randrange(30)):
                await asyncio.sleep(0)
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.003]))
            one.cancel()
            if rng.random() < 0.3:
                await asyncio.sleep(0)
                one.cancel()
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
    found = await keys(store)
    assert {f"test-{number}-left" for number in answered} <= found
    assert {key.removesuffix("-left") for key in found if key.endswith("-left")} == {
        key.removesuffix("-right") for key in found if key.endswith("-right")
    }
    connection = await asyncpg.connect(shared_url)
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    )
    end = time.monotonic() + PATIENCE
    while await connection.fetchval(open_ones):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    await connection.close()


# --- closing ---


async def test_closing_waits_for_every_kind_of_job(store: PostgresStore) -> None:
    """Writes, reads and searches that were asked before the closing end as they would have; later ones are refused."""
    begun = [asyncio.Event() for _ in range(3)]
    end = asyncio.Event()

    def wait(number: int) -> Callable[[Tx], Any]:
        async def job(tx: Tx) -> int:
            begun[number].set()
            await end.wait()
            ((value,),) = await tx.select("SELECT CAST(? AS BIGINT)", [number])
            return int(value)

        return job

    asked = [
        asyncio.ensure_future(run(wait(number)))
        for number, run in enumerate((store.write, store.read, store.search))
    ]
    for event in begun:
        await event.wait()
    closing = asyncio.ensure_future(store.close())
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await asyncio.shield(closing)
    assert not closing.done()
    with pytest.raises(StoreError, match="closed"):
        await store.write(put("test-1"))
    end.set()
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*asked) == [0, 1, 2]
        await closing


async def test_a_store_uses_few_connections(store: Store, shared_url: str) -> None:
    """However many jobs come at once, a store opens no more connections than it was given."""
    await asyncio.gather(*(store.write(put(f"test-{number}")) for number in range(100)))
    await asyncio.gather(*(store.read(lambda tx: tx.one("get_meta", key="x")) for _ in range(100)))
    await asyncio.gather(*(store.search(lambda tx: tx.one("get_meta", key="x")) for _ in range(100)))
    connection = await asyncpg.connect(shared_url)
    count = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'bridge'"
    )
    await connection.close()
    assert 3 <= count <= 10


# --- a way that is half-open ---


async def test_a_search_does_not_outlast_a_server_that_hangs(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick statement without an answer ends the searches as well, and all is well when the way is open again."""
    monkeypatch.setattr("bridge.store.postgres._QUICK_SECONDS", 1.0)
    url = await postgres.create()
    job: Job[Any] = lambda tx: tx.one("get_meta", key="x")  # noqa: E731
    async with FaultProxy(postgres.port) as proxy:
        store = await open_store(url.replace(f":{postgres.port}/", f":{proxy.port}/"), "")
        await asyncio.gather(*(run(job) for run in (store.search, store.search, store.read, store.write)))
        proxy.fault = FAULTS["half-open"]
        async with asyncio.timeout(PATIENCE):
            runs = (store.search, store.search, store.read, store.write)
            results = await asyncio.gather(*(run(job) for run in runs), return_exceptions=True)
        assert {type(each) for each in results} == {StoreError}
        proxy.heal()
        async with asyncio.timeout(PATIENCE):
            for run in (store.search, store.read, store.write):
                assert await run(job) is None
        await store.close()
    await postgres.drop(url)


async def test_the_system_watches_over_connections(store: PostgresStore) -> None:
    """Keep-alive and a bound on what is not acknowledged: packets that vanish are noticed within half a minute."""
    await store.write(put("test-1"))
    assert store._writer
    connection = next(each._con for each in store._writer._pool._holders if each._con)  # type: ignore[attr-defined]
    sock = connection._transport.get_extra_info("socket")
    with socket.fromfd(sock.fileno(), sock.family, sock.type) as own:
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
