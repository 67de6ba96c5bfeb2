"""database.pii_key is changed beside a running service, and nothing is lost or stands still."""

from __future__ import annotations

from base64 import b64encode
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.stage import PHONES, Stage, eventually, open_stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]  # three starts of a process
FORMER, PRESENT = (b64encode(bytes([number]) * 32).decode() for number in (1, 2))


async def found(stage: Stage, user: str) -> list[str]:
    """The ids of the messages that a search for the phone number of a user finds, oldest first."""
    answer = await stage.api.get("/api/messages", params={"query": PHONES[user]})
    return [item["ext_message_id"] for item in reversed(answer.json()["items"])]


async def restart(stage: Stage, before: str, after: str) -> None:
    text = stage.bridge.settings.read_text()
    assert before in text
    stage.bridge.settings.write_text(text.replace(before, after))
    await stage.bridge.stop()
    await stage.bridge.start()


async def test_the_key_is_changed_while_messages_go_out(tmp_path: Path) -> None:
    """Messages before, beside and after the rotation are delivered and reported, and found by their phone number."""
    former, present = f'pii_key = "{FORMER}"', f'pii_key = "{PRESENT}"'
    both = f'{present}\npii_key_old = "{FORMER}"'
    async with open_stage(tmp_path, database=former) as stage:
        ids = [await stage.send()]
        await eventually(partial(stage.has_statuses, ids[0], ["accepted", "delivered"]))
        await restart(stage, former, both)
        ids += [await stage.send() for _ in range(5)]
        code, out, err = await stage.bridge.command("keys", "rotate")
        assert (code, err) == (0, "")
        assert "take database.pii_key_old out" in out
        ids.append(await stage.send())
        await restart(stage, both, present)
        ids.append(await stage.send())
        for each in ids:
            await eventually(partial(stage.has_learned, each, ["accepted", "delivered"]))
        assert await found(stage, "player1") == ids
        assert stage.provider_has(len(ids))
