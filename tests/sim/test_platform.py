"""The simulated operator platform: users, notifications and faults."""

from __future__ import annotations

import aiohttp
import pytest

from bridge.sim import PlatformConfig, PlatformFaults, PlatformSimulator


async def get(client: aiohttp.ClientSession, sim: PlatformSimulator, user: str) -> tuple[int, object]:
    """Ask for a user."""
    async with client.get(f"{sim.url}/users/{user}") as answer:
        return answer.status, await answer.json(content_type=None) if answer.status < 500 else None


async def test_users_are_made_up(client: aiohttp.ClientSession) -> None:
    """Every user of the count has a number and an address, always the same; others are 404."""
    async with PlatformSimulator(PlatformConfig(user_count=100)) as sim:
        status, user = await get(client, sim, "user7")
        assert (status, user) == (200, sim.find_user("user7"))
        assert (await get(client, sim, "user100"))[0] == 404
        assert (await get(client, sim, "nobody"))[0] == 404
        everybody = [sim.find_user(one) for one in sim.user_ids()]
    assert len({str(one) for one in everybody}) == 100
    assert all(one and one["phone"].startswith("+1") and len(one["phone"]) == 12 for one in everybody)
    assert sim.summary()["answers"] == {"200": 1, "404": 2}


async def test_users_can_be_given(client: aiohttp.ClientSession) -> None:
    """A dictionary takes the place of the made up users."""
    users = {"a b": {"phone": "+14155550100", "email": "a@example.com"}}
    async with PlatformSimulator(PlatformConfig(users=users)) as sim:
        assert await get(client, sim, "a%20b") == (200, users["a b"])
        assert (await get(client, sim, "user1"))[0] == 404
    assert sim.user_ids() == ["a b"]


async def test_authorization_may_be_wanted(client: aiohttp.ClientSession) -> None:
    """With an authorization in the config, others are refused."""
    async with PlatformSimulator(PlatformConfig(authorization="Bearer x")) as sim:
        assert (await get(client, sim, "user1"))[0] == 401
        async with client.get(f"{sim.url}/users/user1", headers={"Authorization": "Bearer x"}) as answer:
            assert answer.status == 200


async def test_notifications_are_kept(client: aiohttp.ClientSession) -> None:
    """Notifications are stored and answered with 202; repeats are counted, other bodies refused."""
    body = {"ext_message_id": "one", "body": "Hi", "extension": {"title": "x"}}
    async with PlatformSimulator() as sim:
        for _ in range(2):
            async with client.post(f"{sim.url}/notifications", json=body) as answer:
                assert answer.status == 202
        async with client.post(f"{sim.url}/notifications", data=b"[") as answer:
            assert answer.status == 400
        async with client.get(f"{sim.url}/_sim/messages") as answer:
            assert await answer.json() == [body, body]
    assert sim.summary()["notifications_repeated"] == 1


async def test_faults(client: aiohttp.ClientSession) -> None:
    """Errors, resets and slowness, for exactly the next request of each."""
    faults = PlatformFaults(next={"error": 1, "slow": 1}, slow_seconds=0.01)
    async with PlatformSimulator(faults=faults) as sim:
        assert (await get(client, sim, "user1"))[0] == 500
        assert (await get(client, sim, "user1"))[0] == 200
        sim.faults = PlatformFaults(reset=1)
        with pytest.raises(aiohttp.ClientError):
            await get(client, sim, "user1")
        sim.faults = PlatformFaults(reset_after=1)
        with pytest.raises(aiohttp.ClientError):
            await client.post(f"{sim.url}/notifications", json={"ext_message_id": "one"})
    assert len(sim.ledger.notifications) == 1
