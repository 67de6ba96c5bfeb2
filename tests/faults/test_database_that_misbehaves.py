"""A proxy before PostgreSQL does what networks do: the bridge answers in time, says so, and loses nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import pytest

from bridge.sim import judge
from tests.e2e.fault_proxy import FAULTS, Fault, FaultProxy
from tests.e2e.stage import SMS, Stage, eventually, open_stage
from tests.faults.scene import watching
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

BASIC = ("revicom", "password-of-callbacks")
ANSWERED_WITHIN = 15.0  # seconds: the bridge gives a write 10
SAYS_SO_WITHIN = 6.0  # of readyz, whose patience are 2
AWAY = {
    "half-open": FAULTS["half-open"],
    "cut in the request": Fault(cut_request=20),
    "cut before the answer": Fault(cut_answer=0),
    "cut in the answer": Fault(cut_answer=3),
    "reset": Fault(cut_answer=0, reset=True),
    "garbage": FAULTS["garbage"],
    "a giant message": Fault(instead=b"D\x7f\xff\xff\xff", endless=b"x" * 10_000),
}
numbers = count(1)


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(postgres.port) as opened:
        yield opened


@pytest.fixture
async def stage(tmp_path: Path, postgres: PostgresServer, proxy: FaultProxy) -> AsyncIterator[Stage]:
    """A service that reaches its database through the proxy only."""
    url = await postgres.create()
    async with open_stage(tmp_path, url=url.replace(f":{postgres.port}/", f":{proxy.port}/")) as opened:
        yield opened
    await postgres.drop(url)


def body(stage: Stage) -> bytes:
    fields = {"ext_user_id": f"player{next(numbers) % 200}", "body": "x", "im_uid": f"uid-{next(numbers)}"}
    return json.dumps(fields | {"callback_url": f"{stage.smartico.url}/callback"}).encode()


async def asked(stage: Stage, path: str, **how: Any) -> tuple[httpx.Response, float]:
    """The answer of the bridge, and how long it took."""
    began = perf_counter()
    async with httpx.AsyncClient(base_url=stage.bridge.url, timeout=60) as client:
        answer = await (client.post(path, **how) if how else client.get(path))
    return answer, perf_counter() - began


@pytest.mark.parametrize("name", AWAY)
async def test_it_is_away(stage: Stage, proxy: FaultProxy, name: str) -> None:
    """Within the time: sends error_code 8 or 9, callbacks 503 and when to come again, readyz 503; then all goes on.

    What was accepted before, meanwhile and after arrives, once, and so do its statuses.
    """
    traffic = asyncio.create_task(stage.smartico.run_traffic(stage.bridge.url, [SMS], ["player1"], 20, 60))
    await eventually(lambda: len(stage.provider.ledger.messages) >= 5)
    proxy.fault = AWAY[name]
    secret = {"Authorization": SMS.authorization}
    async with watching(stage.bridge.url) as watch:
        (ready, soon), (callback, _), *sends = await asyncio.gather(
            asked(stage, "/readyz"),
            asked(stage, "/callbacks/revicom", json=[{"message_uuid": "1"}], auth=BASIC),
            *(asked(stage, "/smartico/sms", content=body(stage), headers=secret) for _ in range(5)),
        )
        assert (ready.status_code, callback.status_code) == (503, 503)
        assert "database" in ready.json()["reason"]
        assert "retry-after" in callback.headers
        assert soon < SAYS_SO_WITHIN
        assert {answer.json()["error_code"] for answer, _ in sends} <= {8, 9}
        assert max(took for _, took in sends) < ANSWERED_WITHIN
        proxy.heal()

        async def back() -> bool:
            return (await asked(stage, "/readyz"))[0].status_code == 200

        await eventually(back, 15)
        await traffic

        def settled() -> bool:
            verdict = judge(stage.provider.ledger.listing(), stage.smartico.ledger.listing())
            return not verdict.lost and not verdict.unacknowledged

        await eventually(settled, 40)
    assert watch.slowest < SAYS_SO_WITHIN
    verdict = judge(stage.provider.ledger.listing(), stage.smartico.ledger.listing())
    assert (verdict.sent_twice, verdict.unexpected, verdict.out_of_order) == ([], [], [])
    assert stage.bridge.running


async def test_it_is_slow(stage: Stage, proxy: FaultProxy) -> None:
    """Twenty milliseconds for each word with the server and back: everything is slower, and nothing fails."""
    proxy.fault = Fault(latency=0.01)
    async with watching(stage.bridge.url) as watch:
        await stage.smartico.run_traffic(stage.bridge.url, [SMS], ["player1"], messages=20)
        assert stage.smartico.ledger.send_answers == {"0": 20}

        def settled() -> bool:
            verdict = judge(stage.provider.ledger.listing(), stage.smartico.ledger.listing())
            return verdict.ok and not verdict.unacknowledged and verdict.messages == 20

        await eventually(settled, 60)
    assert watch.slowest < SAYS_SO_WITHIN
