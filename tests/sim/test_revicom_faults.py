"""The faults of POST /message at the simulated provider: each does what it says."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge.sim import RevicomConfig, RevicomFaults, RevicomSimulator

if TYPE_CHECKING:
    from tests.sim.conftest import Recorder

GOOD = {"Authorization": "Basic sim-token"}
MESSAGE = {
    "channelType": "SMS",
    "senderName": "x",
    "destination": "14085553911",
    "content": "text",
    "tags": ["t"],
}


async def post(
    client: aiohttp.ClientSession, sim: RevicomSimulator, messages: int = 1, **changes: Any
) -> tuple[int, bytes, Any]:
    """Send so many messages; the status, body and headers of the answer."""
    batch = [{**MESSAGE, **changes}] * messages
    async with client.post(f"{sim.url}/api/v1/message", json=batch, headers=GOOD) as answer:
        return answer.status, await answer.read(), answer.headers


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        (RevicomFaults(unauthorized=1), 401),
        (RevicomFaults(payment_required=1), 402),
        (RevicomFaults(forbidden=1), 403),
        (RevicomFaults(too_many_requests=1), 429),
        (RevicomFaults(bad_request=1), 400),
        (RevicomFaults(bad_request=1, bad_request_status=422), 422),
        (RevicomFaults(error_before=1), 503),
        (RevicomFaults(error_before=1, error_before_status=502), 502),
        (RevicomFaults(too_large_above=1), 413),
    ],
)
async def test_refusals_take_nothing(
    client: aiohttp.ClientSession, faults: RevicomFaults, status: int
) -> None:
    """Faults before taking answer with their status and leave no message."""
    async with RevicomSimulator(faults=faults) as sim:
        answered, _, _ = await post(client, sim, messages=2)
        assert answered == status
        assert not sim.ledger.messages
        sim.faults = RevicomFaults()
        assert (await post(client, sim))[0] == 200


async def test_too_many_requests_may_say_when(client: aiohttp.ClientSession) -> None:
    """Retry-After is there exactly when it is configured."""
    async with RevicomSimulator(faults=RevicomFaults(too_many_requests=1)) as sim:
        assert "Retry-After" not in (await post(client, sim))[2]
        sim.faults.retry_after_seconds = 2
        assert (await post(client, sim))[2]["Retry-After"] == "2"


async def test_a_refused_message_that_stood_alone_counts_as_refused(client: aiohttp.ClientSession) -> None:
    """A 400 for one message refuses it; a 400 for several says nothing about each."""
    async with RevicomSimulator(faults=RevicomFaults(bad_request=1)) as sim:
        await post(client, sim, messages=2)
        assert not sim.ledger.refused
        await post(client, sim)
    assert [refusal.tags for refusal in sim.ledger.refused] == [("t",)]


async def test_slow_answers_are_slow(client: aiohttp.ClientSession) -> None:
    """A slow answer takes its time and is right in the end; the concurrency is remembered."""
    async with RevicomSimulator(faults=RevicomFaults(slow=1, slow_seconds=0.1)) as sim:
        started = time.monotonic()
        answers = await asyncio.gather(*(post(client, sim) for _ in range(5)))
        assert time.monotonic() - started >= 0.1
    assert [status for status, _, _ in answers] == [200] * 5
    assert sim.summary()["concurrency_high_water"] == 5


@pytest.mark.parametrize(("name", "taken"), [("reset_before", 0), ("reset_after", 1), ("timeout_after", 1)])
async def test_lost_connections(client: aiohttp.ClientSession, name: str, taken: int) -> None:
    """Without an answer the messages are taken or not, as the fault's name says."""
    faults = RevicomFaults(next={name: 1}, timeout_seconds=0.05)
    async with RevicomSimulator(faults=faults) as sim:
        with pytest.raises(aiohttp.ClientError):
            await post(client, sim)
        assert len(sim.ledger.messages) == taken
        assert sim.ledger.requests_by_outcome == {name: 1}
        assert (await post(client, sim))[0] == 200


async def test_a_reset_is_a_tcp_reset(client: aiohttp.ClientSession) -> None:
    """The connection does not end in an orderly way."""
    async with RevicomSimulator(faults=RevicomFaults(reset_after=1)) as sim:
        with pytest.raises(aiohttp.ClientOSError, match="reset"):
            await post(client, sim)


async def test_errors_after_taking(client: aiohttp.ClientSession) -> None:
    """A 5xx may come although the messages were taken."""
    async with RevicomSimulator(faults=RevicomFaults(error_after=1, error_after_status=502)) as sim:
        assert (await post(client, sim, messages=3))[0] == 502
        assert len(sim.ledger.messages) == 3


async def test_broken_answers(client: aiohttp.ClientSession) -> None:
    """Broken JSON and missing items come with HTTP 200, after taking."""
    async with RevicomSimulator(faults=RevicomFaults(next={"broken_json": 1, "short_items": 1})) as sim:
        status, body, _ = await post(client, sim)
        assert (status, body) == (200, b'{"errors": false, "items": [{"mess')
        status, body, _ = await post(client, sim, messages=2)
        assert (status, body.count(b"messageUuid")) == (200, 1)
        assert len(sim.ledger.messages) == 3


async def test_early_callbacks_come_before_the_answer(
    client: aiohttp.ClientSession, recorder: Recorder
) -> None:
    """With early, the sent and final callbacks are there once the answer is."""
    config = RevicomConfig(outcome=lambda _: "delivered")
    async with RevicomSimulator(config, RevicomFaults(early=1)) as sim:
        url = recorder.url
        _, body, _ = await post(client, sim, callbackUrl=url, callbackEvents=["sent", "delivered"])
        arrived = [(element["message_uuid"], element["status"]) for element in recorder.elements]
    assert [status for _, status in arrived] == ["sent", "delivered"]
    assert all(uuid.encode() in body for uuid, _ in arrived)
    assert sim.ledger.callbacks_pending == 0
