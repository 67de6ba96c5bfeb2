"""Transactions of a store: what is committed together, whom a failure concerns, and what readers see."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bridge.errors import StoreError
from bridge.store.tx import Job, Row, Store, Tx

if TYPE_CHECKING:
    from tests.store.conftest import Select


def put(key: str, value: bytes = b"value") -> Job[int]:
    """A job that writes one row."""
    return lambda tx: tx.run("set_meta", key=key, value=value)


def get(key: str) -> Job[Row | None]:
    return lambda tx: tx.one("get_meta", key=key)


async def keys(select: Select) -> set[str]:
    return {key for (key,) in await select("SELECT key FROM meta WHERE key LIKE 'test-%'")}


async def test_concurrent_writers_are_all_committed(store: Store, select: Select) -> None:
    """Five hundred writers at once all come back, and every row is there."""
    await asyncio.gather(*(store.write(put(f"test-{number}")) for number in range(500)))
    assert await keys(select) == {f"test-{number}" for number in range(500)}


async def test_each_writer_gets_its_own_value(store: Store) -> None:
    """The values of jobs that came at once go to the callers they belong to, in any number."""

    def echo(number: int) -> Job[int]:
        async def job(tx: Tx) -> int:
            await tx.run("set_meta", key=f"test-{number}", value=b"")
            return number

        return job

    numbers = list(range(300))
    assert await asyncio.gather(*(store.write(echo(number)) for number in numbers)) == numbers


async def test_what_is_written_can_be_read_at_once(store: Store) -> None:
    """Once a write has come back, every reader sees it."""
    for number in range(20):
        await store.write(put("test-row", b"%d" % number))
        rows = await asyncio.gather(*(store.read(get("test-row")) for _ in range(5)))
        assert rows == [(b"%d" % number,)] * 5


async def test_a_failing_job_harms_no_neighbour(store: Store, select: Select) -> None:
    """Of jobs that came at once only the failing ones fail, each with its own exception, and leave nothing behind."""

    def fail(number: int) -> Job[None]:
        async def job(tx: Tx) -> None:
            await tx.run("set_meta", key=f"test-bad-{number}", value=b"")
            raise LookupError(number)

        return job

    jobs = [fail(number) if number % 7 == 3 else put(f"test-{number}") for number in range(100)]
    results = await asyncio.gather(*(store.write(job) for job in jobs), return_exceptions=True)
    failed = {number: result for number, result in enumerate(results) if isinstance(result, BaseException)}
    assert {number: (type(error), error.args) for number, error in failed.items()} == {
        number: (LookupError, (number,)) for number in range(3, 100, 7)
    }
    assert await keys(select) == {f"test-{number}" for number in range(100) if number not in failed}


async def test_a_broken_statement_harms_no_neighbour(store: Store, select: Select) -> None:
    """A job whose statement cannot run gets a StoreError; those that came with it are committed."""
    jobs: list[Job[object]] = [put(f"test-{number}") for number in range(20)]
    jobs.insert(10, lambda tx: tx.select("SELECT nothing FROM nowhere", ()))
    results = await asyncio.gather(*(store.write(job) for job in jobs), return_exceptions=True)
    assert [type(result) for result in results if isinstance(result, BaseException)] == [StoreError]
    assert len(await keys(select)) == 20


async def test_a_duplicate_harms_no_neighbour(store: Store, select: Select) -> None:
    """A row that may stand only once fails the one job that adds it again, and no StoreError blames the database."""
    add: Job[int] = lambda tx: tx.run("add_text", message_id=b"m" * 16, body=b"")  # noqa: E731
    results = await asyncio.gather(
        store.write(add), store.write(put("test-1")), store.write(add), store.write(put("test-2")),
        return_exceptions=True,
    )  # fmt: skip
    errors = [result for result in results if isinstance(result, BaseException)]
    assert len(errors) == 1
    assert not isinstance(errors[0], StoreError)
    assert await keys(select) == {"test-1", "test-2"}


async def test_a_failed_job_is_whole_or_nothing(store: Store, select: Select) -> None:
    """A job that fails in its middle, alone, leaves nothing of what it wrote before."""

    async def job(tx: Tx) -> None:
        await put("test-1")(tx)
        await tx.run_many("set_meta", [{"key": "test-2", "value": b""}, {"key": "test-3", "value": None}])

    with pytest.raises(Exception, match=r"(?i)null"):
        await store.write(job)
    assert await keys(select) == set()


async def test_the_store_goes_on_after_failures(store: Store, select: Select) -> None:
    """After a failed job the next write is committed as if nothing had been."""

    async def fail(tx: Tx) -> None:
        raise LookupError

    for _ in range(3):
        with pytest.raises(LookupError):
            await store.write(fail)
        with pytest.raises(LookupError):
            await store.read(fail)
    await store.write(put("test-1"))
    assert await keys(select) == {"test-1"}


async def test_values_that_no_database_takes(store: Store, select: Select) -> None:
    """A number too large and half a surrogate pair are the caller's error, and stay with that caller."""
    bad: list[Job[object]] = [
        lambda tx: tx.run("add_step", message_id=b"m", at=2**70, kind="", detail="", actor=""),
        lambda tx: tx.run("add_step", message_id=b"m", at=1, kind="\ud800", detail="", actor=""),
    ]
    results = await asyncio.gather(
        *(store.write(job) for job in [*bad, put("test-1")]), return_exceptions=True
    )
    assert [isinstance(result, Exception) for result in results] == [True, True, False]
    assert await keys(select) == {"test-1"}


async def test_a_caller_that_went_away(store: Store, select: Select) -> None:
    """A cancelled caller harms nobody whose job came at the same time."""
    writes = [asyncio.ensure_future(store.write(put(f"test-{number}"))) for number in range(50)]
    await asyncio.sleep(0)  # they are under way
    for write in writes[::2]:
        write.cancel()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert all(result == 1 for result in results[1::2])
    assert {f"test-{number}" for number in range(1, 50, 2)} <= await keys(select)


async def test_readers_cannot_write(store: Store, select: Select) -> None:
    """A read that tries to change something is refused, and changes nothing."""
    with pytest.raises(StoreError):
        await store.read(put("test-1"))
    assert await keys(select) == set()


async def test_readers_see_no_half_of_a_transaction(store: Store) -> None:
    """While transactions write two rows each, every read finds both alike."""

    def pair(number: int) -> Job[None]:
        async def job(tx: Tx) -> None:
            await tx.run("set_meta", key="test-left", value=b"%d" % number)
            await tx.run("set_meta", key="test-right", value=b"%d" % number)

        return job

    async def read_pairs() -> None:
        for _ in range(100):
            rows = await store.read(
                lambda tx: tx.select("SELECT count(DISTINCT value) FROM meta WHERE key LIKE 'test-%'", ())
            )
            assert rows[0][0] <= 1

    await asyncio.gather(*(store.write(pair(number)) for number in range(200)), read_pairs(), read_pairs())


async def test_closing_waits_for_what_was_asked(store: Store) -> None:
    """Writes that wait when a store is closed are still committed and answered."""
    writes = [asyncio.ensure_future(store.write(put(f"test-{number}"))) for number in range(50)]
    await asyncio.sleep(0)  # they are under way
    await store.close()
    assert await asyncio.gather(*writes) == [1] * 50


async def test_a_closed_store_answers(store: Store) -> None:
    """Whoever comes after the closing gets a StoreError at once, and closing again does nothing."""
    await store.close()
    async with asyncio.timeout(5):
        with pytest.raises(StoreError, match="closed"):
            await store.write(put("test-1"))
        with pytest.raises(StoreError, match="closed"):
            await store.read(get("test-1"))
        await store.close()
