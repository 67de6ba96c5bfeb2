"""Statistics for many who ask: computed once, kept for a while, and never for longer than they are worth."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

import pytest
from msgspec.structs import replace

from bridge.core.moments import format_time
from bridge.errors import StoreError
from bridge.flows.stats import CostJson, Stats, recent
from bridge.flows.stats_csv import stats_csv
from bridge.store.stats import Dimension
from bridge.store.tx import Job, Store
from tests.flows.desk import NOW, Desk

HOUR = 3_600_000
DAY = 24 * HOUR


class Slow:
    """The store of a desk; a search takes so long, as its clock goes, and waits until it may end."""

    def __init__(self, desk: Desk, takes: int = 0) -> None:
        self._desk = desk
        self._store: Store = desk.store
        self.takes = takes
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0
        self.error: Exception | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def search(self, job: Job[Any]) -> Any:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.may_end.wait()
            self._desk.now += self.takes
            if self.error:
                raise self.error
            return await self._store.search(job)
        finally:
            self.at_once -= 1


def stats_of(desk: Desk, slow: Slow, **how: Any) -> Stats:
    return Stats(slow, lambda: desk.now, **how)  # type: ignore[arg-type]  # of a store it needs no more


async def test_an_answer(desk: Desk) -> None:
    """Times are RFC 3339, an hour is its beginning and a day its date, and every count has its place."""
    await desk.accept()
    await desk.submit("uuid-1")
    answer = await stats_of(desk, Slow(desk)).get(
        NOW - DAY, NOW + 1, [Dimension.DAY, Dimension.HOUR, Dimension.DAY]
    )
    assert (answer.since, answer.until) == (format_time(NOW - DAY), format_time(NOW + 1))
    assert (answer.by, answer.time_zone, answer.computed_at) == (["day", "hour"], "UTC", format_time(NOW))
    (item,) = answer.items
    assert item.key == {"day": "2027-01-15", "hour": "2027-01-15T08:00:00.000Z"}
    assert (item.messages, item.states["submitted"], item.handed, item.delivery_rate) == (1, 1, 1, 0.0)
    assert (item.time_to_delivery_ms.p50, item.cost) == (None, {})
    assert answer.total.messages == 1
    assert len(answer.total.states) == len(answer.total.statuses) == 8


async def test_without_an_end_it_is_now(desk: Desk) -> None:
    """An open end is the moment of the computation."""
    answer = await stats_of(desk, Slow(desk)).get(NOW - DAY)
    assert answer.until == answer.computed_at == format_time(NOW)


async def test_a_quick_answer_is_kept_for_five_seconds(desk: Desk) -> None:
    """Until then the same answer comes from memory, with the time that it is about; after that it is computed anew."""
    slow = Slow(desk)
    stats = stats_of(desk, slow)
    first = await stats.get(NOW - DAY)
    await desk.accept()
    desk.now += 5_000
    assert await stats.get(NOW - DAY) is first
    desk.now += 1
    second = await stats.get(NOW - DAY)
    assert (second.total.messages, second.computed_at) == (1, format_time(NOW + 5_001))
    assert slow.asked == 2


async def test_a_slow_answer_is_kept_for_ten_times_as_long_as_it_took(desk: Desk) -> None:
    """What took 3 s may be 30 s old, counted from its beginning."""
    slow = Slow(desk, takes=3_000)
    stats = stats_of(desk, slow)
    first = await stats.get(NOW - DAY)
    desk.now = NOW + 30_000
    assert await stats.get(NOW - DAY) is first
    desk.now += 1
    assert await stats.get(NOW - DAY) is not first


async def test_who_asks_the_same_waits_for_the_same(desk: Desk) -> None:
    """Ten at a time cost one computation; other questions are other computations, one after the other."""
    slow = Slow(desk)
    slow.may_end.clear()
    stats = stats_of(desk, slow)
    same = [asyncio.create_task(stats.get(NOW - DAY)) for _ in range(10)]
    others = [asyncio.create_task(stats.get(NOW - DAY, None, [each])) for each in Dimension]
    await asyncio.sleep(0.05)
    assert slow.asked == 1
    slow.may_end.set()
    answers = await asyncio.gather(*same, *others)
    assert len({id(answer) for answer in answers[:10]}) == 1
    assert (slow.asked, slow.most_at_once) == (1 + len(Dimension), 1)


async def test_who_gives_up_takes_it_from_nobody(desk: Desk) -> None:
    """The first asker goes away, and the second one gets the answer of the same computation."""
    slow = Slow(desk)
    slow.may_end.clear()
    stats = stats_of(desk, slow)
    first, second = [asyncio.create_task(stats.get(NOW - DAY)) for _ in range(2)]
    await asyncio.sleep(0.01)
    first.cancel()
    slow.may_end.set()
    assert (await second).total.messages == 0
    assert first.cancelled() or first.cancelling()
    assert slow.asked == 1


async def test_a_failure_is_not_kept(desk: Desk) -> None:
    """Whoever waits is told, and who asks next gets an answer."""
    slow = Slow(desk)
    slow.error = StoreError("The database cannot be used now.")
    stats = stats_of(desk, slow)
    with pytest.raises(StoreError):
        await stats.get(NOW - DAY)
    slow.error = None
    assert (await stats.get(NOW - DAY)).total.messages == 0


async def test_few_answers_are_kept(desk: Desk) -> None:
    """Beyond the bound the one that was asked for longest ago goes."""
    slow = Slow(desk)
    stats = stats_of(desk, slow, max_entries=2)
    for since in (1, 2, 1, 3, 1):
        await stats.get(since)
    assert slow.asked == 3
    await stats.get(2)
    assert slow.asked == 4


@pytest.mark.parametrize(
    ("length", "step"),
    [(HOUR, 60_000), (6 * HOUR, 60_000), (DAY, 600_000), (2 * DAY, 600_000), (30 * DAY, HOUR)],
)
def test_a_recent_time_begins_roundly(length: int, step: int) -> None:
    """It begins at a round time, not later than asked for, and less than a step before it."""
    for now in (NOW, NOW + 1, NOW + 59_999, NOW + 1_234_567):
        since = recent(now, length)
        assert since % step == 0
        assert 0 <= now - length - since < step


async def test_a_glance(desk: Desk) -> None:
    """A page gets what was counted the last time, at once, while newer figures are on their way; then those."""
    slow = Slow(desk)
    stats = stats_of(desk, slow)
    by = [Dimension.HOUR, Dimension.GATEWAY]
    await desk.accept()
    first, coming = await stats.glance(DAY, HOUR, by, 0.0, None)
    assert first is not None
    assert (first.since, coming) == ((NOW - DAY) // HOUR * HOUR, False)
    assert first.total.messages == 0  # until now, so without what came at this very moment
    desk.now += HOUR
    slow.may_end.clear()
    assert await stats.glance(DAY, HOUR, by, 0.0, None) == (first, True)
    slow.may_end.set()
    second, coming = await stats.glance(DAY, HOUR, by, 60.0, None)
    assert second is not None
    assert (second.total.messages, second.since, coming) == (1, first.since + HOUR, False)


async def test_the_first_glance(desk: Desk) -> None:
    """Where nothing was ever counted there is nothing to give, and the counting goes on for whoever comes back."""
    slow = Slow(desk)
    stats = stats_of(desk, slow)
    slow.may_end.clear()
    assert await stats.glance(DAY, HOUR, [], 60.0, 0.0) == (None, True)
    slow.may_end.set()
    found, coming = await stats.glance(DAY, HOUR, [], 0.0, None)
    assert (found is not None, coming, slow.asked) == (True, False, 1)


async def test_a_glance_that_fails(desk: Desk) -> None:
    """A failure is told, and nothing old is shown in its place."""
    slow = Slow(desk)
    stats = stats_of(desk, slow)
    await stats.glance(DAY, HOUR, [], 60.0, None)
    desk.now += HOUR
    slow.error = StoreError("away")
    with pytest.raises(StoreError):
        await stats.glance(DAY, HOUR, [], 60.0, None)


async def test_what_was_counted_tells_by_less(desk: Desk) -> None:
    """By fewer dimensions, and of one value only, without asking the database again."""
    slow = Slow(desk)
    await desk.accept()
    await desk.submit("uuid-1")
    desk.now += 1
    found, _ = await stats_of(desk, slow).glance(
        DAY, HOUR, [Dimension.CHANNEL, Dimension.PROVIDER, Dimension.MINUTE], 0.0, None
    )
    assert found is not None
    (item,) = found.by(Dimension.MINUTE).items
    assert (item.key, item.messages) == ({"minute": "2027-01-15T08:00:00.000Z"}, 1)
    assert found.only(Dimension.PROVIDER, "revicom").by(Dimension.CHANNEL).total.handed == 1
    nobody = found.only(Dimension.PROVIDER, "nobody")
    assert (nobody.by(Dimension.CHANNEL).items, nobody.total.messages) == ([], 0)
    assert slow.asked == 1


async def test_csv(desk: Desk) -> None:
    """A row for each group with every count; what nobody charged is empty."""
    await desk.accept()
    await desk.submit("uuid-1")
    answer = await stats_of(desk, Slow(desk)).get(NOW - DAY, NOW + 1, [Dimension.GATEWAY])
    cost = {"EUR": CostJson("0.10", None)}
    items = [replace(answer.items[0], cost=cost), answer.items[0]]
    answer = replace(answer, items=items, total=replace(answer.total, cost=cost))
    head, *rows = list(csv.reader(io.StringIO(stats_csv(answer).decode())))
    assert head[:2] == ["gateway", "messages"]
    assert head[-3:] == ["parts", "cost_EUR", "cost_per_delivered_EUR"]
    told = [dict(zip(head, row, strict=True)) for row in rows]
    assert (told[0]["gateway"], told[0]["submitted"], told[0]["delivery_rate"]) == ("sms", "1", "0.0")
    assert [each["cost_EUR"] for each in told] == ["0.10", ""]
