"""Many callers share a transaction: each gets what is its own, and nobody suffers for another one's item."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from bridge.errors import StoreBusyError, StoreError
from bridge.store import together
from bridge.store.together import Together
from bridge.store.tx import Job, Store, Tx
from tests.worker.wrapped import WrappedStore

T = TypeVar("T")
PATIENCE = 30.0  # seconds
WORD = b"word"
AWAY = StoreError("The database cannot be used now: it is away.")


@pytest.fixture
def pii_key() -> str:
    """Nothing here is personal."""
    return ""


class Watched(WrappedStore):
    """A database that counts what is under way, holds it up, and is away for some of the writes."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.writes = 0
        self.under_way = 0
        self.most = 0
        self.failing: set[int] = set()  # by number, from 1
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def write(self, job: Job[T]) -> T:
        self.writes += 1
        number = self.writes
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.go_on.wait()
            if number in self.failing:
                raise AWAY
            return await super().write(job)
        finally:
            self.under_way -= 1


class Book:
    """Stores words, and gives each back in capitals; one that is "bad" is an error after the others were written."""

    def __init__(self, store: Store) -> None:
        self.store = Watched(store)
        self.groups: list[list[str]] = []
        self.job: Callable[[Tx, Sequence[str]], Coroutine[Any, Any, Sequence[str]]] = self._keep
        self.together = Together(self.store, self._run)

    async def add_all(self, words: Sequence[str]) -> list[str | BaseException]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*map(self.together.add, words), return_exceptions=True)

    async def kept(self) -> list[str]:
        rows = await self.store.read(lambda tx: tx.select("SELECT key FROM meta WHERE value = ?", [WORD]))
        return sorted(row[0] for row in rows)

    async def writing(self, count: int) -> None:
        """Waits until so many writes were begun."""
        async with asyncio.timeout(PATIENCE):
            while self.store.writes < count:
                await asyncio.sleep(0)

    async def _run(self, tx: Tx, words: Sequence[str]) -> Sequence[str]:
        self.groups.append(list(words))
        return await self.job(tx, words)

    async def _keep(self, tx: Tx, words: Sequence[str]) -> Sequence[str]:
        for word in words:
            await tx.run("set_meta", key=word, value=WORD)
        if "bad" in words:
            raise ValueError("a bad word")
        return [word.upper() for word in words]


@pytest.fixture
def book(store: Store) -> Book:
    return Book(store)


def some(count: int, first: int = 0) -> list[str]:
    return [f"word-{number:03}" for number in range(first, first + count)]


async def test_results_belong_to_their_callers(book: Book) -> None:
    """Each of many callers gets the result for its own item, and all of them are stored."""
    words = some(150)
    assert await book.add_all(words) == [word.upper() for word in words]
    assert await book.kept() == words


async def test_equal_items_are_items_of_their_own(book: Book) -> None:
    """Two callers with the same item each get the result at their own place."""

    async def numbered(tx: Tx, words: Sequence[str]) -> Sequence[str]:
        return [f"{word}/{number}" for number, word in enumerate(words)]

    book.job = numbered
    assert await book.add_all(["a", "b", "a"]) == ["a/0", "b/1", "a/2"]


async def test_a_result_comes_after_its_commit(book: Book) -> None:
    """Whoever has a result finds the item in the database."""

    async def add(word: str) -> bool:
        await book.together.add(word)
        return word in await book.kept()

    async with asyncio.timeout(PATIENCE):
        assert all(await asyncio.gather(*map(add, some(40))))


async def test_many_callers_need_few_transactions(book: Book) -> None:
    """What arrives at the same time is stored a hundred at once, no more, in the order in which it came."""
    words = some(250)
    await book.add_all(words)
    assert book.store.writes == 3
    assert sorted(book.groups) == [words[:100], words[100:200], words[200:]]


async def test_who_comes_alone_waits_for_nobody(book: Book) -> None:
    """With nothing under way an item is stored at once, by itself."""
    for word in some(3):
        await book.together.add(word)
    assert book.groups == [["word-000"], ["word-001"], ["word-002"]]


async def test_what_comes_meanwhile_goes_together(book: Book) -> None:
    """No more than two transactions are under way at once; what comes while they are goes together in the next one."""
    book.store.go_on.clear()
    first = asyncio.ensure_future(book.together.add("first"))
    await book.writing(1)
    second = asyncio.ensure_future(book.together.add("second"))
    await book.writing(2)
    rest = [asyncio.ensure_future(book.together.add(word)) for word in some(60)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert book.store.writes == 2
    book.store.go_on.set()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(first, second, *rest)
    assert book.store.most == 2
    assert book.store.writes == 3
    assert sorted(map(len, book.groups)) == [1, 1, 60]


async def test_one_failing_item_harms_no_other(book: Book) -> None:
    """An item that the job cannot store is its caller's error alone; nothing of it is kept, and all the rest is."""
    words = some(20)
    results = await book.add_all([*words[:10], "bad", *words[10:]])
    assert isinstance(results[10], ValueError)
    assert results[:10] + results[11:] == [word.upper() for word in words]
    assert await book.kept() == words


async def test_a_value_that_the_database_refuses_harms_no_other(book: Book) -> None:
    """Also where a statement itself fails on one item, the others are stored."""

    async def keep(tx: Tx, words: Sequence[str]) -> Sequence[str]:
        for word in words:
            await tx.run("set_meta", key=word, value=None if word == "nothing" else WORD)
        return words

    book.job = keep
    words = some(6)
    *results, failed = await book.add_all([*words, "nothing"])
    assert results == words
    assert isinstance(failed, Exception)
    assert not isinstance(failed, StoreError)
    assert await book.kept() == words


async def test_a_failing_item_alone_is_tried_once(book: Book) -> None:
    """An item that was by itself in its transaction is not stored a second time after an error."""
    with pytest.raises(ValueError, match="a bad word"):
        await book.together.add("bad")
    assert book.groups == [["bad"]]
    assert await book.together.add("good") == "GOOD"


async def test_a_database_that_is_away_reaches_all_of_a_group(book: Book) -> None:
    """Everybody whose transaction failed gets the error at once, nobody else, and nothing is tried item by item."""
    book.store.failing = {2}
    words = some(250)
    results = await book.add_all(words)
    assert results[100:200] == [AWAY] * 100
    assert results[:100] + results[200:] == [word.upper() for word in words[:100] + words[200:]]
    assert book.store.writes == 3
    assert await book.kept() == words[:100] + words[200:]
    assert await book.together.add("after") == "AFTER"


async def test_a_database_that_goes_away_between_single_items(book: Book) -> None:
    """While a group is stored item by item, an outage costs those that it met: each gets what became of its own."""
    book.store.failing = {3}  # the group, the first one by itself, then the second one
    first, second, bad, last = await book.add_all(["a", "b", "bad", "c"])
    assert (first, second, last) == ("A", AWAY, "C")
    assert isinstance(bad, ValueError)
    assert await book.kept() == ["a", "c"]


async def test_who_goes_away_harms_nobody(book: Book) -> None:
    """Callers that are cancelled, before their transaction or in the middle of it, cost the others nothing."""
    book.store.go_on.clear()
    words = some(150)
    calls = [asyncio.ensure_future(book.together.add(word)) for word in words]
    await book.writing(2)
    late = [asyncio.ensure_future(book.together.add(word)) for word in some(30, 150)]
    await asyncio.sleep(0)
    for each in calls[::3] + late[::2]:
        each.cancel()
    await asyncio.sleep(0)
    book.store.go_on.set()
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*calls, *late, return_exceptions=True)
    gone = {*range(0, 150, 3), *range(150, 180, 2)}
    for number, (word, result) in enumerate(zip(some(180), results, strict=True)):
        if number in gone:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert result == word.upper()
    assert set(await book.kept()) >= {word for number, word in enumerate(some(180)) if number not in gone}


@pytest.mark.parametrize("how", ["bad", "away"])
async def test_who_goes_away_from_a_group_that_fails(book: Book, how: str) -> None:
    """A caller that is gone when its group fails leaves the others their own results and errors."""
    book.store.go_on.clear()
    words = ["a", "b", "bad" if how == "bad" else "c"]
    calls = [asyncio.ensure_future(book.together.add(word)) for word in words]
    await book.writing(1)
    calls[0].cancel()
    if how == "away":
        book.store.failing = {1}
    book.store.go_on.set()
    async with asyncio.timeout(PATIENCE):
        gone, other, last = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(gone, asyncio.CancelledError)
    if how == "bad":
        assert other == "B"
        assert isinstance(last, ValueError)
    else:
        assert (other, last) == (AWAY, AWAY)
    assert await book.together.add("after") == "AFTER"


# --- a database that cannot keep up ---


async def test_who_comes_too_late_is_sent_away_at_once(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once somebody has queued for too long nobody else may; those in line are served, and so is who comes after."""
    monkeypatch.setattr(together, "_CROWDED", 0.05)
    book.store.go_on.clear()
    words = some(250)
    queued = asyncio.create_task(book.add_all(words))
    await book.writing(2)
    await asyncio.sleep(0.1)
    refused = await book.add_all(some(20, first=900))
    assert {type(each) for each in refused} == {StoreBusyError}
    book.store.go_on.set()
    assert await queued == [word.upper() for word in words]
    assert await book.add_all(["after"]) == ["AFTER"]
    assert await book.kept() == ["after", *words]


async def test_a_short_line_is_no_crowd(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being written counts for nothing: only who waits for a transaction to begin stands in line."""
    monkeypatch.setattr(together, "_CROWDED", 0.05)
    book.store.go_on.clear()
    first = []
    for number, word in enumerate(("a", "b"), 1):
        first.append(asyncio.create_task(book.add_all([word])))
        await book.writing(number)
    await asyncio.sleep(0.1)
    third = asyncio.create_task(book.add_all(["c"]))
    await asyncio.sleep(0)
    book.store.go_on.set()
    assert [await each for each in (*first, third)] == [["A"], ["B"], ["C"]]


async def test_nobody_waits_without_end(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that hangs is told as a failure; who gave up while still in line is not stored later."""
    monkeypatch.setattr(together, "_PATIENCE", 0.1)
    book.store.go_on.clear()
    under_way = asyncio.create_task(book.add_all(["a"]))
    await book.writing(1)
    other = asyncio.create_task(book.add_all(["b"]))
    await book.writing(2)
    results = [*await book.add_all(["c"]), *await under_way, *await other]
    assert {type(each) for each in results} == {StoreError}
    book.store.go_on.set()
    monkeypatch.setattr(together, "_PATIENCE", PATIENCE)
    assert await book.add_all(["d"]) == ["D"]
    assert await book.kept() == ["a", "b", "d"]


async def test_who_comes_as_others_leave_is_not_left_waiting() -> None:
    """Who is answered and comes again, just as both transactions come to their end, is served though nobody follows."""
    opened = asyncio.Event()

    class Gated:
        async def write(self, job: Callable[[Tx], Coroutine[Any, Any, Any]]) -> Any:
            await opened.wait()
            return await job(None)  # type: ignore[arg-type]

    async def store_all(_tx: Tx, items: Sequence[str]) -> Sequence[str]:
        return items

    together: Together[str, str] = Together(Gated(), store_all)  # type: ignore[arg-type]

    async def comes_again() -> None:
        await together.add("first")
        await together.add("again")

    async with asyncio.timeout(5):
        first = asyncio.create_task(comes_again())
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # its transaction is under way, so the next one begins another
        other = asyncio.create_task(together.add("other"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        opened.set()
        await asyncio.gather(first, other)
