"""POST /message of the simulated provider: what it accepts, what it refuses and how."""

from typing import Any

import aiohttp
import pytest

from bridge.sim import RevicomConfig, RevicomSimulator

GOOD = {"Authorization": "Basic sim-token"}
MESSAGE: dict[str, Any] = {
    "channelType": "SMS",
    "senderName": "sms_promo",
    "destination": "14085553911",
    "content": "message text",
}
SAMPLE = {
    **MESSAGE,
    "ttl": 600,
    "externalMessageId": "ksjhdf3428yqwr8fhjhfkdj",
    "callbackUrl": "https://login:pass%40word@company.com:8443/callback?x=1",
    "callbackEvents": ["sent", "delivered"],
    "tags": ["tag1", "tag2"],
}
WHATSAPP = {**MESSAGE, "channelType": "WHATSAPP", "content": {"contentType": "text", "text": "hello"}}


async def post(
    client: aiohttp.ClientSession, sim: RevicomSimulator, body: Any, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """POST /message with the right header; the status and the JSON answered."""
    async with client.post(f"{sim.url}/api/v1/message", json=body, headers=headers or GOOD) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    "message",
    [
        SAMPLE,
        WHATSAPP,
        {**MESSAGE, "channelType": "VK", "content": "x" * 2048},
        {**MESSAGE, "useLocalTime": False, "hours": [9, 10], "days": [1, 7], "shortUrl": True, "ttl": 86400},
    ],
)
async def test_documented_messages_are_taken(client: aiohttp.ClientSession, message: dict[str, Any]) -> None:
    """A message with documented fields comes back as an item with code 201 and a uuid."""
    async with RevicomSimulator() as sim:
        status, answer = await post(client, sim, [message])
    assert (status, answer["errors"]) == (200, False)
    assert answer["items"][0]["code"] == 201
    assert answer["items"][0].get("externalMessageId") == message.get("externalMessageId")
    assert answer["items"][0]["messageUuid"] == sim.ledger.messages[0].uuid


async def test_items_come_in_the_order_of_the_request(client: aiohttp.ClientSession) -> None:
    """A thousand messages are taken at once, and the items keep their order."""
    async with RevicomSimulator() as sim:
        batch = [{**MESSAGE, "tags": [f"t{number}"]} for number in range(1000)]
        _, answer = await post(client, sim, batch)
        tags = [sim.ledger.by_uuid[item["messageUuid"]].tags[0] for item in answer["items"]]
    assert tags == [f"t{number}" for number in range(1000)]
    assert sim.summary()["largest_request"] == 1000


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 4010),
        ({"Authorization": "Basic other"}, 4012),
        ({"Authorization": "basic sim-token"}, 4012),
        ({"Authorization": "Bearer sim-token"}, 4012),
    ],
)
async def test_wrong_keys_are_refused(
    client: aiohttp.ClientSession, headers: dict[str, str], code: int
) -> None:
    """A missing header is 4010, any other than the exact one 4012, both with HTTP 401."""
    async with (
        RevicomSimulator() as sim,
        client.post(f"{sim.url}/api/v1/message", json=[MESSAGE], headers=headers) as answer,
    ):
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == code
    assert not sim.ledger.messages


async def test_other_content_types_are_refused(client: aiohttp.ClientSession) -> None:
    """The body has to be declared as JSON."""
    async with RevicomSimulator() as sim:
        status, _ = await post(client, sim, [MESSAGE], {**GOOD, "Content-Type": "text/plain"})
    assert status == 415


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"channelType": "PIGEON"}, "channelType"),
        ({"senderName": ""}, "senderName"),
        ({"destination": "+14085553911"}, "destination"),
        ({"destination": 14085553911}, "destination"),
        ({"content": {"contentType": "text", "text": "x"}}, "content"),
        ({"content": ""}, "content"),
        ({"content": "\ufeffx"}, "content"),
        ({"channelType": "WHATSAPP"}, "content"),
        (
            {"channelType": "WHATSAPP", "content": {"contentType": "image", "text": "x"}},
            "content.contentType",
        ),
        ({"channelType": "WHATSAPP", "content": {"contentType": "text"}}, "content.text"),
        ({"channelType": "WHATSAPP", "content": {"contentType": "text", "text": "x", "y": 1}}, "content.y"),
        ({"channelType": "VK", "content": "x" * 2049}, "content"),
        ({"tags": ["has-hyphen"]}, "tags"),
        ({"tags": "tag"}, "tags"),
        ({"ttl": 59}, "ttl"),
        ({"ttl": 86401}, "ttl"),
        ({"ttl": True}, "ttl"),
        ({"hours": [24]}, "hours"),
        ({"hours": [1, 1]}, "hours"),
        ({"days": [0]}, "days"),
        ({"useLocalTime": "yes"}, "useLocalTime"),
        ({"localSendTime": "2020-10-16T18:51:13Z"}, "localSendTime"),
        ({"localSendTime": "2020-10-16 18:51:13"}, "localSendTime"),
        ({"shortUrl": 1}, "shortUrl"),
        ({"callbackUrl": "company.com/callback"}, "callbackUrl"),
        ({"callbackUrl": "https://lo gin:x@company.com/callback"}, "callbackUrl"),
        ({"callbackUrl": "https://a:b@c@company.com/callback"}, "callbackUrl"),
        ({"callbackEvents": ["opened"]}, "callbackEvents"),
        ({"externalMessageId": "x" * 101}, "externalMessageId"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_one_bad_message_refuses_the_request(
    client: aiohttp.ClientSession, change: dict[str, Any], path: str
) -> None:
    """A broken rule is a 400 for the whole request that names the field; nothing is taken."""
    async with RevicomSimulator() as sim:
        status, answer = await post(client, sim, [MESSAGE, {**MESSAGE, **change}])
    assert (status, answer["error"]["code"]) == (400, 400)
    assert answer["error"]["msg"].startswith(f"[1].{path}: ")
    assert not sim.ledger.messages


@pytest.mark.parametrize("name", ["channelType", "senderName", "destination", "content"])
async def test_required_fields_are_required(client: aiohttp.ClientSession, name: str) -> None:
    """Each of the four required fields is missed."""
    message = {key: value for key, value in MESSAGE.items() if key != name}
    async with RevicomSimulator() as sim:
        _, answer = await post(client, sim, [message])
    assert answer["error"]["msg"] == f"[0].{name}: is required"


@pytest.mark.parametrize("body", [[], MESSAGE, [MESSAGE] * 1001, ["text"], [None]])
async def test_other_bodies_are_refused(client: aiohttp.ClientSession, body: Any) -> None:
    """The body has to be an array of 1 to 1000 objects."""
    async with RevicomSimulator() as sim:
        status, _ = await post(client, sim, body)
    assert status == 400


async def test_what_is_not_json_is_refused(client: aiohttp.ClientSession) -> None:
    """Broken JSON is a 400."""
    headers = {**GOOD, "Content-Type": "application/json"}
    async with (
        RevicomSimulator() as sim,
        client.post(f"{sim.url}/api/v1/message", data=b"[{", headers=headers) as answer,
    ):
        assert answer.status == 400


async def test_single_items_are_refused(client: aiohttp.ClientSession) -> None:
    """Unapproved senders and chosen destinations come back as items without uuid, the rest is taken."""
    config = RevicomConfig(senders=frozenset({"sms_promo"}), refused_destinations=frozenset({"222"}))
    batch = [MESSAGE, {**MESSAGE, "senderName": "other"}, {**MESSAGE, "destination": "222", "tags": ["b"]}]
    async with RevicomSimulator(config) as sim:
        status, answer = await post(client, sim, batch)
    assert (status, answer["errors"]) == (200, True)
    assert [item["code"] for item in answer["items"]] == [201, 403, 403]
    assert answer["items"][1:] == [{"code": 403}, {"code": 403}]
    assert sim.ledger.refused[1].tags == ("b",)
    assert sim.summary()["accepted"] == 1


async def test_invalid_destinations_spoil_the_request(client: aiohttp.ClientSession) -> None:
    """A destination from the config makes a 400, and the message counts as refused once it stands alone."""
    async with RevicomSimulator(RevicomConfig(invalid_destinations=frozenset({"222"}))) as sim:
        bad = {**MESSAGE, "destination": "222", "tags": ["bad"]}
        _, answer = await post(client, sim, [MESSAGE, bad])
        assert answer["error"]["msg"] == "[1].destination: no such number"
        assert not sim.ledger.refused
        await post(client, sim, [bad])
    assert sim.ledger.refused[0].tags == ("bad",)


async def test_the_same_tag_twice_is_counted(client: aiohttp.ClientSession) -> None:
    """Two messages with one tag show up as a duplicate send."""
    async with RevicomSimulator() as sim:
        for _ in range(2):
            await post(client, sim, [{**MESSAGE, "tags": ["once"]}])
    assert sim.summary()["duplicates_by_tag"] == {"once": 2}
