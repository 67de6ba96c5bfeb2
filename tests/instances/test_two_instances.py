"""Two instances on one database, killed and frozen: they lose nothing, send nothing twice, keep the order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from bridge.sim import RevicomConfig, RevicomFaults, SmarticoFaults
from tests.databases import rows
from tests.e2e.receiver import SETTINGS, receiving, tell_all
from tests.e2e.stage import eventually
from tests.instances.cluster import Cluster, open_cluster
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

FAULTS = RevicomFaults(
    slow=0.2, slow_seconds=0.2, early=0.2, shuffle=0.5, repeat_batch=0.2, repeat_element=0.1, reset_after=0.05
)
SMARTICO_FAULTS = SmarticoFaults(error=0.05, slow=0.05, slow_seconds=0.3)


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    """An empty database."""
    made = await postgres.create()
    yield made
    await postgres.drop(made)


def assert_nothing_went_wrong(cluster: Cluster) -> None:
    verdict = cluster.verdict()
    assert not verdict.sent_twice
    assert not verdict.unexpected
    assert not verdict.out_of_order


async def test_both_work_and_nothing_is_done_twice(tmp_path: Path, url: str) -> None:
    """Without any failure: 400 messages over two instances, each sent once, each status reported once, in order."""
    async with open_cluster(tmp_path, url) as cluster:
        await cluster.traffic(400, 200)
        await eventually(cluster.settled, 60)
        verdict = cluster.verdict()
        assert not verdict.lost
        assert_nothing_went_wrong(cluster)
        repeated = [each.ext_message_id for each in cluster.smartico.ledger.listing() if each.repeated]
        assert repeated == []


async def test_kill_9_of_one_after_the_other(tmp_path: Path, url: str) -> None:
    """Six kills during 400 messages, while peers misbehave: the one that is left takes over, and so in turn."""
    draw = random.Random(11)
    faults = {"provider_faults": FAULTS, "smartico_faults": SMARTICO_FAULTS}
    async with open_cluster(tmp_path, url, **faults) as cluster:  # type: ignore[arg-type]
        traffic = cluster.traffic(400, 60)
        for number in range(6):
            await asyncio.sleep(draw.uniform(0.3, 1.2))
            victim = cluster.instances[number % 2]
            await victim.kill()
            await asyncio.sleep(draw.uniform(0.1, 1.0))
            await victim.start()
        await traffic
        assert len(cluster.smartico.ledger.accepted) == 400
        await eventually(cluster.settled, 90)
        assert_nothing_went_wrong(cluster)


async def test_a_dead_instance_is_missed_by_nobody(tmp_path: Path, url: str) -> None:
    """One is killed in the middle and never comes back: the other finishes its work once the leases end."""
    async with open_cluster(tmp_path, url, provider_faults=FAULTS) as cluster:
        traffic = cluster.traffic(200, 80)
        await asyncio.sleep(1.2)
        await cluster.instances[0].kill()
        await traffic
        await eventually(cluster.settled, 60)
        assert_nothing_went_wrong(cluster)


async def test_one_that_hangs_is_taken_over_and_does_no_harm_when_it_wakes(tmp_path: Path, url: str) -> None:
    """One is frozen for longer than its leases, three times: the other goes on, what wakes sends nothing twice."""
    async with open_cluster(tmp_path, url, provider_faults=FAULTS) as cluster:
        traffic = cluster.traffic(300, 50)
        for number in range(3):
            await asyncio.sleep(0.7)
            cluster.instances[number % 2].freeze()
            await asyncio.sleep(3.5)
            cluster.instances[number % 2].thaw()
        await traffic
        await eventually(cluster.settled, 90)
        assert_nothing_went_wrong(cluster)


async def test_an_orderly_stop_gives_its_leases_back(tmp_path: Path, url: str) -> None:
    """After SIGTERM (exit code 0) nothing is leased to the one that stopped, so that the other need not wait."""
    async with open_cluster(tmp_path, url, smartico_faults=SMARTICO_FAULTS) as cluster:
        traffic = cluster.traffic(200, 100)
        await asyncio.sleep(1.0)
        assert await cluster.instances[0].stop() == 0
        await traffic
        await eventually(cluster.settled, 60)
        assert_nothing_went_wrong(cluster)
        assert await cluster.instances[1].stop() == 0
        held = "owner IS NOT NULL AND leased_until > extract(epoch FROM clock_timestamp()) * 1000"
        for condition in (
            "sends WHERE true",
            "batches WHERE state = 'waiting'",
            "reports WHERE state = 'pending'",
            "forwards WHERE state = 'pending'",
        ):
            assert await rows(url, tmp_path, f"SELECT count(*) FROM {condition} AND {held}") == [(0,)]


async def test_some_answer_and_some_work(tmp_path: Path, url: str) -> None:
    """Two that only answer and one that only works: what is accepted is sent, and what comes back is told."""
    async with open_cluster(tmp_path, url, roles=["web", "web", "worker"]) as cluster:
        await cluster.traffic(100, 50)
        await eventually(cluster.settled, 60)
        verdict = cluster.verdict()
        assert not verdict.lost
        assert_nothing_went_wrong(cluster)
        async with httpx.AsyncClient(base_url=cluster.instances[2].url) as worker:
            assert (await worker.get("/readyz")).status_code == 200
            assert (await worker.post("/callbacks/revicom", json=[])).status_code == 404


@pytest.mark.parametrize("roles", [["all", "all"], ["web", "worker", "worker"]])
async def test_what_one_was_passing_on_the_others_pass_on(tmp_path: Path, url: str, roles: list[str]) -> None:
    """One that works is killed and never comes back: all notifications reach the receiver, of each user in order."""
    async with (
        receiving(faults=0.1) as receiver,
        open_cluster(tmp_path, url, roles=roles, sms=SETTINGS.format(url=receiver.url)) as cluster,
    ):
        users = [f"player{number}" for number in range(12)]
        told = asyncio.gather(*(tell_all(cluster.url, user, 10) for user in users))
        await eventually(lambda: len(receiver.got) > 20)
        await cluster.instances[1].kill()
        await told
        await eventually(lambda: len({id_ for id_, _ in receiver.got}) == 120, 60)
        for user in users:
            assert receiver.first_arrivals(user) == list(range(10)), user


async def test_a_silent_message_is_under_review_once(tmp_path: Path, url: str) -> None:
    """No callback ever comes and the provider has no end of 60 messages: both look, one member a message, one item."""
    never = RevicomConfig(token="token-of-revicom", step_seconds=1e6)
    soon = "silent_after_hours = 0.0006"
    async with open_cluster(tmp_path, url, provider=never, revicom=soon) as cluster:
        await cluster.traffic(60, 60)

        async def all_under_review() -> bool:
            counts: list[int] = [each["count"] for each in await cluster.listed("/api/review")]
            return sum(counts) == 60

        await eventually(all_under_review, 60)
        await asyncio.sleep(3)
        assert [each["count"] for each in await cluster.listed("/api/review")] == [60]
        steps = await rows(
            url, tmp_path, "SELECT count(*), count(DISTINCT message_id) FROM steps WHERE kind = 'silent'"
        )
        assert steps == [(60, 60)]
        assert not cluster.smartico.ledger.statuses
        assert_nothing_went_wrong(cluster)
