"""Asset notifications through a real service to a real receiver, also when the service is killed in the middle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.receiver import PATH, SECRET, SETTINGS, Receiver, receiving, tell, tell_all
from tests.e2e.stage import SMS, Stage, eventually, open_stage


@asynccontextmanager
async def opened(folder: Path, faults: float = 0.0) -> AsyncIterator[tuple[Stage, Receiver]]:
    """A service, its peers, and a receiver that it passes notifications on to."""
    async with (
        receiving(faults) as receiver,
        open_stage(folder, sms=SETTINGS.format(url=receiver.url)) as stage,
    ):
        yield stage, receiver


@pytest.mark.timeout(180)
async def test_kill_9_in_the_middle_loses_no_notification(tmp_path: Path) -> None:
    """Three kills while twelve users are told of: all that was answered reaches the receiver, and of each user in
    order; a repeat has the id of the first time."""
    draw = random.Random(5)
    async with opened(tmp_path, faults=0.1) as (stage, receiver):
        users = [f"player{number}" for number in range(12)]
        told = asyncio.gather(*(tell_all(stage.bridge.url, user, 12) for user in users))
        for _ in range(3):
            await asyncio.sleep(draw.uniform(0.2, 0.6))
            await stage.bridge.kill()
            await stage.bridge.start()
        await told
        await eventually(lambda: len({id_ for id_, _ in receiver.got}) >= 144, 60)
        for user in users:
            assert receiver.first_arrivals(user) == list(range(12)), user
        contents = dict(receiver.got)
        assert all(contents[id_] == body for id_, body in receiver.got)
        assert len(contents) == 144


async def test_a_notification_on_its_way(tmp_path: Path) -> None:
    """It is tied to its message, shown in the timeline, and passed on with the configured headers, byte by byte."""
    async with opened(tmp_path) as (stage, receiver):
        ext_message_id = await stage.send()
        raw = b'{"login" : "player1",\n "channel":"SMS", "campaign_name": "Flow", "view_url": "https://v/1"}'
        answer = await stage.api.post(PATH, content=raw, headers=SECRET)
        assert answer.json() == {"error_code": 0}
        await eventually(lambda: receiver.got)
        path, headers, body = receiver.requests[0]
        assert (path, body) == ("/communications?tenant=7", raw)
        assert (headers["X-Api-Key"], headers["Content-Type"]) == (
            "key-of-the-receiver",
            "application/json",
        )
        shown = await stage.message(ext_message_id)
        (step,) = [each for each in shown["timeline"] if each["kind"] == "notification"]
        assert (step["campaign_name"], step["view_url"]) == ("Flow", "https://v/1")

        async def done() -> bool:
            (item,) = (await stage.api.get("/api/communications")).json()["items"]
            assert (item["ext_message_id"], item["id"]) == (ext_message_id, receiver.got[0][0])
            return bool(item["forward"]["state"] == "done")

        await eventually(done)
        metrics = (await stage.api.get("/metrics")).text
        assert 'bridge_forwards_total{kind="communication",result="Done"} 1.0' in metrics
        wrong = await stage.api.post(PATH, content=raw, headers={"Authorization": SMS.authorization})
        assert wrong.status_code == 401


async def test_one_that_is_refused_is_replayed_by_a_person(tmp_path: Path) -> None:
    """`bridge review` shows it beside the running service, and replays it once the receiver is mended."""
    async with opened(tmp_path) as (stage, receiver):
        receiver.status = 422
        await tell(stage.bridge.url, {"login": "player1", "number": 1})

        async def listed() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await stage.api.get("/api/review")).json()["items"]
            return found

        (item,) = await eventually(listed)
        assert (item["kind"], item["cause"]) == ("dead_forward", "communication: HTTP 422")
        code, out, _ = await stage.bridge.command("review", "list")
        assert (code, "dead_forward" in out) == (0, True)
        receiver.status = 200
        code, out, errors = await stage.bridge.command("review", "replay", str(item["id"]))
        assert (code, errors) == (0, "")
        await eventually(lambda: receiver.got)
        assert len({headers["X-Bridge-Id"] for _, headers, _ in receiver.requests}) == 1
        assert await listed() == []


@pytest.mark.slow
async def test_a_notification_that_comes_before_its_message(tmp_path: Path) -> None:
    """The service looks for the message again after ten seconds, by itself."""
    async with opened(tmp_path) as (stage, _):
        await tell(stage.bridge.url, {"login": "player1", "channel": "sms", "campaign_name": "Flow"})
        ext_message_id = await stage.send()
        assert await eventually(lambda: stage.told(ext_message_id, "notification", 1))
