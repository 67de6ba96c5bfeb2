"""The other addresses of the simulated provider: reading, stopping, balance, ping, and those under /_sim/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge.sim import RevicomConfig, RevicomFaults, RevicomSimulator

if TYPE_CHECKING:
    from tests.sim.conftest import Eventually, Recorder

GOOD = {"Authorization": "Basic sim-token"}
MESSAGE = {"channelType": "SMS", "senderName": "sms_promo", "destination": "14085553911", "content": "text"}
SLOWLY = RevicomConfig(step_seconds=60)


async def send(client: aiohttp.ClientSession, sim: RevicomSimulator, *messages: dict[str, Any]) -> list[str]:
    """Send messages; their uuids."""
    async with client.post(f"{sim.url}/api/v1/message", json=messages, headers=GOOD) as answer:
        return [item["messageUuid"] for item in (await answer.json())["items"]]


async def read(client: aiohttp.ClientSession, sim: RevicomSimulator, query: str) -> tuple[int, Any]:
    """GET /message with a query."""
    async with client.get(f"{sim.url}/api/v1/message?{query}", headers=GOOD) as answer:
        return answer.status, await answer.json()


async def test_a_message_is_found_by_tag_destination_and_uuid(client: aiohttp.ClientSession) -> None:
    """Each filter alone and several together find the message, with the documented fields and its tags."""
    async with RevicomSimulator(SLOWLY) as sim:
        first, second = await send(
            client, sim, {**MESSAGE, "tags": ["a"]}, {**MESSAGE, "tags": ["b"], "destination": "222"}
        )
        for query, found in {
            "tags=a": [first],
            "tags=a&tags=b": [first, second],
            "tags=a&destination=222": [],
            "destination=222": [second],
            f"message_uuid={second}&message_uuid={first}": [second, first],
            f"message_uuid={second}&tags=a": [],
            "status=sending&channel_type=SMS&sender_name=sms_promo": [first, second],
            "direction=inbound": [],
            "root=false": [],
            "per_page=1&page=2": [second],
        }.items():
            status, answer = await read(client, sim, query)
            assert (status, [item["messageUuid"] for item in answer["items"]]) == (200, found), query
        _, answer = await read(client, sim, "tags=a")
    described = answer["items"][0]
    assert described["tags"] == ["a"]
    assert described["createdTime"].endswith("Z")
    assert {
        key: described[key] for key in ("direction", "channelType", "destination", "content", "totalParts")
    } == {
        "direction": "outbound",
        "channelType": "SMS",
        "destination": "14085553911",
        "content": "text",
        "totalParts": 1,
    }


async def test_the_envelope_can_be_a_bare_array(client: aiohttp.ClientSession) -> None:
    """With bare_list the answer is the array itself."""
    async with RevicomSimulator(RevicomConfig(bare_list=True)) as sim:
        uuids = await send(client, sim, MESSAGE)
        _, answer = await read(client, sim, "")
    assert [item["messageUuid"] for item in answer] == uuids


async def test_a_message_may_be_findable_only_later(client: aiohttp.ClientSession) -> None:
    """Until findable_after_seconds have passed, a message is not found."""
    async with RevicomSimulator(RevicomConfig(findable_after_seconds=60)) as sim:
        await send(client, sim, {**MESSAGE, "tags": ["a"]})
        assert await read(client, sim, "tags=a") == (200, {"items": []})
        sim.ledger.messages[0].accepted_at -= 61
        assert len((await read(client, sim, "tags=a"))[1]["items"]) == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [("page=101", 400), ("per_page=0", 400), ("page=x", 400), ("external_id=1", 400), ("sort=x", 501)],
)
async def test_impossible_queries_are_refused(client: aiohttp.ClientSession, query: str, status: int) -> None:
    """More than 10000 messages, wrong numbers, unknown filters, and filters that are not simulated."""
    async with RevicomSimulator() as sim:
        assert (await read(client, sim, query))[0] == status


async def test_reading_can_fail(client: aiohttp.ClientSession) -> None:
    """The faults of the look-up answer 503 and cut the connection."""
    async with RevicomSimulator(faults=RevicomFaults(next={"lookup_error": 1})) as sim:
        async with client.get(f"{sim.url}/api/v1/message", headers=GOOD) as answer:
            assert answer.status == 503
        sim.faults = RevicomFaults(lookup_reset=1)  # a rate: the client repeats a GET once by itself
        with pytest.raises(aiohttp.ClientError):
            await read(client, sim, "")
        sim.faults = RevicomFaults()
        assert (await read(client, sim, ""))[0] == 200


async def test_stopping(client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually) -> None:
    """A message not sent yet is stopped and becomes unsent; a finished one is 403, an unknown one 404."""
    config = RevicomConfig(step_seconds=0.05, outcome=lambda _: "delivered")
    async with RevicomSimulator(config) as sim:
        [done] = await send(client, sim, MESSAGE)
        await eventually(lambda: sim.ledger.by_uuid[done].status == "delivered")
        [waiting] = await send(client, sim, {**MESSAGE, "callbackUrl": recorder.url})
        uuids = {"uuids": [waiting, done, "nobody"]}
        async with client.post(f"{sim.url}/api/v1/message/stop", json=uuids, headers=GOOD) as answer:
            stopped = await answer.json()
        await eventually(lambda: recorder.elements)
    assert stopped["errors"] is True
    assert [item["code"] for item in stopped["items"]] == [200, 403, 404]
    assert recorder.elements[0]["status"] == "unsent"
    assert sim.ledger.callbacks_pending == 0


async def test_balance_and_ping(client: aiohttp.ClientSession) -> None:
    """The balance wants the key, ping does not."""
    async with RevicomSimulator() as sim:
        async with client.get(f"{sim.url}/api/v1/balance", headers=GOOD) as answer:
            assert await answer.json() == {"USD": 1200.0}
        async with client.get(f"{sim.url}/api/v1/balance") as answer:
            assert answer.status == 401
        async with client.get(f"{sim.url}/api/v1/ping") as answer:
            assert await answer.text() == "PONG"


async def test_everything_shows_over_http(client: aiohttp.ClientSession) -> None:
    """Summary, messages, requests and faults are there for another process, and faults can be set."""
    async with RevicomSimulator(SLOWLY) as sim:
        url = "https://company.com/callback"
        [uuid] = await send(client, sim, {**MESSAGE, "tags": ["a"], "callbackUrl": url})
        async with client.get(f"{sim.url}/_sim/summary") as answer:
            summary = await answer.json()
        async with client.get(f"{sim.url}/_sim/messages") as answer:
            [message] = await answer.json()
        async with client.get(f"{sim.url}/_sim/requests") as answer:
            [request] = await answer.json()
        async with client.put(f"{sim.url}/_sim/faults", json={"slow": 0.5, "next": {"slow": 1}}) as answer:
            assert answer.status == 200
        async with client.put(f"{sim.url}/_sim/faults", json={"nonsense": 1}) as answer:
            assert answer.status == 400
        async with client.get(f"{sim.url}/_sim/faults") as answer:
            assert (await answer.json())["slow"] == 0.5
    assert (summary["accepted"], summary["callbacks_pending"], summary["requests_by_outcome"]) == (
        1,
        1,
        {"accepted": 1},
    )
    assert (message["uuid"], message["tags"], message["channelType"]) == (uuid, ["a"], "SMS")
    assert (message["acknowledged"], request["size"]) == ([], 1)
    assert sim.faults == RevicomFaults(slow=0.5, next={"slow": 1})
