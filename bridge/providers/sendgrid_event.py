"""The events of SendGrid's Event Webhook: one element of a batch, read into the bridge's own words.

Shape only: what events mean is said by mappings/sendgrid.toml, so unknown ones pass. Nothing here raises, no reason
repeats a value, and of the sentences of mail servers, which may hold addresses, only codes are kept. Source:
twilio.com/docs/sendgrid, "Event Webhook Reference" (2026-11).
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from bridge.core.model import DeliveryReport, Element, Malformed, Millis, id_from_text, id_text
from bridge.providers.reading import decode_element

__all__ = ["ID_ARGUMENT", "read_event", "usable_id"]

ID_ARGUMENT = (
    "ext_message_id"  # the custom argument with our id; custom arguments stand beside the fields of an event
)

_LONGEST = 200  # characters of an id
_LONGEST_LINK = 4000  # characters
_LATEST = 253_402_300_799  # the last second of the year 9999

# Why a mail was dropped, as the page lists the reasons.
_DROPS = frozenset(
    {
        "Bounced Address",
        "Invalid",
        "Invalid SMTPAPI header",
        "Recipient List over Package Quota",
        "Spam Content",
        "Spam Reporting Address",
        "Unsubscribed Address",
    }
)
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")  # RFC 3463
_ANSWER = re.compile(rf"([245][0-9]{{2}})(?:[ -]({_STATUS.pattern}))?(?![0-9.])")  # RFC 5321, section 4.2
_WORD = re.compile(r"[A-Za-z0-9_ -]{1,100}")
_SECONDS = re.compile(r"[0-9]{1,12}")


class _Event(Struct):
    """What is read of an event. The event counts, whatever all but its name look like."""

    event: Annotated[str, Meta(min_length=1, max_length=100)]
    ext_message_id: Any = None
    sg_message_id: Any = None
    timestamp: Any = None
    type: Any = None
    status: Any = None
    reason: Any = None
    response: Any = None
    url: Any = None


_event = msgspec.json.Decoder(_Event)


def usable_id(value: object) -> str:
    """An id of SendGrid's as it is stored: in lower case; empty where no event could name `value`."""
    if not isinstance(value, str) or len(value) > _LONGEST or "\0" in value:
        return ""
    return value.strip().lower()


def read_event(raw: bytes) -> Element:
    """One element of a batch, from its own JSON text; `Malformed` where it cannot be read."""
    wire = decode_element(_event.decode, raw)
    if isinstance(wire, Malformed):
        return wire
    provider_message_id = _message_of(wire)
    if not provider_message_id:
        return Malformed("it names no message: neither ext_message_id nor sg_message_id")
    if "\0" in wire.event:
        return Malformed("it holds the character NUL")
    return DeliveryReport(
        provider_message_id=provider_message_id,
        event=wire.event,
        status=_word(wire.type) if wire.event == "bounce" else "",
        at=_time(wire.timestamp),
        error_code=_error_code(wire),
        link=_link(wire.url) if wire.event == "click" else None,
    )


def _message_of(wire: _Event) -> str:
    """Our own id; else the part of SendGrid's before the first dot, which is the `X-Message-Id` of the answer."""
    ours = id_from_text(wire.ext_message_id) if isinstance(wire.ext_message_id, str) else None
    if ours is not None:
        return id_text(ours)
    theirs = wire.sg_message_id if isinstance(wire.sg_message_id, str) else ""
    return usable_id(theirs.partition(".")[0])


def _word(value: object) -> str:
    """The type of a bounce, "bounce" or "blocked"; empty where it is no word."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _time(value: object) -> Millis | None:
    """Milliseconds since 1970 from the seconds that an event has."""
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LATEST:
        return None
    return value * 1000


def _link(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= _LONGEST_LINK and "\0" not in value else None


def _error_code(wire: _Event) -> str | None:
    """Why it was dropped; else the status of RFC 3463 that the mail server gave; else the code of its answer."""
    if wire.event == "dropped" and isinstance(wire.reason, str) and wire.reason in _DROPS:
        return wire.reason
    if isinstance(wire.status, str) and _STATUS.fullmatch(wire.status):
        return wire.status
    if wire.event not in ("bounce", "deferred", "dropped"):
        return None
    told = wire.reason if isinstance(wire.reason, str) else wire.response
    answer = _ANSWER.match(told) if isinstance(told, str) else None
    return None if answer is None else answer[2] or answer[1]
