"""A provider that lies: it can say what it likes of its own messages, and nothing of those of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.core.model import MessageId, id_text
from bridge.flows import sending
from tests.flows.desk import NOW, Desk, open_desk

OTHERS = """
[providers.other]
adapter = "revicom"
token = "token-of-another"
callback_password = "password-of-another"
[providers.mailing]
adapter = "sendgrid"
token = "token-of-sendgrid"
callback_password = "password-of-events"
[providers.inbox]
adapter = "webhook"
url = "https://inbox.example/x"
callback_password = "password-of-reports"
"""


@pytest.fixture
async def desk(tmp_path: Path, database: str) -> AsyncIterator[Desk]:
    """A desk whose messages go to `revicom`, with three more providers."""
    opened = await open_desk(tmp_path, database=database, more=OTHERS)
    await opened.add_contact()
    yield opened
    await opened.store.close()


def lies(message_id: MessageId, uuid: str) -> list[tuple[str, dict[str, Any]]]:
    """What the others say of a message: by the id that its provider gave to it, and by our own."""
    own = id_text(message_id)
    return [
        *(
            ("other", {"message_uuid": named, "callback_event": "delivered", "status": "delivered"})
            for named in (uuid, own)
        ),
        *(
            (
                "mailing",
                {"event": "delivered", "sg_message_id": f"{uuid}.x", "timestamp": NOW // 1000, **named},
            )
            for named in ({}, {"ext_message_id": own})
        ),
        *(("inbox", {"ext_message_id": named, "status": "delivered"}) for named in (uuid, own)),
    ]


async def test_a_message_that_was_taken(desk: Desk) -> None:
    """Neither by the provider's id nor by ours does another one move it, or owe a status; its own provider does."""
    message_id = await desk.accept()
    await desk.submit("a-1")
    for provider, element in lies(message_id, "a-1"):
        await desk.receive(element, provider=provider)
    assert (await desk.show(message_id)).state == "submitted"
    assert await desk.owed(message_id) == []
    await desk.receive({"message_uuid": "a-1", "callback_event": "delivered", "status": "delivered"})
    assert await desk.owed(message_id) == ["delivered"]


async def test_a_message_that_was_perhaps_sent(desk: Desk) -> None:
    """What proves that a message was taken is only the word of the one that it was handed to."""
    message_id = await desk.accept()
    await desk.claim()
    await desk.store.write(lambda tx: sending.recover(tx, desk.rules, "revicom", desk.now))
    before = (await desk.show(message_id)).state
    for provider, element in lies(message_id, "a-1"):
        await desk.receive(element, provider=provider)
    assert (await desk.show(message_id)).state == before != "delivered"
    assert await desk.owed(message_id) == []
