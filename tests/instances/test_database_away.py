"""The database goes away and comes back, while two instances work: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from bridge.sim import RevicomFaults
from tests.e2e.stage import SMS, BridgeProcess, eventually
from tests.instances.cluster import Cluster, open_cluster
from tests.postgres import PostgresServer, running_postgres
from tests.servers import NO_TLS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

FAULTS = RevicomFaults(early=0.2, shuffle=0.3, repeat_batch=0.1)
BASIC = ("revicom", "password-of-callbacks")


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test's own, to be stopped and started."""
    with running_postgres() as server:
        yield server


@pytest.fixture
async def url(server: PostgresServer) -> str:
    return await server.create()


def assert_nothing_went_wrong(cluster: Cluster) -> None:
    verdict = cluster.verdict()
    assert not verdict.sent_twice
    assert not verdict.unexpected
    assert not verdict.out_of_order


async def ready(instance: BridgeProcess) -> tuple[int, str]:
    async with httpx.AsyncClient(timeout=10, verify=NO_TLS) as client:
        answer = await client.get(f"{instance.url}/readyz")
    return answer.status_code, answer.json().get("reason", "")


async def test_the_server_crashes_in_the_middle_of_traffic(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    """Three crashes and restarts during 300 messages: both instances live on, and everything is told in the end."""
    async with open_cluster(tmp_path, url, provider_faults=FAULTS) as cluster:
        traffic = cluster.traffic(300, 50)
        for _ in range(3):
            await asyncio.sleep(1.0)
            await asyncio.to_thread(server.stop, at_once=True)
            await asyncio.sleep(0.7)
            await asyncio.to_thread(server.start)
        await traffic
        await eventually(cluster.settled, 90)
        assert_nothing_went_wrong(cluster)
        assert all(each.running for each in cluster.instances)


async def test_connections_are_cut_again_and_again(tmp_path: Path, url: str) -> None:
    """Every connection of the bridge is cut ten times a second, also in the middle of commits; then all is settled."""
    async with open_cluster(tmp_path, url) as cluster:
        traffic = cluster.traffic(200, 50)
        axe = await asyncpg.connect(url)
        for _ in range(40):
            await axe.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bridge'"
            )
            await asyncio.sleep(0.1)
        await axe.close()
        await traffic
        await eventually(cluster.settled, 90)
        assert_nothing_went_wrong(cluster)


async def test_what_is_answered_while_it_is_away(tmp_path: Path, server: PostgresServer, url: str) -> None:
    """readyz: 503 and why; callbacks: 503 with Retry-After; sends: error_code 9; all is well when it is back."""
    async with open_cluster(tmp_path, url, roles=["all"]) as cluster:
        (instance,) = cluster.instances
        pid = instance.pid
        await asyncio.to_thread(server.stop, at_once=True)
        status, reason = await ready(instance)
        assert status == 503
        assert "database" in reason
        answer = await cluster.api.post("/callbacks/revicom", json=[{"message_uuid": "1"}], auth=BASIC)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        body = {
            "ext_user_id": "player1",
            "body": "x",
            "im_uid": "1",
            "callback_url": f"{cluster.smartico.url}/c",
        }
        headers = {"Authorization": SMS.authorization}
        refused = await cluster.api.post("/smartico/sms", json=body, headers=headers)
        assert (refused.status_code, refused.json()["error_code"]) == (200, 9)
        await asyncio.to_thread(server.start)

        async def back() -> bool:
            return (await ready(instance))[0] == 200

        await eventually(back)
        assert instance.pid == pid
        again = await cluster.api.post("/smartico/sms", json=body, headers=headers)
        assert again.json()["error_code"] == 0
        await eventually(lambda: len(cluster.provider.ledger.messages) == 1)


async def test_starting_before_the_database(tmp_path: Path, server: PostgresServer, url: str) -> None:
    """A process that starts while the server is away says so at readyz, and takes up its work once it is there."""
    await asyncio.to_thread(server.stop)
    instance = BridgeProcess(tmp_path, "http://127.0.0.1:9", url=url)
    starting = asyncio.create_task(instance.start())
    try:

        async def waits() -> bool:
            try:
                status, reason = await ready(instance)
            except httpx.HTTPError:
                return False
            return status == 503 and "PostgreSQL cannot be reached" in reason

        await eventually(waits)
        await asyncio.to_thread(server.start)
        await starting
        assert await instance.stop() == 0
    finally:
        starting.cancel()
        if instance.running:
            await instance.kill()


async def test_a_wrong_database_is_told_at_once(tmp_path: Path, server: PostgresServer) -> None:
    """A database that does not exist is a wrong setting: one sentence without the password, and exit code 1."""
    url = server.url("nowhere").replace("bridge@", "bridge:hush-hush@")
    instance = BridgeProcess(tmp_path, "http://127.0.0.1:9", url=url)
    code, _, errors = await instance.command("serve", "--port", "0")
    assert code == 1
    assert "nowhere" in errors
    assert "Traceback" not in errors
    assert "hush-hush" not in errors
