"""What happened with one user, newest first: messages, answers from the handset, notifications, closed channels."""

from __future__ import annotations

from typing import Any

from bridge.core.model import Millis, id_text
from bridge.core.moments import format_time
from bridge.flows.directory import KnownContact, find
from bridge.flows.showing import inbound_entry
from bridge.store.contacts import Contact
from bridge.store.search import CommunicationFilter, MessageFilter, find_communications, find_messages
from bridge.store.tx import Row, Tx

__all__ = ["timeline_of_user"]

_Entry = tuple[Millis, dict[str, Any]]


async def timeline_of_user(
    tx: Tx, ext_user_id: str, elsewhere: Contact | None, limit: int
) -> list[dict[str, Any]]:
    """The latest `limit` entries: `at`, `kind` (message, inbound, notification, opt_out), and what belongs to it.

    `elsewhere`: what the operator's platform says of the user. Nothing is known of many users but their messages.
    """
    known = await find(tx, ext_user_id, elsewhere) or KnownContact(Contact(ext_user_id), [], [])
    user = known.contact.ext_user_id
    entries = [
        *await _messages(tx, user, limit),
        *await _inbound(tx, known, limit),
        *await _notifications(tx, user, limit),
        *_opt_outs(known),
    ]
    latest = sorted(entries, key=lambda each: each[0], reverse=True)[:limit]
    return [{"at": format_time(at), **entry} for at, entry in latest]


async def _messages(tx: Tx, user: str, limit: int) -> list[_Entry]:
    rows = await find_messages(tx, MessageFilter(ext_user_id=user, limit=limit))
    return [
        (
            row.created_at,
            {
                "kind": "message",
                "ext_message_id": id_text(row.id),
                "gateway": row.gateway,
                "channel": row.channel,
                "state": row.state,
                "marks": row.marks.split(),
            },
        )
        for row in rows
    ]


async def _inbound(tx: Tx, known: KnownContact, limit: int) -> list[_Entry]:
    """What came from the number that the user has now, and what answered the user's messages."""
    user, phone = known.contact.ext_user_id, known.contact.phone
    rows: list[Row] = list(await tx.all("inbound_of_user", ext_user_id=user, limit=limit))
    if phone:
        handset_hash = tx.vault.hash(phone)
        found = await tx.all("inbound_of_handset", handset_hash=handset_hash, limit=limit)
        rows += [row for row in found if row not in rows]
    return [inbound_entry(tx, row) for row in rows]


async def _notifications(tx: Tx, user: str, limit: int) -> list[_Entry]:
    rows = await find_communications(tx, CommunicationFilter(login=user, limit=limit))
    return [
        (
            row.sent_at if row.sent_at is not None else row.received_at,
            {
                "kind": "notification",
                "channel": row.channel,
                "campaign_name": row.campaign_name,
                "view_url": row.view_url,
                "ext_message_id": id_text(row.message_id) if row.message_id else None,
            },
        )
        for row in rows
    ]


def _opt_outs(known: KnownContact) -> list[_Entry]:
    return [
        (
            each.at,
            {"kind": "opt_out", "channel": each.channel, "change": each.change, "reason": each.reason},
        )
        for each in known.changes
    ]
