"""Flows on a real database, with the real Revicom adapter and the shipped tables; only sockets are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bridge.app import make_id
from bridge.assembly import build_providers, build_rules, open_database
from bridge.core.model import MessageId
from bridge.flows import callbacks, sending
from bridge.flows.accepting import Accepting, Gateway, Stored
from bridge.flows.directory import ContactDraft, KnownContact, find, keep
from bridge.flows.rules import Rules
from bridge.flows.showing import MessageWithTimeline, message_with_timeline
from bridge.providers.protocol import Accepted
from bridge.settings import parse_settings
from bridge.store import inbox, sends
from bridge.store.contacts import Contact
from bridge.store.reports import DueReport
from bridge.store.tx import Store, Tx

NOW = 1_800_000_000_000
PHONE = "+14155550100"
SETTINGS = """
[database]
url = "{database}"
lease_seconds = 0.5
[smartico]
api_key = "key-of-smartico"
settle_seconds = 0
[providers.revicom]
token = "token-of-revicom"
callback_password = "password-of-callbacks"
[gateways.sms]
authorization = ["secret-of-sms"]
cascade_steps = {steps}
"""


class Desk:
    """The flows of one database, by hand; time stands still unless it is moved."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self.store = store
        self.rules = rules
        self.now = NOW
        self.receiving = callbacks.Receiving(store, rules)
        self.accepting = Accepting(store, lambda: self.now, make_id)
        self._count = 0
        self.gateway = Gateway(
            name="sms",
            type="sms",
            channel="SMS",
            provider="revicom",
            senders=("Amazing",),
            max_age_ms=86_400_000,
            callback_hosts=("*.smartico.ai",),
            allow_insecure_callbacks=False,
            fallback_callback_url="",
        )

    async def add_contact(self, user: str = "player", phone: str = PHONE) -> None:
        draft = ContactDraft(Contact(user, phone), None)
        await self.store.write(lambda tx: keep(tx, draft, "test", self.now))

    async def accept(self, user: str = "player") -> MessageId:
        self._count += 1
        raw = {
            "ext_user_id": user,
            "body": "Best offer ever",
            "im_uid": f"uid-{self._count}",
            "callback_url": "https://api.smartico.ai/callback",
        }
        result = await self.accepting.accept(self.gateway, json.dumps(raw).encode(), full=False)
        assert isinstance(result, Stored), result
        return result.message_id

    async def claim(self) -> list[sends.Send]:
        return await self.store.write(lambda tx: sends.claim(tx, "revicom", self.now, 100))

    async def submit(self, uuid: str) -> None:
        """The provider takes the one message that waits."""
        (send,) = await self.claim()

        async def job(tx: Tx) -> list[DueReport]:
            return await sending.settle(tx, self.rules, "revicom", [(send, Accepted(uuid))], self.now)

        await self.store.write(job)

    async def receive(self, *elements: Any, provider: str = "revicom") -> None:
        """One callback body arrives and is understood."""
        body = json.dumps(list(elements)).encode()
        await self.receiving.receive(provider, body, self.now)
        batches = await self.store.read(lambda tx: inbox.waiting_batches(tx, 1000, 10**6))
        if batches:
            await callbacks.process(self.store, self.rules, batches, self.now, lambda due: None)

    async def owed(self, message_id: MessageId) -> list[str]:
        """The statuses that Smartico is owed, in their order."""
        rows = await self.store.read(lambda tx: tx.all("message_reports", message_id=message_id))
        return [row[0] for row in rows]

    async def contact(self, user: str) -> KnownContact:
        found = await self.store.read(lambda tx: find(tx, user))
        assert found is not None
        return found

    async def show(self, message_id: MessageId) -> MessageWithTimeline:
        found = await self.store.read(lambda tx: message_with_timeline(tx, message_id))
        assert found is not None
        return found


async def open_desk(
    folder: Path, steps: int = 1, database: str = "sqlite:///bridge.db", more: str = ""
) -> Desk:
    """A desk on a fresh database; `more`: further settings."""
    text = SETTINGS.format(steps=steps, database=database) + more
    settings = parse_settings(text, file="bridge.toml", base_dir=folder, environ={})
    rules = build_rules(settings, build_providers(settings, "https://bridge.example"))
    return Desk(await open_database(settings), rules)
