"""The callbacks of Revicom Direct: one element of a batch, read into the bridge's own words.

Shape only: what events and statuses mean is said by mappings/revicom.toml, so unknown ones pass. Nothing here
raises, and no reason repeats a value. Source: Revicom Direct, "Receiving Callback" (2026-10).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from bridge.core.json_text import read_json
from bridge.core.model import DeliveryReport, Element, InboundMessage, Malformed, Millis, Price
from bridge.core.times import read_time
from bridge.providers.reading import decode_element

__all__ = ["read_element", "usable_id"]

_LONGEST_ID = 200  # characters
_DIGITS_BEFORE_POINT = 18
_DIGITS_AFTER_POINT = 30  # a sender that calculates in floating point writes up to 17

_Id = Annotated[str, Meta(min_length=1, max_length=_LONGEST_ID)]
_Word = Annotated[str, Meta(max_length=100)]
_Event = Annotated[str, Meta(min_length=1, max_length=100)]
_Step = Annotated[int, Meta(ge=1, le=1000)]
_ErrorCode = Annotated[int, Meta(ge=-(10**18), le=10**18)] | _Word | None

_AMOUNT = re.compile(rf"[0-9]{{1,{_DIGITS_BEFORE_POINT}}}(?:\.[0-9]{{1,{_DIGITS_AFTER_POINT}}})?")
# Short enough to be written out.
_WITH_EXPONENT = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?[eE][+-]?[0-9]{1,3}")
_HANDSET = re.compile(r"\+?([0-9]{3,20})")


class _Callback(Struct):
    """What every element has."""

    message_uuid: _Id
    callback_event: _Event
    channel_type: _Word = ""
    cascade_message_uuid: _Id | None = None
    cascade_step: _Step | None = None


class _StatusChange(_Callback):
    """`delivered`, `sent`, `read`, and every event that is not known here."""

    status: _Word = ""
    status_time: Any = None  # the status counts, whatever its time looks like
    error_code: _ErrorCode = None


class _PriceChange(_Callback, kw_only=True):
    parts: Annotated[int, Meta(ge=0, le=10_000)]
    price: Raw
    currency: Annotated[str, Meta(pattern=r"^[A-Za-z]{3}\Z")]
    price_time: str


class _Click(_Callback):
    url: str | None = None
    click_time: Any = None


class _InboundItem(Struct, rename="camel"):
    destination: str
    content: Any = None
    special_content: Raw = Raw(b"null")


class _Inbound(_Callback, kw_only=True):
    item: _InboundItem
    status: _Word = ""
    status_time: Any = None


_event = msgspec.json.Decoder(_Callback)
_status_change = msgspec.json.Decoder(_StatusChange)
_price_change = msgspec.json.Decoder(_PriceChange)
_click = msgspec.json.Decoder(_Click)
_inbound = msgspec.json.Decoder(_Inbound)
_any = msgspec.json.Decoder(object)


def usable_id(value: object) -> str:
    """A provider id as it is stored: in lower case; empty where no callback could name `value`."""
    if not isinstance(value, str) or len(value) > _LONGEST_ID or "\0" in value:
        return ""
    return value.lower()


def read_element(raw: bytes) -> Element:
    """One element of a batch, from its own JSON text; `Malformed` where it cannot be read."""
    element = decode_element(_decode, raw)
    if b"\\u0000" in raw and _holds_nul(element):
        return Malformed("it holds the character NUL")
    return element


def _decode(raw: bytes) -> Element:
    event = _event.decode(raw).callback_event
    return _READERS.get(event, _read_status)(raw)


def _holds_nul(element: Element) -> bool:
    return any(isinstance(value, str) and "\0" in value for value in msgspec.structs.astuple(element))


def _read_status(raw: bytes) -> Element:
    wire = _status_change.decode(raw)
    code = "" if wire.error_code is None else str(wire.error_code)
    return _report(wire, read_time(wire.status_time), status=wire.status, error_code=code or None)


def _read_click(raw: bytes) -> Element:
    wire = _click.decode(raw)
    return _report(wire, read_time(wire.click_time), link=wire.url)


def _read_price(raw: bytes) -> Element:
    wire = _price_change.decode(raw)
    amount = _read_amount(bytes(wire.price).decode("ascii", "replace"))
    if amount is None:
        return Malformed(f"price is no number, negative, or has over {_DIGITS_AFTER_POINT} decimal places")
    at = read_time(wire.price_time)
    if at is None:
        return Malformed("price_time is no time, and the newest price has to win")
    return _report(wire, at, price=Price(amount, wire.currency.upper(), wire.parts, at))


def _report(
    wire: _Callback,
    at: Millis | None,
    *,
    status: str = "",
    error_code: str | None = None,
    link: str | None = None,
    price: Price | None = None,
) -> DeliveryReport:
    cascade = wire.cascade_message_uuid
    return DeliveryReport(
        provider_message_id=wire.message_uuid.lower(),
        event=wire.callback_event,
        status=status,
        at=at,
        channel=wire.channel_type.upper(),
        cascade_id=None if cascade is None else cascade.lower(),
        step=wire.cascade_step,
        error_code=error_code,
        link=link,
        price=price,
    )


def _read_inbound(raw: bytes) -> Element:
    wire = _inbound.decode(raw)
    handset = _HANDSET.fullmatch(wire.item.destination)
    if handset is None:
        return Malformed("item.destination is no phone number")
    text = _inbound_text(wire.item)
    return InboundMessage(
        provider_message_id=wire.message_uuid.lower(),
        channel=wire.channel_type.upper(),
        handset=f"+{handset[1]}",
        text=text,
        event=wire.callback_event,
        status=wire.status,
        at=read_time(wire.status_time),
        special="" if text else _special(wire.item.special_content),
    )


_READERS: Mapping[str, Callable[[bytes], Element]] = {
    "price": _read_price,
    "click": _read_click,
    "inbound_sent": _read_inbound,
}


def _inbound_text(item: _InboundItem) -> str:
    special = read_json(_any, item.special_content)
    text = special.get("text") if isinstance(special, dict) else None
    for each in (item.content, text):
        if isinstance(each, str):
            return each
    return ""


def _special(content: Raw) -> str:
    """What is no text (a picture, a place), as it came; empty where there is nothing."""
    text = bytes(content).decode("utf-8", "replace")
    return "" if text == "null" else text


def _read_amount(text: str) -> Decimal | None:
    """The exact amount; None where it is no number, negative, or has more digits than the store keeps."""
    if _WITH_EXPONENT.fullmatch(text):
        text = f"{Decimal(text):f}"
    return Decimal(text) if _AMOUNT.fullmatch(text) else None
