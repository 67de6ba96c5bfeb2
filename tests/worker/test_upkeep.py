"""Upkeep, and a clock that leaps."""

from __future__ import annotations

from bridge.flows.pruning import Pruned, Pruning, Retention
from bridge.flows.silence import Finding
from bridge.worker.upkeep import UpkeepPump
from tests.flows.desk import Desk

HOUR = 3_600_000
DAY = 24 * HOUR


class Upkeep:
    """The pump, and what it said."""

    def __init__(self, desk: Desk) -> None:
        self.pruned: list[Pruned] = []
        self.went_back = 0
        self.pump = UpkeepPump(
            desk.store,
            desk.rules,
            lambda: desk.now,
            reported=lambda due: None,
            buried=lambda keys: None,
            recover=nothing,
            pruning=Pruning(desk.store, Retention(90, 7)),
            pruned=self.pruned.append,
            forwards_free=lambda: None,
            went_back=self._back,
            finding=Finding(desk.store, desk.rules),
        )

    def _back(self) -> None:
        self.went_back += 1

    async def work(self) -> int:
        """A round, and all steps of pruning that follow; gives how many rows went."""
        self.pruned.clear()
        self.pump._round_at = 0.0
        for _ in range(20):
            self.pump._prune_at = 0.0
            await self.pump.step()
        return sum(each.count for each in self.pruned)


async def nothing() -> None:
    """There is nothing to recover."""


async def test_nothing_is_pruned_right_after_a_leap(desk: Desk) -> None:
    """A clock that is suddenly a year ahead deletes nothing for a day; one that stays there does then."""
    await desk.accept()
    await desk.submit("uuid-1")
    upkeep = Upkeep(desk)
    assert await upkeep.work() == 0
    desk.now += 365 * DAY
    assert await upkeep.work() == 0
    for _ in range(23):
        desk.now += HOUR
        assert await upkeep.work() == 0
    desk.now += HOUR
    assert await upkeep.work() > 0


async def test_a_leap_that_is_taken_back_deletes_nothing(desk: Desk) -> None:
    """Also in a process that starts meanwhile; and what waits is brought forward when the clock returns."""
    await desk.accept()
    await desk.submit("uuid-1")
    upkeep = Upkeep(desk)
    await upkeep.work()
    desk.now += 365 * DAY
    assert await upkeep.work() == 0
    assert await Upkeep(desk).work() == 0
    desk.now -= 365 * DAY - HOUR
    assert await upkeep.work() == 0
    assert upkeep.went_back == 1
    desk.now += 2 * DAY
    assert await upkeep.work() == 0
    assert upkeep.went_back == 1


async def test_nothing_is_given_up_right_after_a_leap(desk: Desk) -> None:
    """A message that waits is not too old by a clock that was wrong when the service started; an hour later it is."""
    message_id = await desk.accept()
    await Upkeep(desk).work()
    desk.now += 365 * DAY
    for _ in range(2):
        await Upkeep(desk).work()
        assert (await desk.show(message_id)).state == "queued"
        desk.now += HOUR // 2
    await Upkeep(desk).work()
    assert (await desk.show(message_id)).state == "failed"
