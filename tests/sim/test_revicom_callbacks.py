"""Callbacks of the simulated provider: fields, batches, resends, outcomes, cascades and faults."""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge.sim import RevicomConfig, RevicomFaults, RevicomSimulator

if TYPE_CHECKING:
    from tests.sim.conftest import Eventually, Recorder

GOOD = {"Authorization": "Basic sim-token"}
MESSAGE = {
    "channelType": "SMS",
    "senderName": "x",
    "destination": "14085553911",
    "content": "see https://a.bc/d",
}
ALL = ["sent", "delivered", "read", "click", "price"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def config(outcome: str, **changes: Any) -> RevicomConfig:
    """Everything quick, and one outcome."""
    quick = {"step_seconds": 0.01, "flush_seconds": 0.005, "resend_seconds": 0.05}
    return RevicomConfig(outcome=lambda _: outcome, **(quick | changes))


async def send(
    client: aiohttp.ClientSession, sim: RevicomSimulator, url: str, count: int = 1, **changes: Any
) -> None:
    """Send messages that ask for all events."""
    batch = [{**MESSAGE, "callbackUrl": url, "callbackEvents": ALL, **changes}] * count
    async with client.post(f"{sim.url}/api/v1/message", json=batch, headers=GOOD) as answer:
        assert answer.status == 200


def drained(sim: RevicomSimulator) -> bool:
    """Whether the provider owes nothing more."""
    return bool(sim.ledger.messages) and sim.ledger.callbacks_pending == 0


async def test_callbacks_have_the_documented_fields(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Status, price and click elements have exactly the fields of the provider's page, in its words."""
    async with RevicomSimulator(config("clicked")) as sim:
        await send(client, sim, recorder.with_login("revicom:p%40ss"), shortUrl=True)
        await eventually(lambda: drained(sim))
    elements = {element["callback_event"]: element for element in recorder.elements}
    assert set(elements) == {"sent", "price", "delivered", "click"}
    start = {"message_uuid", "channel_type", "callback_event"}
    assert set(elements["delivered"]) == start | {"status", "status_time"}
    assert set(elements["price"]) == start | {"parts", "price", "currency", "price_time"}
    assert set(elements["click"]) == start | {"url", "short_url", "click_time"}
    assert elements["sent"]["status"] == "sent"
    assert elements["click"]["url"] == "https://a.bc/d"
    assert TIME.fullmatch(elements["price"]["price_time"])
    assert [one.status for one in sim.ledger.messages[0].acknowledged] == [
        "sent",
        "price",
        "delivered",
        "click",
    ]


async def test_login_and_password_become_basic_authorization(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """The userinfo of callbackUrl is decoded into the Authorization header, the rest is the address."""
    async with RevicomSimulator(config("delivered")) as sim:
        await send(client, sim, recorder.with_login("revicom:p%40ss"))
        await eventually(lambda: drained(sim))
    first = recorder.received[0]
    assert first.headers["Authorization"] == "Basic " + b64encode(b"revicom:p@ss").decode()
    assert first.headers["Content-Type"] == "application/json"
    assert (first.method, first.path) == ("POST", "/callbacks/revicom")


@pytest.mark.parametrize(
    ("outcome", "channel", "statuses"),
    [
        ("delivered", "SMS", ["sent", "delivered"]),
        ("undelivered", "SMS", ["sent", "undelivered"]),
        ("unsent", "SMS", ["unsent"]),
        ("read", "SMS", ["sent", "delivered"]),
        ("read", "VIBER", ["sent", "delivered", "read"]),
        ("unread", "VK", ["sent", "delivered", "unread"]),
    ],
)
async def test_outcomes(
    client: aiohttp.ClientSession,
    recorder: Recorder,
    eventually: Eventually,
    outcome: str,
    channel: str,
    statuses: list[str],
) -> None:
    """Each outcome gives its statuses in order; SMS is never read, failures have an error code."""
    async with RevicomSimulator(config(outcome, batch_size=1, callback_connections=1)) as sim:
        await send(
            client, sim, recorder.url, channelType=channel, callbackEvents=["sent", "delivered", "read"]
        )
        await eventually(lambda: drained(sim))
    assert [element["status"] for element in recorder.elements] == statuses
    assert ("error_code" in recorder.elements[-1]) == (outcome in ("undelivered", "unsent"))


async def test_only_events_asked_for_come(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Without callbackEvents only the final status comes; without callbackUrl nothing does."""
    async with RevicomSimulator(config("delivered")) as sim:
        for message in (MESSAGE, {**MESSAGE, "callbackUrl": recorder.url}):
            await client.post(f"{sim.url}/api/v1/message", json=[message], headers=GOOD)
        await eventually(lambda: drained(sim))
        await eventually(lambda: all(one.status == "delivered" for one in sim.ledger.messages))
    assert [element["status"] for element in recorder.elements] == ["delivered"]


async def test_outcomes_are_drawn_by_their_shares(client: aiohttp.ClientSession) -> None:
    """About nine in ten messages are delivered, and a suffix of the destination forces an outcome."""
    async with RevicomSimulator(RevicomConfig(outcome_by_suffix={"99": "unsent"})) as sim:
        await send(client, sim, "http://127.0.0.1:9/", 1000)
        await send(client, sim, "http://127.0.0.1:9/", 10, destination="12399")
        outcomes = Counter(message.outcome for message in sim.ledger.messages)
        assert {message.outcome for message in sim.ledger.messages[1000:]} == {"unsent"}
    assert 870 < outcomes["delivered"] < 930
    assert 45 < outcomes["undelivered"] < 95


async def test_batches_are_bounded(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Many elements share a request, up to batch_size, and every one comes once."""
    async with RevicomSimulator(config("delivered", batch_size=10)) as sim:
        await send(client, sim, recorder.url, 55)
        await eventually(lambda: drained(sim))
    sizes = [len(received.json) for received in recorder.received]
    assert max(sizes) == 10
    assert sum(sizes) == sim.ledger.callbacks_sent == 3 * 55


async def test_what_is_not_2xx_is_repeated(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """The very same batch comes again until it is answered with 2xx."""
    recorder.answers.extend([(500, b""), (302, b""), (404, b"")])
    async with RevicomSimulator(config("unsent")) as sim:
        await send(client, sim, recorder.url)
        await eventually(lambda: drained(sim))
    assert len(recorder.received) == 4
    assert len({received.raw for received in recorder.received}) == 1
    assert sim.ledger.callback_answers == {"500": 1, "302": 1, "404": 1, "200": 1}


async def test_repeating_comes_to_an_end(client: aiohttp.ClientSession, eventually: Eventually) -> None:
    """After resend_for_seconds a callback is given up, as when nobody listens."""
    async with RevicomSimulator(config("unsent", resend_for_seconds=0.12)) as sim:
        await send(client, sim, "http://127.0.0.1:9/")
        await eventually(lambda: drained(sim))
        assert sim.summary()["callbacks_abandoned"] == 1
        assert sim.ledger.callbacks_sent in (2, 3)


async def test_cascades(client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually) -> None:
    """Step 1 fails, step 2 has another uuid and plays the outcome; all elements name the cascade."""
    async with RevicomSimulator(config("delivered", cascade_steps=2)) as sim:
        await send(client, sim, recorder.url, tags=["one"])
        await eventually(lambda: drained(sim) and len(sim.ledger.messages) == 2)
    root, second = sim.ledger.messages
    assert sim.ledger.duplicates_by_tag == {}
    seen = {
        (one["message_uuid"], one["cascade_step"], one["status"])
        for one in recorder.elements
        if "status" in one
    }
    assert seen == {
        (root.uuid, 1, "sent"),
        (root.uuid, 1, "undelivered"),
        (second.uuid, 2, "sent"),
        (second.uuid, 2, "delivered"),
    }
    assert {element["cascade_message_uuid"] for element in recorder.elements} == {root.uuid}


async def test_inbound_messages(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """An inbound message arrives with its item, from a method and over HTTP, and needs some URL."""
    async with RevicomSimulator(RevicomConfig(inbound_url=recorder.url)) as sim:
        uuid = sim.send_inbound("14085553911", "STOP it")
        order = {
            "destination": "222",
            "text": "hi",
            "channel_type": "SMS",
            "callback_url": recorder.url + "/x",
        }
        async with client.post(f"{sim.url}/_sim/inbound", json=order) as answer:
            assert answer.status == 202
        async with client.post(f"{sim.url}/_sim/inbound", json={"nonsense": 1}) as answer:
            assert answer.status == 400
        await eventually(lambda: len(recorder.elements) == 2)
    first = next(element for element in recorder.elements if element["message_uuid"] == uuid)
    assert (first["callback_event"], first["status"]) == ("inbound_sent", "inbound_sent")
    assert first["channel_type"] == "WHATSAPP"
    assert first["item"]["destination"] == "14085553911"
    assert first["item"]["content"] == first["item"]["specialContent"]["text"] == "STOP it"
    assert (first["item"]["direction"], first["item"]["messageUuid"]) == ("inbound", uuid)
    async with RevicomSimulator() as sim:
        with pytest.raises(ValueError, match="no callback URL"):
            sim.send_inbound("222", "hi")


async def test_repeated_elements_and_batches(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """An acknowledged element comes again, and so does a whole batch; both are counted as repeats."""
    faults = RevicomFaults(next={"repeat_element": 1, "repeat_batch": 1})
    async with RevicomSimulator(config("unsent"), faults) as sim:
        await send(client, sim, recorder.url)
        await eventually(lambda: len(recorder.elements) == 3)
        await eventually(lambda: sim.ledger.callbacks_repeated == 2)
    assert len({str(element) for element in recorder.elements}) == 1
    assert sim.ledger.callbacks_acknowledged == 1


async def test_late_elements_come_out_of_order(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """A late sent comes after delivered."""
    faults = RevicomFaults(next={"late": 1}, late_seconds=0.2)
    async with RevicomSimulator(config("delivered"), faults) as sim:
        await send(client, sim, recorder.url, callbackEvents=["sent", "delivered"])
        await eventually(lambda: drained(sim))
    assert [element["status"] for element in recorder.elements] == ["delivered", "sent"]


async def test_shuffled_batches(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Elements of one batch change places."""
    slow_flush = config("delivered", flush_seconds=0.2)
    async with RevicomSimulator(slow_flush, RevicomFaults(shuffle=1)) as sim:
        await send(client, sim, recorder.url, 30, callbackEvents=["sent", "delivered"])
        await eventually(lambda: drained(sim))
    statuses = [element["status"] for element in recorder.received[0].json]
    assert statuses != sorted(statuses, reverse=True)
    assert Counter(element["status"] for element in recorder.elements) == {"sent": 30, "delivered": 30}


async def test_elements_nobody_understands(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Unknown codes, malformed and foreign elements come beside the real ones, and nobody waits for them."""
    faults = RevicomFaults(unknown_status=1, malformed=1, foreign=1)
    async with RevicomSimulator(config("unsent"), faults) as sim:
        await send(client, sim, recorder.url)
        await eventually(lambda: len(recorder.elements) == 4)
        await eventually(lambda: drained(sim))
    real, teleported, _, foreign = recorder.elements
    uuid = sim.ledger.messages[0].uuid
    assert (real["message_uuid"], real["status"]) == (uuid, "unsent")
    assert (teleported["message_uuid"], teleported["status"]) == (uuid, "teleported")
    assert foreign["message_uuid"] != uuid
    assert sim.ledger.callbacks_acknowledged == 1


async def test_lost_callbacks_are_never_posted(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """The life of the message goes on, GET /message knows its end, and nobody is called."""
    async with RevicomSimulator(config("delivered"), RevicomFaults(lost=1.0)) as sim:
        await send(client, sim, recorder.with_login("revicom:p%40ss"))
        await eventually(lambda: drained(sim))
        query = f"message_uuid={sim.ledger.messages[0].uuid}&status=delivered"
        async with client.get(f"{sim.url}/api/v1/message?{query}", headers=GOOD) as answer:
            assert len((await answer.json())["items"]) == 1
    assert recorder.elements == []
    assert sim.ledger.callbacks_abandoned == len(sim.ledger.messages[0].planned)
