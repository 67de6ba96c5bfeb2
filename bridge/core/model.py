"""The nouns of the bridge: states, marks, statuses, ids, and what a provider can say of a message.

Times are integers, milliseconds since 1970 in UTC (`Millis`). Message ids are the 16 bytes of a UUIDv7; people and
peers see the hyphenated text of it (`id_text`), and a provider sees it without hyphens as a tag (`id_tag`).
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

__all__ = [
    "DeliveryReport",
    "Element",
    "InboundMessage",
    "Malformed",
    "Mark",
    "MessageId",
    "Millis",
    "Price",
    "State",
    "Status",
    "first_id",
    "id_from_text",
    "id_tag",
    "id_text",
    "new_id",
]

Millis = int
MessageId = bytes

_ID = re.compile(r"[0-9a-fA-F]{32}")


class State(StrEnum):
    """Where a message is. A closed set; `lifecycle.MOVES` says which may follow which."""

    QUEUED = "queued"  # stored; not yet handed over, or waiting for the next try
    UNKNOWN = "unknown"  # perhaps handed over: the look-up is asking
    SUBMITTED = "submitted"  # the provider took it
    SENT = "sent"  # the provider passed it on
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"  # not delivered, expired, or given up
    REJECTED = "rejected"  # refused before or at sending


class Mark(StrEnum):
    """What may stand beside a state, in any number."""

    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    COMPLAINED = "complained"


class Status(StrEnum):
    """Smartico's eight words for a status report. Source: help.smartico.ai, 2026-10."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    FAILED = "failed"
    REJECTED = "rejected"
    COMPLAINED = "complained"
    OPENED = "opened"
    UNSUBSCRIBED = "unsubscribed"
    CLICKED = "clicked"


class Price(Struct, frozen=True, gc=False):
    """What one provider message costs: exact amount, ISO 4217 currency, number of parts, and since when."""

    amount: Decimal
    currency: str
    parts: int
    at: Millis


class DeliveryReport(Struct, frozen=True):
    """One element of a callback batch about one outbound message, in the provider's words, checked for shape only.

    `at` is the provider's time, None where it could not be read; `link` is what was clicked.
    """

    provider_message_id: str
    event: str
    status: str = ""
    at: Millis | None = None
    channel: str = ""
    cascade_id: str | None = None
    step: int | None = None
    error_code: str | None = None
    link: str | None = None
    price: Price | None = None


class InboundMessage(Struct, frozen=True):
    """A message from a handset (MO). `handset` is E.164 with plus.

    `text` is empty where it is no text; then `special` is what came instead, JSON.
    """

    provider_message_id: str
    channel: str
    handset: str
    text: str
    event: str
    status: str
    at: Millis | None = None
    special: str = ""


class Malformed(Struct, frozen=True):
    """An element that could not be read; `reason` holds no personal data."""

    reason: str


Element = DeliveryReport | InboundMessage | Malformed


def new_id(now: Millis, entropy: int) -> MessageId:
    """A UUIDv7 (RFC 9562) from a time and 74 bits of entropy, as 16 bytes; sorts by time."""
    high = (now & ((1 << 48) - 1)) << 80
    random_a = ((entropy >> 62) & 0xFFF) << 64
    random_b = entropy & ((1 << 62) - 1)
    return (high | (7 << 76) | random_a | (2 << 62) | random_b).to_bytes(16, "big")


def id_time(message_id: MessageId) -> Millis:
    """The time that a UUIDv7 was made at."""
    return int.from_bytes(message_id[:6], "big")


def first_id(at: Millis) -> MessageId:
    """Not above any id that was made at this time or later, and above every earlier one."""
    return max(0, min(at, (1 << 48) - 1)).to_bytes(6, "big") + bytes(10)


def id_text(message_id: MessageId) -> str:
    """The hyphenated text of an id: the `ext_message_id` that Smartico knows."""
    text = message_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_tag(message_id: MessageId) -> str:
    """The id without hyphens: the tag by which a provider can be asked for the message."""
    return message_id.hex()


def id_from_text(text: str) -> MessageId | None:
    """The id that a person or a peer wrote, with or without hyphens; None where it is no UUID."""
    digits = text.replace("-", "")
    return bytes.fromhex(digits) if _ID.fullmatch(digits) else None
