"""Asking the operator's platform: one question at a time for a user, kept answers, and a platform that is away.

The platform is the simulated one on a loopback socket, and the transport is the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bridge.contacts import Away, Directory, Known, UnknownUser
from bridge.core.exchange import Outcome, Request
from bridge.flows.platform import Platform
from bridge.secret import Secret
from bridge.sim import PlatformConfig, PlatformFaults, PlatformSimulator
from bridge.transport import ProviderTransport

STOPPING = Away("the bridge is stopping")


class Clock:
    """A clock that goes when it is told to, or by `step` with each look; in milliseconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000
        self.step = 0

    def __call__(self) -> int:
        self.now += self.step
        return self.now


class Line:
    """The way to the platform, through a real transport. While it is held, requests wait at its beginning."""

    def __init__(self) -> None:
        self.transport = ProviderTransport(64)
        self.waiting = 0
        self.asked = 0
        self.arrived = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()

    async def exchange(self, request: Request) -> Outcome:
        self.waiting += 1
        self.asked += 1
        self.arrived.set()
        try:
            await self.free.wait()
        finally:
            self.waiting -= 1
        return await self.transport.exchange(request)


class Scene:
    """A simulated platform, the way to it, and a clock."""

    def __init__(self, sim: PlatformSimulator) -> None:
        self.sim = sim
        self.line = Line()
        self.clock = Clock()
        self.url = sim.url

    def platform(
        self,
        *,
        cache_seconds: float = 300,
        not_found_cache_seconds: float = 30,
        max_entries: int = 100_000,
        max_questions: int = 2_000,
        timeout_seconds: float = 5.0,
        secret: str = "Bearer hush",
    ) -> Platform:
        """A platform as the bridge sees it."""
        directory = Directory(
            url=f"{self.url}/users/{{ext_user_id}}",
            headers={"Authorization": Secret(secret)},
            phone="phone",
            email="email",
            timeout_seconds=timeout_seconds,
            default_region="",
        )
        return Platform(
            directory,
            self.line.exchange,
            self.clock,
            steady=self.clock,
            cache_seconds=cache_seconds,
            not_found_cache_seconds=not_found_cache_seconds,
            max_entries=max_entries,
            max_questions=max_questions,
        )

    def known(self, ext_user_id: str) -> Known:
        """What the platform knows of one of its users."""
        user = self.sim.find_user(ext_user_id)
        assert user is not None
        return Known(user["phone"], user["email"])

    def lookups(self, ext_user_id: str) -> int:
        """How often the platform was asked for somebody."""
        return self.sim.ledger.lookups[ext_user_id]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A platform with a hundred users, user0 to user99, that wants to see a secret."""
    async with PlatformSimulator(PlatformConfig(user_count=100, authorization="Bearer hush")) as sim:
        opened = Scene(sim)
        yield opened
        await opened.line.transport.close()


# --- one question ---


async def test_a_user_and_nobody(scene: Scene) -> None:
    """A user of the platform is known with both addresses, and anybody else is not."""
    platform = scene.platform()
    assert await platform.find("user7") == scene.known("user7")
    assert await platform.find("nobody") == UnknownUser()
    await platform.close()


async def test_many_callers_ask_once(scene: Scene) -> None:
    """Fifty callers at the same time get one answer to one request."""
    scene.sim.faults = PlatformFaults(slow=1, slow_seconds=0.05)
    platform = scene.platform(cache_seconds=0)
    answers = await asyncio.gather(*(platform.find("user7") for _ in range(50)))
    assert answers == [scene.known("user7")] * 50
    assert scene.lookups("user7") == 1
    await platform.close()


async def test_different_users_are_asked_for_at_once(scene: Scene) -> None:
    """Nobody waits for the question about somebody else."""
    platform = scene.platform()
    scene.line.free.clear()
    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(platform.find(f"user{number}")) for number in range(5)]
        async with asyncio.timeout(5):
            while scene.line.waiting < 5:
                scene.line.arrived.clear()
                await scene.line.arrived.wait()
        scene.line.free.set()
    assert [caller.result() for caller in callers] == [scene.known(f"user{number}") for number in range(5)]
    await platform.close()


async def test_a_user_id_arrives_as_it_is(scene: Scene) -> None:
    """Signs that mean something in an address reach the platform as a part of the user's name."""
    strange = "a/b c?d&e=f#g+h%20é;"
    scene.sim.config = PlatformConfig(users={strange: {"phone": "+14155550100"}}, authorization="Bearer hush")
    platform = scene.platform()
    assert await platform.find(strange) == Known("+14155550100", None)
    assert scene.sim.ledger.lookups == {strange: 1}
    await platform.close()


async def test_a_user_id_that_climbs_is_not_asked_for(scene: Scene) -> None:
    """No request leaves for a user id that would lead to another path."""
    platform = scene.platform()
    for ext_user_id in ("..", ".", "../_sim/summary"):
        assert await platform.find(ext_user_id) == UnknownUser()
    assert not scene.line.arrived.is_set()
    await platform.close()


# --- what is kept ---


async def test_a_user_is_kept_for_a_while(scene: Scene) -> None:
    """To the millisecond: the answer is believed for `cache_seconds`, and then asked for again."""
    platform = scene.platform(cache_seconds=1.5)
    for after, asked in ((0, 1), (1499, 1), (1, 2), (1499, 2), (1, 3)):
        scene.clock.now += after
        assert await platform.find("user7") == scene.known("user7")
        assert scene.lookups("user7") == asked
    await platform.close()


async def test_nobody_is_kept_for_a_time_of_its_own(scene: Scene) -> None:
    """That a user is not known is believed for `not_found_cache_seconds`; then a new user is found."""
    platform = scene.platform(cache_seconds=300, not_found_cache_seconds=2)
    for after, asked in ((0, 1), (1999, 1), (1, 2)):
        scene.clock.now += after
        assert await platform.find("user100") == UnknownUser()
        assert scene.lookups("user100") == asked
    scene.sim.config = PlatformConfig(user_count=101, authorization="Bearer hush")
    scene.clock.now += 2000
    assert await platform.find("user100") == scene.known("user100")
    await platform.close()


@pytest.mark.parametrize("ext_user_id", ["user7", "nobody"])
async def test_zero_seconds_keep_nothing(scene: Scene, ext_user_id: str) -> None:
    """With 0, each caller that comes after an answer asks anew."""
    platform = scene.platform(cache_seconds=0, not_found_cache_seconds=0)
    for _ in range(3):
        await platform.find(ext_user_id)
    assert scene.lookups(ext_user_id) == 3
    assert not platform._kept
    await platform.close()


async def test_a_clock_that_is_set_back_keeps_nothing_longer(scene: Scene) -> None:
    """An answer from the future is asked for again."""
    platform = scene.platform()
    await platform.find("user7")
    scene.clock.now -= 3_600_000
    await platform.find("user7")
    assert scene.lookups("user7") == 2
    await platform.close()


async def test_the_longest_unused_goes_first(scene: Scene) -> None:
    """No more than `max_entries` are kept, and those that were asked for last stay."""
    platform = scene.platform(max_entries=3)
    for ext_user_id in ("user1", "user2", "user3", "user1", "user4"):
        await platform.find(ext_user_id)
        assert len(platform._kept) <= 3
    for ext_user_id in ("user1", "user3", "user4"):
        await platform.find(ext_user_id)
        assert scene.lookups(ext_user_id) == 1
    await platform.find("user2")
    assert scene.lookups("user2") == 2
    await platform.close()


async def test_addresses_do_not_stay_for_want_of_a_question(scene: Scene) -> None:
    """What is too old to be believed leaves memory when anybody else is asked for."""
    platform = scene.platform(cache_seconds=10)
    for number in range(5):
        await platform.find(f"user{number}")
    scene.clock.now += 10_000
    await platform.find("user9")
    assert list(platform._kept) == ["user9"]
    await platform.close()


async def test_the_shortest_time_is_no_trouble(scene: Scene) -> None:
    """An answer that is too old at once, by a clock that goes on with each look, is given all the same."""
    scene.clock.step = 1
    platform = scene.platform(cache_seconds=0.001)
    assert await platform.find("user7") == scene.known("user7")
    assert not platform._kept
    await platform.close()


async def test_who_is_forgotten_is_asked_for_again(scene: Scene) -> None:
    """`forget` drops one user and no other; one that is not known is no trouble."""
    platform = scene.platform()
    for ext_user_id in ("user1", "user2"):
        await platform.find(ext_user_id)
    for ext_user_id in ("user1", "user99"):
        platform.forget(ext_user_id)
    for ext_user_id in ("user1", "user2"):
        await platform.find(ext_user_id)
    assert (scene.lookups("user1"), scene.lookups("user2")) == (2, 1)
    await platform.close()


async def test_who_is_forgotten_meanwhile_is_not_kept(scene: Scene) -> None:
    """An answer that was on its way when the user was forgotten is given to who waits, and not kept."""
    platform = scene.platform()
    scene.line.free.clear()
    caller = asyncio.create_task(platform.find("user7"))
    await scene.line.arrived.wait()
    platform.forget("user7")
    scene.line.free.set()
    assert await caller == scene.known("user7")
    assert not platform._kept
    await platform.close()


# --- away ---


async def test_an_error_is_away_and_not_kept(scene: Scene) -> None:
    """A platform that answers 500 is away for this question only."""
    scene.sim.faults = PlatformFaults(next={"error": 1})
    platform = scene.platform()
    assert await platform.find("user7") == Away("HTTP 500")
    assert platform.away == "HTTP 500"
    assert await platform.find("user7") == scene.known("user7")
    assert not platform.away
    await platform.close()


async def test_a_lost_connection_is_away(scene: Scene) -> None:
    """A reset is no answer, and the next question gets one."""
    scene.sim.faults = PlatformFaults(next={"reset": 1})
    platform = scene.platform()
    assert isinstance(await platform.find("user7"), Away)
    assert await platform.find("user7") == scene.known("user7")
    await platform.close()


async def test_a_refused_secret_is_away(scene: Scene) -> None:
    """401 says nothing about a user, and the reason does not hold the secret."""
    platform = scene.platform(secret="Bearer other")
    assert await platform.find("user7") == Away("HTTP 401")
    await platform.close()


async def test_nothing_listens(scene: Scene) -> None:
    """A platform that is not there is away."""
    async with PlatformSimulator() as gone:
        scene.url = gone.url
    platform = scene.platform()
    assert await platform.find("user7") == Away("no connection could be made")
    await platform.close()


async def test_slower_than_the_time_out(scene: Scene) -> None:
    """A platform that takes too long is away after `timeout_seconds`, for everybody who waits."""
    scene.sim.faults = PlatformFaults(slow=1, slow_seconds=30)
    platform = scene.platform(timeout_seconds=0.2)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(platform.find("user7") for _ in range(3)))
    assert answers == [Away("no answer in time")] * 3
    await platform.close()


async def test_a_change_is_logged_once(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """One warning when the platform goes away, one line when it is back; no user, address or secret in either."""
    platform = scene.platform(cache_seconds=0)
    for faults in (PlatformFaults(), PlatformFaults(error=1), PlatformFaults()) * 2:
        scene.sim.faults = faults
        for _ in range(3):
            await platform.find("user7")
        scene.clock.now += 60_000  # it is not left alone for longer
    await platform.close()
    logged = "".join(capsys.readouterr())
    lines = [line for line in logged.splitlines() if "the operator's platform" in line]
    assert ["warning" in line and "HTTP 500" in line for line in lines] == [True, False] * 2
    assert ["asked again" in line and "info" in line for line in lines] == [False, True] * 2
    for hidden in ("user7", str(scene.known("user7").phone), "hush"):
        assert hidden not in logged


async def test_a_platform_that_is_away_is_left_alone(scene: Scene) -> None:
    """After three questions without an answer nobody waits for it: now and then one asks, until it is back."""
    platform = scene.platform(cache_seconds=0)
    scene.sim.faults = PlatformFaults(error=1)
    for number in range(20):
        assert isinstance(await platform.find(f"user{number}"), Away)
    assert scene.line.asked == 3
    pauses = []
    for _ in range(6):
        before, asked = scene.clock.now, scene.line.asked
        while scene.line.asked == asked:
            scene.clock.now += 100
            assert await platform.find("user1") == Away("HTTP 500")
        pauses.append(scene.clock.now - before)
    assert pauses == [500, 1000, 2000, 4000, 5000, 5000]
    scene.sim.faults = PlatformFaults()
    assert await platform.find("user1") == Away("HTTP 500")
    scene.clock.now += 5000
    for number in range(5):
        assert isinstance(await platform.find(f"user{number}"), Known)
    await platform.close()


async def test_many_new_users_at_once(scene: Scene) -> None:
    """They are asked for 64 at a time, and all are answered; beyond the bound nobody waits."""
    platform = scene.platform(max_questions=200, timeout_seconds=30)
    scene.line.free.clear()
    asking = [asyncio.create_task(platform.find(f"nobody{number}")) for number in range(250)]
    await scene.line.arrived.wait()
    await asyncio.sleep(0)
    assert scene.line.waiting == 64
    assert sum(task.done() for task in asking) == 50
    scene.line.free.set()
    answers = await asyncio.gather(*asking)
    assert answers.count(Away("too many users are being asked for")) == 50
    assert answers.count(UnknownUser()) == 200
    await platform.close()


async def test_who_waits_is_told_when_it_goes_away(scene: Scene) -> None:
    """While it hangs, those in the queue do not wait for one time-out after the other."""
    platform = scene.platform(timeout_seconds=0.3)
    scene.sim.faults = PlatformFaults(slow=1, slow_seconds=5)
    async with asyncio.timeout(3):
        answers = await asyncio.gather(*(platform.find(f"user{number}") for number in range(1_000)))
    assert set(map(type, answers)) == {Away}
    assert scene.line.asked <= 130
    await platform.close()


# --- callers that give up, bugs, and the end ---


async def test_the_first_caller_may_give_up(scene: Scene) -> None:
    """Who started the question is cancelled: the others get their answer, and nobody asks a second time."""
    platform = scene.platform(cache_seconds=0)
    scene.line.free.clear()
    first = asyncio.create_task(platform.find("user7"))
    await scene.line.arrived.wait()
    async with asyncio.TaskGroup() as group:
        others = [group.create_task(platform.find("user7")) for _ in range(10)]
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        scene.line.free.set()
    assert [other.result() for other in others] == [scene.known("user7")] * 10
    assert scene.lookups("user7") == 1
    await platform.close()


async def test_all_callers_may_give_up(scene: Scene) -> None:
    """The question goes on without anybody, and what it brings is there for the next caller."""
    platform = scene.platform()
    scene.line.free.clear()
    caller = asyncio.create_task(platform.find("user7"))
    await scene.line.arrived.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    scene.line.free.set()
    assert await platform.find("user7") == scene.known("user7")
    assert await platform.find("user7") == scene.known("user7")
    assert scene.lookups("user7") == 1
    await platform.close()


async def test_an_exception_reaches_all_and_is_not_kept(scene: Scene) -> None:
    """A transport that was closed too early raises for everybody who waits; the next question is a new one."""
    platform = scene.platform()
    await scene.line.transport.close()
    results = await asyncio.gather(*(platform.find("user7") for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in results] == [RuntimeError] * 5
    scene.line.transport = ProviderTransport(4)
    assert await platform.find("user7") == scene.known("user7")
    await platform.close()


async def test_close_ends_what_is_under_way(scene: Scene) -> None:
    """Who waits is told that the bridge stops; no task is left, nothing is kept, and nobody is asked any more."""
    platform = scene.platform()
    await platform.find("user1")
    scene.line.free.clear()
    scene.line.arrived.clear()
    before = asyncio.all_tasks()
    waiting = [asyncio.create_task(platform.find("user7")) for _ in range(3)]
    await scene.line.arrived.wait()
    await platform.close()
    assert await asyncio.gather(*waiting) == [STOPPING] * 3
    assert asyncio.all_tasks() == before
    assert not platform._kept
    assert await platform.find("user7") == STOPPING
    assert not scene.line.waiting
    assert not scene.lookups("user7")


async def test_close_ends_what_has_hardly_begun(scene: Scene) -> None:
    """A question whose request has not even left is answered by the end, too; and closing twice is no trouble."""
    platform = scene.platform()
    caller = asyncio.create_task(platform.find("user7"))
    await asyncio.sleep(0)  # one turn of the loop: the caller has asked, the question has not begun
    assert platform._questions
    assert not scene.line.arrived.is_set()
    await platform.close()
    await platform.close()
    assert await caller == STOPPING
