"""The status endpoint of the simulated Smartico: strictness, the documented bodies, and its faults."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from bridge.sim import SmarticoConfig, SmarticoFaults, SmarticoSimulator
from bridge.sim.smartico_ledger import Known

ID = "71e92bca-48a8-11ee-be56-0242ac120002"
GOOD = {"type": "sms", "ext_message_id": ID, "status": "delivered", "api_key": "sim-api-key"}


def knowing(config: SmarticoConfig | None = None, faults: SmarticoFaults | None = None) -> SmarticoSimulator:
    """A simulator that knows one SMS."""
    sim = SmarticoSimulator(config, faults)
    sim.ledger.learn(Known(ID, "sms", "im1", "user1"))
    return sim


async def report(
    client: aiohttp.ClientSession, sim: SmarticoSimulator, params: Any = None, path: str = "/callback"
) -> tuple[int, bytes]:
    """Report a status; the answer."""
    url = sim.url + path
    async with client.get(url, params=params or GOOD, allow_redirects=False) as answer:
        return answer.status, await answer.read()


@pytest.mark.parametrize("path", ["/callback", "/callback/", "/callback/sms/x?brand=7&type2=y"])
async def test_the_documented_request_is_taken(client: aiohttp.ClientSession, path: str) -> None:
    """The answer is the documented one, trailing comma and all, on any path with any further parameters."""
    async with knowing() as sim:
        assert await report(client, sim, path=path) == (200, b'{\n  "error_code": 0,\n}')
    [known] = sim.ledger.messages.values()
    assert [(one.status, one.answered) for one in known.arrivals] == [("delivered", True)]
    assert sim.ledger.errors == []


async def test_the_answer_can_be_valid_json(client: aiohttp.ClientSession) -> None:
    """With valid_json the comma is gone."""
    async with knowing(SmarticoConfig(valid_json=True)) as sim:
        assert await report(client, sim) == (200, b'{"error_code": 0}')


@pytest.mark.parametrize(
    "params",
    [
        {key: value for key, value in GOOD.items() if key != "type"},
        {**GOOD, "status": ""},
        [*GOOD.items(), ("status", "delivered")],
        [*GOOD.items(), ("api_key", "other")],
        {**GOOD, "type": "viber"},
        {**GOOD, "status": "read"},
        {**GOOD, "status": "Delivered"},
    ],
)
async def test_bad_parameters_are_refused(client: aiohttp.ClientSession, params: Any) -> None:
    """Missing, empty, repeated and unknown values get error_code 2, and are remembered as errors."""
    async with knowing() as sim:
        status, body = await report(client, sim, params)
    assert (status, b'"error_code":2' in body) == (200, True)
    assert len(sim.ledger.errors) == 1
    assert not sim.ledger.statuses


@pytest.mark.parametrize(("bad_key_status", "status"), [(401, 401), (200, 200)])
async def test_a_wrong_key_is_refused(
    client: aiohttp.ClientSession, bad_key_status: int, status: int
) -> None:
    """A wrong api_key is a 401, or an error_code, and an error without the key in it."""
    async with knowing(SmarticoConfig(bad_key_status=bad_key_status)) as sim:
        answered, body = await report(client, sim, {**GOOD, "api_key": "guess"})
    assert (answered, b'"error_code":3' in body) == (status, True)
    assert [problem.what for problem in sim.ledger.errors] == ["wrong api_key"]


async def test_unknown_messages_are_not_found(client: aiohttp.ClientSession) -> None:
    """An id that Smartico was never given gets the documented failure; accept_unknown believes it."""
    async with SmarticoSimulator() as sim:
        expected = b'{"error_code":1,"error_message":"sms was not found"}'
        assert await report(client, sim) == (200, expected)
        assert sim.ledger.status_answers == {"not found": 1}
    async with SmarticoSimulator(SmarticoConfig(accept_unknown=True)) as sim:
        assert (await report(client, sim))[1] == b'{\n  "error_code": 0,\n}'
        assert sim.ledger.listing()[0].statuses == ("delivered",)


async def test_the_type_has_to_be_that_of_the_message(client: aiohttp.ClientSession) -> None:
    """An SMS reported as Custom IM is not found."""
    async with knowing() as sim:
        _, body = await report(client, sim, {**GOOD, "type": "cim"})
    assert b"cim was not found" in body
    assert len(sim.ledger.errors) == 1


async def test_repeats_are_errors_once_answered(client: aiohttp.ClientSession) -> None:
    """A status repeated after a lost answer is right, after a good answer it is not."""
    async with knowing(faults=SmarticoFaults(reset_after=1)) as sim:
        with pytest.raises(aiohttp.ClientError):
            await report(client, sim)
        sim.faults = SmarticoFaults()
        await report(client, sim)
        assert sim.ledger.repeated == 0
        await report(client, sim)
        assert sim.ledger.repeated == 1
    assert [problem.what for problem in sim.ledger.errors] == ["delivered was repeated"]


@pytest.mark.parametrize(
    ("faults", "status", "part"),
    [
        (SmarticoFaults(error=1), 503, b"Error"),
        (SmarticoFaults(error=1, error_status=500), 500, b"Error"),
        (SmarticoFaults(too_many_requests=1), 429, b""),
        (SmarticoFaults(html=1), 200, b"<html>"),
        (SmarticoFaults(unauthorized=1), 401, b"api_key"),
        (SmarticoFaults(redirect=1), 302, b""),
        (SmarticoFaults(other_error=1), 200, b'"error_code":7'),
    ],
)
async def test_faults_take_nothing(
    client: aiohttp.ClientSession, faults: SmarticoFaults, status: int, part: bytes
) -> None:
    """Each fault answers in its way, and the status is not taken."""
    async with knowing(faults=faults) as sim:
        answered, body = await report(client, sim)
    assert (answered, part in body) == (status, True)
    assert not sim.ledger.statuses


async def test_too_many_requests_may_say_when(client: aiohttp.ClientSession) -> None:
    """A 429 carries Retry-After when it is configured."""
    faults = SmarticoFaults(too_many_requests=1, retry_after_seconds=3)
    async with knowing(faults=faults) as sim, client.get(f"{sim.url}/callback", params=GOOD) as answer:
        assert answer.headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    ("name", "taken"), [("reset", 0), ("timeout", 0), ("reset_after", 2), ("timeout_after", 2)]
)
async def test_lost_connections(client: aiohttp.ClientSession, name: str, taken: int) -> None:
    """Without an answer the status is taken or not, as the fault's name says."""
    faults = SmarticoFaults(
        next={name: 2}, timeout_seconds=0.05
    )  # two: the client repeats a GET once by itself
    async with knowing(faults=faults) as sim:
        with pytest.raises(aiohttp.ClientError):
            await report(client, sim)
        assert [one.answered for one in sim.ledger.messages[ID].arrivals] == [False, False][:taken]
        assert (await report(client, sim))[0] == 200
        assert sim.ledger.repeated == 0


async def test_a_giant_body(client: aiohttp.ClientSession) -> None:
    """The body is as long as asked for, and the status counts as unanswered."""
    async with knowing(faults=SmarticoFaults(giant_body=1, giant_bytes=100_000)) as sim:
        assert len((await report(client, sim))[1]) > 100_000
    assert [one.answered for one in sim.ledger.messages[ID].arrivals] == [False]


async def test_slow_answers(client: aiohttp.ClientSession) -> None:
    """A slow answer can be timed out by the client."""
    async with knowing(faults=SmarticoFaults(slow=1, slow_seconds=0.3)) as sim:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(report(client, sim), 0.05)


async def test_not_found_at_first(client: aiohttp.ClientSession) -> None:
    """The first attempts, or those of the first seconds, are not found; then the status is taken."""
    async with knowing(faults=SmarticoFaults(not_found_attempts=2)) as sim:
        answers = [(await report(client, sim))[1] for _ in range(3)]
        assert [b"not found" in answer for answer in answers] == [True, True, False]
    async with knowing(faults=SmarticoFaults(not_found_seconds=60)) as sim:
        assert b"not found" in (await report(client, sim))[1]
        sim.ledger.messages[ID].accepted_at -= 61
        assert b"not found" not in (await report(client, sim))[1]


async def test_everything_shows_over_http(client: aiohttp.ClientSession) -> None:
    """Summary, messages, errors and faults are there for another process."""
    async with knowing() as sim:
        await report(client, sim)
        await report(client, sim)
        async with client.get(f"{sim.url}/_sim/summary") as answer:
            summary = await answer.json()
        async with client.get(f"{sim.url}/_sim/messages") as answer:
            [message] = await answer.json()
        async with client.get(f"{sim.url}/_sim/errors") as answer:
            [problem] = await answer.json()
        async with client.put(f"{sim.url}/_sim/faults", json={"html": 1}) as answer:
            assert answer.status == 200
        assert b"<html>" in (await report(client, sim))[1]
    assert (summary["accepted"], summary["repeated"], summary["statuses"]) == (1, 1, {"delivered": 2})
    assert (message["ext_message_id"], message["statuses"]) == (ID, ["delivered", "delivered"])
    assert problem["what"] == "delivered was repeated"
