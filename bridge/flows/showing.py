"""Messages, reports and review items as people and scripts see them: RFC 3339 times, money as text, addresses masked.

The shapes of `/api` (`/openapi.json`), also printed by the commands with `--json`.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct, json

from bridge.core.model import MessageId, Millis, id_text
from bridge.core.moments import format_time
from bridge.flows.directory import KnownContact
from bridge.flows.samples import without_texts
from bridge.pii import mask_email, mask_phone
from bridge.store.review import ReviewItem
from bridge.store.search import MessageRow, ReportRow, get_message
from bridge.store.tx import Row, Tx

__all__ = [
    "ContactJson",
    "MessageJson",
    "ReportJson",
    "ReviewJson",
    "contact_json",
    "mask_json",
    "message_json",
    "message_with_timeline",
    "report_id",
    "report_json",
    "review_json",
]


class MessageJson(Struct, frozen=True, kw_only=True):
    """One message. `timeline` only where one message was asked for."""

    ext_message_id: str
    gateway: str
    type: str
    channel: str
    state: str
    marks: list[str]
    smartico_uid: str
    ext_user_id: str
    provider: str
    provider_message_id: str | None
    sender: str
    parts: int | None
    price: str | None
    currency: str | None
    error_code: str | None
    error_text: str | None
    created_at: str
    updated_at: str
    submitted_at: str | None
    delivered_at: str | None
    address_masked: str | None


class MessageWithTimeline(MessageJson, frozen=True, kw_only=True):
    """One message and every step of it, oldest first: `at`, `kind`, and what belongs to the kind."""

    timeline: list[dict[str, Any]]


class ReportJson(Struct, frozen=True, kw_only=True):
    """One status report that is or was owed to Smartico."""

    id: str
    ext_message_id: str
    gateway: str
    status: str
    state: str
    attempts: int
    next_attempt_at: str | None
    owed_at: str
    finished_at: str | None
    last_error: str | None


class ReviewJson(Struct, frozen=True, kw_only=True):
    """One cause that a person has to look at. `count`: how many things stand behind it."""

    id: int
    kind: str
    cause: str
    provider: str
    state: str
    count: int
    first_at: str
    last_at: str
    sample: str


class ContactJson(Struct, frozen=True, kw_only=True):
    """A contact; addresses are masked.

    `opt_outs` says when and why each channel that is closed now was closed; `opt_out_history` has every closing and
    reopening, oldest first.
    """

    ext_user_id: str
    phone: str | None
    email: str | None
    opted_out: list[str]
    opt_outs: list[dict[str, str]]
    opt_out_history: list[dict[str, str]]


def _time(at: Millis | None) -> str | None:
    return None if at is None else format_time(at)


def message_json(row: MessageRow) -> MessageJson:
    return MessageJson(**_message_values(row))


def _message_values(row: MessageRow) -> dict[str, Any]:
    return {
        "ext_message_id": id_text(row.id),
        "gateway": row.gateway,
        "type": row.type,
        "channel": row.channel,
        "state": row.state,
        "marks": row.marks.split(),
        "smartico_uid": row.smartico_uid,
        "ext_user_id": row.ext_user_id,
        "provider": row.provider,
        "provider_message_id": row.provider_message_id,
        "sender": row.sender,
        "parts": row.parts,
        "price": row.price,
        "currency": row.currency,
        "error_code": row.error_code,
        "error_text": row.error_text,
        "created_at": format_time(row.created_at),
        "updated_at": format_time(row.updated_at),
        "submitted_at": _time(row.submitted_at),
        "delivered_at": _time(row.delivered_at),
        "address_masked": row.address_masked,
    }


def report_id(message_id: MessageId, status: str) -> str:
    """The id of a report: its message and its status."""
    return f"{id_text(message_id)}:{status}"


def report_json(row: ReportRow) -> ReportJson:
    return ReportJson(
        id=report_id(row.message_id, row.status),
        ext_message_id=id_text(row.message_id),
        gateway=row.gateway,
        status=row.status,
        state=row.state,
        attempts=row.attempts,
        next_attempt_at=_time(row.due_at),
        owed_at=format_time(row.owed_at),
        finished_at=_time(row.finished_at),
        last_error=row.last_error,
    )


def review_json(item: ReviewItem) -> ReviewJson:
    return ReviewJson(
        id=item.id,
        kind=item.kind,
        cause=item.cause,
        provider=item.provider,
        state=item.state,
        count=item.count,
        first_at=format_time(item.first_at),
        last_at=format_time(item.last_at),
        sample=mask_sample(item.sample),
    )


def mask_sample(sample: str) -> str:
    """A raw element with what people wrote taken out, and everything that may be a number or an address masked."""
    try:
        sample = json.encode(without_texts(json.decode(sample))).decode()
    except (ValueError, RecursionError):
        pass  # it is no JSON: that is why a person has to look
    return hide_addresses(sample)


def hide_addresses(text: str) -> str:
    """A text with everything masked that may be a number or an address, but for ids and times."""
    parts = _KEPT.split(text)
    return "".join(part if number % 2 else _hide(part) for number, part in enumerate(parts))


def _hide(text: str) -> str:
    return _NUMBER.sub("•••", _MAILBOX.sub("•••", text))


def mask_json(value: Any) -> Any:
    """The same with everything in it masked that may be a number or an address."""
    if isinstance(value, dict):
        return {name: mask_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [mask_json(each) for each in value]
    if isinstance(value, str):
        return hide_addresses(value)
    shown = hide_addresses(str(value))
    return value if shown == str(value) else shown


# Ids and times stand in every element, and look like numbers.
_KEPT = re.compile(
    r"(\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b\d{4}-\d\d-\d\dT[\d:.]+Z?)", re.IGNORECASE
)
# A word is looked at once, from where it begins: a sample may be one word of a million letters.
_MAILBOX = re.compile(r"(?<![^\s\"'<>,:@])[^\s\"'<>,:@]++@[^\s\"'<>,]+")
_NUMBER = re.compile(r"\+?\d(?:[ ()/.-]?\d){5,}")


def contact_json(known: KnownContact) -> ContactJson:
    contact = known.contact
    return ContactJson(
        ext_user_id=contact.ext_user_id,
        phone=mask_phone(contact.phone) if contact.phone else None,
        email=mask_email(contact.email) if contact.email else None,
        opted_out=[each.channel for each in known.opt_outs],
        opt_outs=[
            {"channel": each.channel, "closed_at": format_time(each.closed_at), "reason": each.reason}
            for each in known.opt_outs
        ],
        opt_out_history=[
            {
                "at": format_time(each.at),
                "channel": each.channel,
                "change": each.change,
                "reason": each.reason,
            }
            for each in known.changes
        ],
    )


# --- the timeline ---


async def message_with_timeline(tx: Tx, message_id: MessageId) -> MessageWithTimeline | None:
    """One message with every step that is known of it."""
    row = await get_message(tx, message_id)
    if row is None:
        return None
    return MessageWithTimeline(**_message_values(row), timeline=await _timeline(tx, row))


async def _timeline(tx: Tx, row: MessageRow) -> list[dict[str, Any]]:
    entries: list[tuple[Millis, dict[str, Any]]] = [
        (row.created_at, {"kind": "accepted", "gateway": row.gateway})
    ]
    if row.submitted_at is not None:
        submitted = {"kind": "submitted", "provider_message_id": row.provider_message_id}
        entries.append((row.submitted_at, submitted))
    for at, kind, detail, actor in await tx.all("message_steps", message_id=row.id):
        entries.append((at, {"kind": kind, "detail": detail} | ({"actor": actor} if actor else {})))
    for callback in await tx.all("message_callbacks", message_id=row.id):
        entries.append(await _callback_entry(tx, row.provider, callback))
    entries += [inbound_entry(tx, each) for each in await tx.all("message_inbound", message_id=row.id)]
    for notification in await tx.all("message_communications", message_id=row.id):
        entries.append(_notification_entry(tx, notification))
    for report in await tx.all("message_reports", message_id=row.id):
        entries += _report_entries(report)
    return [{"at": format_time(at), **entry} for at, entry in sorted(entries, key=lambda each: each[0])]


async def _callback_entry(tx: Tx, provider: str, row: Row) -> tuple[Millis, dict[str, Any]]:
    (
        _,
        _,
        _,
        provider_message_id,
        event,
        status,
        outcome,
        step,
        code,
        link,
        parts,
        price,
        currency,
        at,
        arrived,
    ) = row
    text = await tx.one("error_text", provider=provider, code=code) if code else None
    optional = {
        "step": step,
        "error_code": code,
        "error_text": text[0] if text else None,
        "link": link,
        "parts": parts,
        "price": price,
        "currency": currency,
    }
    entry = {
        "kind": "callback",
        "event": event,
        "status": status,
        "outcome": outcome,
        "provider_message_id": provider_message_id,
        "provider_time": _time(at),
    }
    return arrived, entry | {key: value for key, value in optional.items() if value is not None}


def inbound_entry(tx: Tx, row: Row) -> tuple[Millis, dict[str, Any]]:
    """What a person wrote, numbers and addresses in it masked; of what is no text its kind."""
    at, provider_at, keyword, text, special, channel = row
    entry = {
        "kind": "inbound",
        "channel": channel,
        "provider_time": _time(provider_at),
        "text": hide_addresses(tx.vault.open_text(text)),
        "opt_out_keyword": keyword,
    }
    if special is not None:
        entry["special_content"] = hide_addresses(tx.vault.open_text(special))
    return at, entry


def _notification_entry(tx: Tx, row: Row) -> tuple[Millis, dict[str, Any]]:
    """Smartico told that it was sent."""
    received_at, sent_at, channel, campaign_name, view_url = row
    entry = {
        "kind": "notification",
        "campaign_name": campaign_name,
        "channel": channel,
        "view_url": tx.vault.open_text(view_url),
        "time": _time(sent_at),
    }
    return received_at, entry


def _report_entries(row: Row) -> list[tuple[Millis, dict[str, Any]]]:
    status, _, state, due_at, owed_at, attempts, finished_at, latency_ms, last_error = row
    entries: list[tuple[Millis, dict[str, Any]]] = [(owed_at, {"kind": "report_owed", "status": status})]
    if state == "done":
        entry = {"kind": "report_done", "status": status, "attempts": attempts, "latency_ms": latency_ms}
        entries.append((finished_at, entry))
    elif state == "pending":
        entries[0][1].update(attempts=attempts, next_attempt_at=_time(due_at), last_error=last_error)
    return entries
