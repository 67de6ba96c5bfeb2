"""The outbox of messages: what waits for a provider, what was perhaps handed over, what is being asked for.

Functions over a `Tx`. The phase of a send: queued → handed → (gone | queued | lookup → (gone | queued | review)).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from bridge.core.content import Extra, unpack
from bridge.core.model import MessageId, Millis
from bridge.store.tx import Row, Tx, distinct

__all__ = [
    "Send",
    "SendState",
    "claim",
    "due_lookups",
    "get_send",
    "next_due",
    "providers",
    "renew",
    "states",
]


class Send(Struct, frozen=True):
    """A message in the outbox, its personal parts opened.

    An empty destination was erased, but that of a Custom IM, which needs none; and so was a missing text, which is
    kept for as long as a message is here. `tries`: how often it came back.
    """

    message_id: MessageId
    gateway: str
    channel: str
    destination: str
    sender: str
    body: str
    handed_at: Millis | None
    lookups: int
    created_at: Millis
    tries: int = 0
    type: str = "sms"
    ext_user_id: str = ""
    extra: Extra = None
    has_text: bool = True

    @property
    def erased(self) -> bool:
        return not self.has_text or (not self.destination and self.type != "cim")

    def __repr__(self) -> str:
        return f"<Send {self.message_id.hex()}>"


class SendState(Struct, frozen=True):
    """Where a message is in the outbox. `handed_at` also tells one hand-over from another."""

    phase: str
    provider: str
    handed_at: Millis | None


async def claim(tx: Tx, provider: str, now: Millis, limit: int) -> list[Send]:
    """The oldest queued messages, committed as perhaps sent: after this only a look-up may hand them over again."""
    rows = await tx.all("due_sends", provider=provider, phase="queued", now=now, limit=limit)
    await tx.run_many("hand_send", [{"message_id": row[0], "now": now} for row in rows])
    return _open(tx, [(*row[:6], now, *row[7:]) for row in rows])


async def due_lookups(tx: Tx, provider: str, now: Millis, limit: int) -> list[Send]:
    """Perhaps-sent messages that the provider is to be asked for. They are claimed."""
    rows = await tx.all("due_sends", provider=provider, phase="lookup", now=now, limit=limit)
    if tx.shared:
        await tx.any_of("lease_sends", [row[0] for row in rows])
    return _open(tx, rows)


async def states(tx: Tx, message_ids: Sequence[MessageId]) -> dict[MessageId, SendState]:
    """How those of the messages stand that are in the outbox."""
    rows = await tx.any_of("sends_now", message_ids)
    return {message_id: SendState(*rest) for message_id, *rest in rows}


async def renew(tx: Tx, message_ids: Sequence[MessageId]) -> set[MessageId]:
    """These messages are under way here; gives those that nobody else has taken over."""
    return {row[0] for row in await tx.any_of("renew_sends", message_ids)}


async def get_send(tx: Tx, message_id: MessageId) -> Send | None:
    """The message, if it still is in the outbox."""
    row = await tx.one("get_send", message_id=message_id)
    return _open(tx, [row])[0] if row else None


async def providers(tx: Tx) -> list[str]:
    """Every provider that has something in the outbox, also one that left the settings."""
    return await distinct(tx, "next_provider")


async def next_due(tx: Tx, provider: str, phase: str, now: Millis, after: Millis = -1) -> Millis | None:
    """When the first send of this phase is due, of those due later than `after`. Queued ones that are too old never
    are."""
    row = await tx.one("next_send_due", provider=provider, phase=phase, now=now, after=after)
    return row[0] if row else None


def _open(tx: Tx, rows: Sequence[Row]) -> list[Send]:
    return [_open_one(tx, *row) for row in rows]


def _open_one(
    tx: Tx,
    message_id: MessageId,
    gateway: str,
    channel: str,
    destination: bytes,
    sender: str,
    kept: bytes | None,
    handed_at: Millis | None,
    lookups: int,
    created_at: Millis,
    tries: int,
    type_: str,
    ext_user_id: str,
) -> Send:
    open_text = tx.vault.open_text
    body, extra = unpack(open_text(kept) if kept else "", type_)
    return Send(
        message_id,
        gateway,
        channel,
        open_text(destination),
        sender,
        body,
        handed_at,
        lookups,
        created_at,
        tries,
        type_,
        ext_user_id,
        extra,
        kept is not None,
    )
