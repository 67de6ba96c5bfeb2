"""More than can be taken, and callers that take their time: refusals are quick and right, and nobody else suffers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import pytest

from bridge.sim import RevicomFaults
from tests.e2e.stage import SMS, Stage, eventually, open_stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SECRET = {"Authorization": SMS.authorization}
BASIC = ("revicom", "password-of-callbacks")
QUICK = 5.0  # seconds for an answer, on a busy machine with hundreds of others waiting
MOST_GROWTH = 48.0  # MiB
numbers = count(1)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A service with small bounds, and a provider that takes 20 messages a second."""
    slow = RevicomFaults(slow=1.0, slow_seconds=1.0)
    async with open_stage(
        tmp_path,
        provider_faults=slow,
        sms="max_pending = 50",
        revicom="max_in_flight = 1\nmax_batch = 20",
        database="max_inbox = 300",
    ) as opened:
        yield opened


def memory(stage: Stage) -> float:
    """Of the service, in MiB."""
    text = Path(f"/proc/{stage.bridge.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split(None, 1)[0]) / 1024


def body(stage: Stage) -> bytes:
    number = next(numbers)
    fields = {"ext_user_id": f"player{number % 200}", "body": "x", "im_uid": f"uid-{number}"}
    return json.dumps(fields | {"callback_url": f"{stage.smartico.url}/callback"}).encode()


async def send(client: httpx.AsyncClient, content: bytes) -> tuple[dict[str, Any], float]:
    """The answer to a send, and how long it took."""
    began = perf_counter()
    answer = await client.post("/smartico/sms", content=content, headers=SECRET)
    assert answer.status_code == 200
    return answer.json(), perf_counter() - began


def client_of(stage: Stage, most: int = 100) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
    return httpx.AsyncClient(base_url=stage.bridge.url, limits=limits, timeout=60)


async def test_ten_times_the_sends(stage: Stage) -> None:
    """500 where 50 may wait: the others get error_code 8; what was accepted arrives once, and then there is room."""
    before = memory(stage)
    bodies = [body(stage) for _ in range(500)]
    async with client_of(stage) as client:
        answers = await asyncio.gather(*(send(client, each) for each in bodies))
        codes = Counter(answer["error_code"] for answer, _ in answers)
        assert codes.keys() == {0, 8}
        assert codes[0] >= 50  # the provider goes on taking some
        assert codes[8] >= 100
        first = next(index for index, (answer, _) in enumerate(answers) if answer["error_code"] == 0)
        again, _ = await send(client, bodies[first])
        assert again == answers[first][0]  # a repeat is no new work: it gets its answer in the flood, too
        accepted = {answer["ext_message_id"] for answer, _ in answers if answer["error_code"] == 0}

        async def room() -> bool:
            answer, took = await send(client, body(stage))
            assert took < QUICK
            if answer["error_code"] == 0:
                accepted.add(answer["ext_message_id"])
            return bool(answer["error_code"] == 0)

        await eventually(room, 20)
    tags = {each.replace("-", "") for each in accepted}
    await eventually(lambda: tags <= stage.provider.ledger.by_tag.keys(), 60)
    assert stage.provider.ledger.by_tag.keys() == tags
    assert not stage.provider.ledger.duplicates_by_tag
    assert memory(stage) - before < MOST_GROWTH


async def test_ten_times_the_callbacks(stage: Stage) -> None:
    """12 bodies of 2,000 elements where 300 may wait: 200, or 503 and when to come again; all come in the end."""
    bodies = [
        json.dumps(
            [
                {
                    "message_uuid": f"00000000-0000-4000-8000-{part:06}{number:06}",
                    "channel_type": "SMS",
                    "callback_event": "sent",
                    "status": "sent",
                    "status_time": "2026-11-21T18:51:13Z",
                }
                for number in range(2000)
            ]
        ).encode()
        for part in range(12)
    ]
    before = memory(stage)
    refused = 0
    async with client_of(stage, 2) as client:
        waiting = list(bodies)
        end = perf_counter() + 60
        while waiting:
            assert perf_counter() < end
            began = perf_counter()
            answers = await asyncio.gather(
                *(client.post("/callbacks/revicom", content=each, auth=BASIC) for each in waiting)
            )
            assert perf_counter() - began < len(answers) * QUICK
            assert {answer.status_code for answer in answers} <= {200, 503}
            assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
            waiting = [
                each for each, answer in zip(waiting, answers, strict=True) if answer.status_code == 503
            ]
            refused += len(waiting)
            await asyncio.sleep(0.1)
    assert refused
    assert memory(stage) - before < MOST_GROWTH


async def test_clients_that_take_their_time(stage: Stage) -> None:
    """Hundreds of idle connections, trickled heads and bodies, and giant heads: the others are served as ever."""
    port = stage.bridge.port
    head = b"POST /smartico/sms HTTP/1.1\r\nhost: x\r\nauthorization: secret-of-sms\r\ncontent-length: 1000000\r\n"
    begin = [b"", b"POST /sma", head, head + b"\r\n" + b"{" * 100_000]
    before = memory(stage)
    lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
    try:
        for number, (_, writer) in enumerate(lines):
            writer.write(begin[number % 4])
        giants = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        lines += giants
        for reader, writer in giants:
            writer.write(b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % each for each in range(10_000)))
            async with asyncio.timeout(QUICK):
                assert (await reader.read(1000)).startswith(b"HTTP/1.1 431 ")
        async with client_of(stage, 10) as client:
            for _ in range(20):
                for _, writer in lines[2:400:4]:
                    writer.write(b"x-more: y\r\n")
                answer, took = await send(client, body(stage))
                assert answer["error_code"] == 0
                assert took < QUICK
        assert memory(stage) - before < MOST_GROWTH
    finally:
        for _, writer in lines:
            writer.transport.abort()
