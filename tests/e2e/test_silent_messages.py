"""Messages whose end nobody told: real processes, callbacks that never come, and a provider that is asked or knows
nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import httpx

from bridge.sim import RevicomConfig, RevicomFaults, SendgridConfig, SendgridSimulator
from tests.databases import rows
from tests.e2e.stage import MAILING, Stage, eventually, open_stage

SOON = "silent_after_hours = 0.0006"  # two seconds
CONFIG: dict[str, Any] = {
    "token": "token-of-revicom",
    "resend_seconds": 0.3,
    "delivered_share": 1.0,
    "callback_connections": 1,
}
LOST = RevicomFaults(lost=1.0)
FORGETFUL = RevicomConfig(**CONFIG, findable_after_seconds=1e9)
NEVER_READY = RevicomConfig(**CONFIG, step_seconds=1e6)


async def silent_items(stage: Stage) -> list[dict[str, Any]]:
    """The open review items of the kind `silent`."""
    items = (await stage.api.get("/api/review")).json()["items"]
    return [each for each in items if each["kind"] == "silent"]


async def post_callback(stage: Stage, uuid: str, status: str) -> None:
    """What the provider posts at last."""
    body = [{"message_uuid": uuid, "callback_event": "delivered", "status": status, "channel_type": "SMS"}]
    async with httpx.AsyncClient(auth=("revicom", "password-of-callbacks")) as client:
        answer = await client.post(f"{stage.bridge.url}/callbacks/revicom", json=body)
    assert answer.status_code == 200


async def test_what_no_callback_told_is_looked_up(tmp_path: Path) -> None:
    """All callbacks are lost: the provider says when it is asked that the messages were delivered, and Smartico learns
    it, across a restart."""
    async with open_stage(tmp_path, provider_faults=LOST, revicom=SOON) as stage:
        first = await stage.send()
        await eventually(lambda: stage.has_statuses(first, ["delivered"]))
        shown = await stage.message(first)
        assert [each["kind"] for each in shown["timeline"]].count("looked_up") == 1
        assert (shown["state"], shown["price"]) == ("delivered", None)
        ids = [await stage.send(f"player{number}") for number in range(3)]
        await eventually(partial(stage.provider_has, 4))
        assert await stage.bridge.stop() == 0
        assert [stage.statuses(each) for each in ids] == [[], [], []]
        await stage.bridge.start()
        for each in ids:
            await eventually(partial(stage.has_statuses, each, ["delivered"]))
        assert await silent_items(stage) == []
        assert 'bridge_silent_messages_total{provider="revicom",result="told"} 3.0' in (
            (await stage.api.get("/metrics")).text
        )


async def test_of_what_the_provider_does_not_know_nothing_is_guessed(tmp_path: Path) -> None:
    """Under review, once, and Smartico is told nothing; a replay asks again; a callback that comes late settles it."""
    async with open_stage(tmp_path, provider=FORGETFUL, provider_faults=LOST, revicom=SOON) as stage:
        ids = [await stage.send(f"player{number}") for number in range(2)]
        item = await eventually(partial(item_of, stage, 2))
        assert item["provider"] == "revicom"
        assert "does not know it" in item["cause"]
        assert (await stage.message(ids[0]))["state"] == "submitted"
        replayed = await stage.api.post(f"/api/review/{item['id']}/replay", json={"reason": "try again"})
        assert replayed.json() == {"matched": 2, "replayed": 2}
        await eventually(partial(item_of, stage, 2))
        code, listed, _ = await stage.bridge.command("review", "list")
        assert code == 0
        assert "silent" in listed
        assert [stage.statuses(each) for each in ids] == [[], []]
        for uuid, status in zip(await uuids(stage, ids), ("delivered", "undelivered"), strict=True):
            await post_callback(stage, uuid, status)
        await eventually(partial(stage.has_statuses, ids[0], ["delivered"]))
        await eventually(partial(stage.has_statuses, ids[1], ["failed"]))
        assert await silent_items(stage) == []


async def test_what_is_dismissed_stays_dismissed(tmp_path: Path, database: str) -> None:
    """The provider knows the message and has no end of it: under review; dismissed, also after a restart that looks at
    all messages anew."""
    async with open_stage(tmp_path, provider=NEVER_READY, revicom=SOON) as stage:
        ext_message_id = await stage.send()
        item = await eventually(partial(item_of, stage, 1))
        assert "says nothing final" in item["cause"]
        dismissed = await stage.api.post(f"/api/review/{item['id']}/dismiss", json={"reason": "asked them"})
        assert dismissed.status_code == 200
        await stage.bridge.kill()
        await stage.bridge.start()
        another = await stage.send("player2")
        item = await eventually(partial(item_of, stage, 1))
        assert (await stage.message(another))["timeline"][-1]["kind"] == "silent"
        told = [each["kind"] for each in (await stage.message(ext_message_id))["timeline"]]
        assert told[-2:] == ["silent", "dismissed"]
        assert await rows(database, tmp_path, "SELECT count(*) FROM silent") == [(0,)]


async def test_sendgrid_cannot_be_asked(tmp_path: Path) -> None:
    """A mail whose events never come goes straight under review; nothing is reported of it."""
    sendgrid = SendgridSimulator(SendgridConfig(token="token-of-sendgrid", step_seconds=1e6))
    async with open_stage(tmp_path, sendgrid=sendgrid, events=SOON) as stage:
        ext_message_id = await stage.send(gateway=MAILING)
        item = await eventually(partial(item_of, stage, 1))
        assert (item["provider"], item["cause"]) == ("sendgrid", "no final callback after 0.0006 h")
        assert (await stage.message(ext_message_id))["state"] == "submitted"
        assert stage.statuses(ext_message_id) == []


async def item_of(stage: Stage, count: int) -> dict[str, Any] | None:
    """The one open item about silence, once so many messages stand behind it."""
    found = await silent_items(stage)
    return found[0] if [each["count"] for each in found] == [count] else None


async def uuids(stage: Stage, ids: list[str]) -> list[str]:
    """The provider's ids of messages."""
    return [(await stage.message(each))["provider_message_id"] for each in ids]
