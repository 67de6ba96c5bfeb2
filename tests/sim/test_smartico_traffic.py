"""The traffic of the simulated Smartico: bodies, retries, duplicates, and what it complains of."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from bridge.sim import Gateway, SmarticoConfig, SmarticoFaults, SmarticoSimulator

if TYPE_CHECKING:
    from tests.sim.conftest import Eventually, Received, Recorder

SMS = Gateway(name="sms", authorization="Secret one")
QUICK = SmarticoConfig(send_retry_seconds=0.01, send_retry_for_seconds=0.2)


def accept(received: Received) -> tuple[int, bytes]:
    """What a right bridge answers: an id that depends on nothing but the im_uid."""
    body = received.json
    uid = body.get("im_uid") or body["email_uid"]
    return 200, msgspec.json.encode({"error_code": 0, "ext_message_id": f"ext-{uid}"})


async def test_the_body_has_the_documented_fields(recorder: Recorder) -> None:
    """An SMS has the five documented fields and the gateway's Authorization, and its id is remembered."""
    recorder.answer = accept
    async with SmarticoSimulator(SmarticoConfig(callback_query="brand=7")) as sim:
        answer = await sim.send(recorder.url, SMS, "user1")
        callback_url = f"{sim.url}/callback/sms?brand=7"
    [received] = recorder.received
    assert (received.method, received.path) == ("POST", "/smartico/sms")
    assert received.headers["Authorization"] == "Secret one"
    assert received.headers["Content-Type"] == "application/json"
    assert received.json == {
        "ext_user_id": "user1",
        "from_number": "Amazing",
        "body": "Best offer ever",
        "im_uid": answer.im_uid,
        "callback_url": callback_url,
    }
    assert answer.error_code == 0
    assert sim.ledger.accepted == {answer.im_uid: answer.ext_message_id}


async def test_other_types_have_their_fields(recorder: Recorder) -> None:
    """Custom IM carries its extension, e-mail its own fields and email_uid."""
    recorder.answer = accept
    custom = Gateway(name="cim", authorization="x", type="cim", from_number=None, extension={"title": "Hi"})
    async with SmarticoSimulator() as sim:
        await sim.send(recorder.url, custom, "user1", im_uid="a")
        await sim.send(
            recorder.url, Gateway(name="email", authorization="x", type="email"), "user1", im_uid="b"
        )
    first, second = (received.json for received in recorder.received)
    assert (first["extension"], first["from_number"], first["im_uid"]) == ({"title": "Hi"}, None, "a")
    assert set(second) == {
        "ext_user_id",
        "from_email_address",
        "reply_to_email_address",
        "subject",
        "body",
        "text_body",
        "email_uid",
        "callback_url",
    }


async def test_failures_are_repeated_with_the_same_id(recorder: Recorder) -> None:
    """Other HTTP statuses, overload and unreadable answers are repeated with the very same body."""
    recorder.answer = accept
    overloaded = b'{"error_code": 8, "error_message": "try later"}'
    recorder.answers.extend([(503, b""), (401, b""), (200, overloaded), (200, b"<html>")])
    async with SmarticoSimulator(SmarticoConfig(send_retry_seconds=0.01)) as sim:
        answer = await sim.send(recorder.url, SMS, "user1")
    assert answer.error_code == 0
    assert len({received.raw for received in recorder.received}) == 1
    assert sim.ledger.send_answers == {"http 503": 1, "http 401": 1, "8": 1, "unreadable": 1, "0": 1}


async def test_refusals_are_final(recorder: Recorder) -> None:
    """An error_code above 0 is remembered and not repeated."""
    recorder.answers.append((200, b'{"error_code": 1, "error_message": "User was not found"}'))
    async with SmarticoSimulator(QUICK) as sim:
        answer = await sim.send(recorder.url, SMS, "user1")
    assert (answer.error_code, answer.reason, len(recorder.received)) == (1, "User was not found", 1)
    assert [refused.error_code for refused in sim.ledger.refused] == [1]
    assert not sim.ledger.messages


async def test_it_gives_up_in_the_end() -> None:
    """When nobody listens, the message is given up after a bounded time."""
    async with SmarticoSimulator(QUICK) as sim:
        answer = await sim.send("http://127.0.0.1:9", SMS, "user1")
    assert answer.error_code is None
    assert [given_up.im_uid for given_up in sim.ledger.given_up] == [answer.im_uid]
    assert sim.ledger.send_answers["ClientConnectorError"] > 2


@pytest.mark.parametrize("name", ["twin_send", "repeat_send"])
async def test_duplicates_on_purpose(recorder: Recorder, name: str) -> None:
    """The same request goes twice, together or one after the other; the same answer is no error."""
    recorder.answer = accept
    async with SmarticoSimulator(faults=SmarticoFaults(next={name: 1})) as sim:
        await sim.send(recorder.url, SMS, "user1")
    assert len(recorder.received) == 2
    assert len({received.raw for received in recorder.received}) == 1
    assert (len(sim.ledger.messages), sim.ledger.errors) == (1, [])


async def test_another_id_for_the_same_message_is_an_error(recorder: Recorder) -> None:
    """Two different ext_message_ids for one im_uid are held against the bridge."""
    ids = iter(["one", "two"])
    recorder.answer = lambda _: (200, msgspec.json.encode({"error_code": 0, "ext_message_id": next(ids)}))
    async with SmarticoSimulator(faults=SmarticoFaults(repeat_send=1)) as sim:
        await sim.send(recorder.url, SMS, "user1", im_uid="im1")
    assert [problem.what for problem in sim.ledger.errors] == ["im1 already had the ext_message_id one"]


async def test_the_same_id_for_two_messages_is_an_error(recorder: Recorder) -> None:
    """One ext_message_id for two im_uids is held against the bridge."""
    recorder.answer = lambda _: (200, b'{"error_code": 0, "ext_message_id": "one"}')
    async with SmarticoSimulator() as sim:
        await sim.send(recorder.url, SMS, "user1", im_uid="im1")
        await sim.send(recorder.url, SMS, "user1", im_uid="im2")
    assert [problem.what for problem in sim.ledger.errors] == ["im2 got the ext_message_id of im1"]


@pytest.mark.parametrize(
    "answer",
    [b"[]", b"{}", b'{"error_code": "0"}', b'{"error_code": 0}', b'{"error_code": 0, "ext_message_id": 5}'],
)
async def test_answers_of_another_form_are_errors(recorder: Recorder, answer: bytes) -> None:
    """An answer that breaks the documented form is an error, and is repeated."""
    recorder.answer = accept
    recorder.answers.append((200, answer))
    async with SmarticoSimulator(QUICK) as sim:
        assert (await sim.send(recorder.url, SMS, "user1")).error_code == 0
    assert len(sim.ledger.errors) == 1


async def test_traffic_spreads_over_users_and_gateways(recorder: Recorder) -> None:
    """So many messages go out as asked for, users and gateways taking turns, each with its own id."""
    recorder.answer = accept
    gateways = [SMS, Gateway(name="whatsapp", authorization="y")]
    async with SmarticoSimulator() as sim:
        await sim.run_traffic(recorder.url, gateways, ["a", "b", "c"], messages=60)
    assert Counter(received.path for received in recorder.received) == {
        "/smartico/sms": 30,
        "/smartico/whatsapp": 30,
    }
    assert Counter(received.json["ext_user_id"] for received in recorder.received) == {
        "a": 20,
        "b": 20,
        "c": 20,
    }
    assert len(sim.ledger.messages) == 60


async def test_traffic_keeps_its_rate(recorder: Recorder) -> None:
    """Twenty messages at 100 a second take at least a fifth of a second, less one interval."""
    recorder.answer = accept
    async with SmarticoSimulator() as sim:
        started = time.monotonic()
        await sim.run_traffic(recorder.url, [SMS], ["a"], rate=100, messages=20)
    assert time.monotonic() - started >= 0.18


async def test_traffic_without_end_can_be_stopped(recorder: Recorder, eventually: Eventually) -> None:
    """Without a number of messages the traffic goes on until it is cancelled."""
    recorder.answer = accept
    async with SmarticoSimulator() as sim:
        task = asyncio.create_task(sim.run_traffic(recorder.url, [SMS], ["a"]))
        await eventually(lambda: len(sim.ledger.messages) > 100)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_traffic_can_be_started_over_http(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Another process may order traffic, and sees when it is done."""
    recorder.answer = accept
    order: dict[str, Any] = {
        "bridge_url": recorder.url,
        "gateways": [{"name": "sms", "authorization": "x"}],
        "users": ["a"],
        "messages": 5,
    }
    async with SmarticoSimulator() as sim:
        async with client.post(f"{sim.url}/_sim/traffic", json=order) as answer:
            assert answer.status == 202
        async with client.post(f"{sim.url}/_sim/traffic", json={}) as answer:
            assert answer.status == 400
        await eventually(lambda: not sim.summary()["traffic_running"])
    assert sim.summary()["accepted"] == 5
