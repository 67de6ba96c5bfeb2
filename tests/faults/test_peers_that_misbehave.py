"""One service lives through every fault of each peer: it stays responsive and small, and what was accepted arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

import pytest
import pytest_asyncio

from tests.e2e.fault_proxy import FAULTS, Fault
from tests.e2e.stage import CIM, eventually
from tests.faults.scene import TIME_OUT, Scene, open_scene, watching

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90), pytest.mark.asyncio(loop_scope="module")]

HARMLESS = ("latency",)  # slow, but within the time-outs
TO_CALLERS = [name for name, fault in FAULTS.items() if not (fault.instead or fault.endless or fault.tls)]
# The provider's client asks the platform as well: what it does with answers without end is tried there once.
TO_PLATFORM = [name for name, fault in FAULTS.items() if not fault.endless or name == "endless body"]
ANSWERED_WITHIN = 3.0  # seconds, on a busy machine
# What httpx reads piece by piece without letting others have a turn; it ends with the time-out.
ANSWERED_LATER = {"endless interim answers": 6.0}
MOST_GROWTH = (
    64.0  # MiB beyond what it was; an endless answer is 64 MiB for each exchange, and there are several
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """One process for all of these tests."""
    async with open_scene(tmp_path_factory.mktemp("faults")) as opened:
        await opened.send(2)
        await opened.send(2, CIM)
        await opened.settle()
        yield opened


async def no_exchange_was_longer_than_the_time_out(scene: Scene, name: str, **labels: str) -> None:
    """By the bridge's own clock; 2.5 s is the first bound of the histogram above the time-out."""
    short = await scene.metric(f"{name}_bucket", le="2.5", **labels)
    assert short == await scene.metric(f"{name}_count", **labels)


@pytest.mark.parametrize("name", FAULTS)
async def test_provider(scene: Scene, name: str) -> None:
    """Messages are accepted meanwhile; each is sent once, whatever became of the answer, and its statuses follow."""
    proxy = scene.proxies["provider"]
    before, ended = scene.memory(), await scene.metric("bridge_provider_seconds_count", provider="revicom")
    scene.forget_peak()
    async with watching(scene.bridge.url) as watch:
        proxy.hits, proxy.fault = 0, FAULTS[name]
        if FAULTS[name].tls:
            proxy.cut_all()
        began = perf_counter()
        assert {answer.error_code for answer in await scene.send(5)} == {0}
        assert perf_counter() - began < ANSWERED_LATER.get(name, ANSWERED_WITHIN)

        async def tried() -> bool:
            count = await scene.metric("bridge_provider_seconds_count", provider="revicom")
            return proxy.hits >= 1 and (name in HARMLESS or count >= ended + 2)

        await eventually(tried, 10)
        proxy.heal()
        await scene.settle()
    assert proxy.hits >= 1
    assert watch.slowest < ANSWERED_LATER.get(name, ANSWERED_WITHIN)
    assert scene.memory("VmHWM") - before < MOST_GROWTH
    await no_exchange_was_longer_than_the_time_out(scene, "bridge_provider_seconds", provider="revicom")


@pytest.mark.parametrize("name", FAULTS)
async def test_smartico(scene: Scene, name: str) -> None:
    """Messages are accepted and sent meanwhile; every status arrives, in order, once answers come again."""
    proxy = scene.proxies["smartico"]
    before, ended = scene.memory(), await scene.metric("bridge_report_seconds_count")
    scene.forget_peak()
    async with watching(scene.bridge.url) as watch:
        proxy.hits, proxy.fault = 0, FAULTS[name]
        if FAULTS[name].tls:
            proxy.cut_all()
        sent = len(scene.stage.provider.ledger.messages)
        assert {answer.error_code for answer in await scene.send(5)} == {0}
        await eventually(lambda: len(scene.stage.provider.ledger.messages) == sent + 5, 10)

        async def tried() -> bool:
            return proxy.hits >= 1 and await scene.metric("bridge_report_seconds_count") >= ended + 5

        await eventually(tried, 10)
        proxy.heal()
        await scene.settle()
    assert proxy.hits >= 1
    assert watch.slowest < ANSWERED_WITHIN
    assert scene.memory("VmHWM") - before < MOST_GROWTH
    await no_exchange_was_longer_than_the_time_out(scene, "bridge_report_seconds")


@pytest.mark.parametrize("name", TO_PLATFORM)
async def test_platform(scene: Scene, name: str) -> None:
    """Who a user is cannot be asked: error_code 6 within the time-out. A Custom IM is accepted, and arrives later."""
    proxy = scene.proxies["platform"]
    before, ended = scene.memory(), await scene.metric("bridge_provider_seconds_count", provider="inbox")
    scene.forget_peak()
    async with watching(scene.bridge.url) as watch:
        proxy.hits, proxy.fault = 0, FAULTS[name]
        if FAULTS[name].tls:
            proxy.cut_all()
        expected = 0 if name in HARMLESS else 6
        began = perf_counter()
        assert {answer.error_code for answer in await scene.send(3)} == {expected}
        assert {answer.error_code for answer in await scene.send(3, CIM)} == {0}
        assert perf_counter() - began < TIME_OUT + ANSWERED_LATER.get(name, ANSWERED_WITHIN)

        async def tried() -> bool:
            count = await scene.metric("bridge_provider_seconds_count", provider="inbox")
            return proxy.hits >= 1 and count > ended

        await eventually(tried, 10)
        proxy.heal()
        await scene.settle()

        async def known_again() -> bool:
            return {answer.error_code for answer in await scene.send(1)} == {0}

        await eventually(known_again, 10)
        await scene.settle()
    assert proxy.hits >= 1
    assert watch.slowest < ANSWERED_LATER.get(name, ANSWERED_WITHIN)
    assert scene.memory("VmHWM") - before < MOST_GROWTH
    await no_exchange_was_longer_than_the_time_out(scene, "bridge_provider_seconds", provider="inbox")


@pytest.mark.parametrize("name", TO_CALLERS)
async def test_callers(scene: Scene, name: str) -> None:
    """The same between Smartico, the provider's callbacks and us: they repeat, and nothing happens twice."""
    proxy = scene.proxies["callers"]
    async with watching(scene.bridge.url) as watch:
        proxy.hits, proxy.fault = 0, FAULTS[name]
        sending = asyncio.create_task(scene.send(5))
        await eventually(lambda: proxy.hits >= 5, 10)
        proxy.heal()
        assert {answer.error_code for answer in await sending} == {0}
        proxy.hits, proxy.fault = 0, FAULTS[name]
        await eventually(lambda: proxy.hits >= 1 or scene.settled(), 10)
        proxy.heal()
        await scene.settle()
    assert watch.slowest < ANSWERED_WITHIN


async def test_everything_at_once(scene: Scene) -> None:
    """A third of all exchanges with all peers goes wrong, in ways that change ten times a second, for 100 messages."""
    draw = scene.proxies["provider"]._draw
    ways = [
        *FAULTS.values(),
        Fault(latency=0.05, cut_answer=50),
        Fault(latency=0.05, reset=True, cut_request=0),
    ]
    before = scene.memory()

    async def trouble() -> None:
        while True:
            for name, proxy in scene.proxies.items():
                proxy.chance = 0.33
                proxy.fault = draw.choice(
                    [FAULTS[each] for each in TO_CALLERS] if name == "callers" else ways
                )
            await asyncio.sleep(0.1)

    async with watching(scene.bridge.url) as watch:
        troubling = asyncio.create_task(trouble())
        try:
            for _ in range(10):
                await asyncio.gather(scene.send(5), scene.send(5, CIM))
        finally:
            troubling.cancel()
        for proxy in scene.proxies.values():
            proxy.heal()
            proxy.chance = 1.0
        await scene.settle(30)
    assert watch.slowest < ANSWERED_WITHIN
    assert scene.memory() - before < MOST_GROWTH
