"""Smartico's "an asset was sent" notifications, read: JSON, a form or a query; every field may be missing.

Pure: bytes in, values out. Nothing here raises on what comes from outside, and no reason repeats a value.
Source: shared/seeds/smartico-reverse-integration-messaging.md. The template of a notification is configurable at
Smartico, so whatever is not one of the five names is kept in `body`. So is a value of the five that cannot be used (of
another type, or too long): nothing is cut, and nothing is lost.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from bridge.core.json_text import read_json
from bridge.core.model import Millis
from bridge.core.times import read_time

__all__ = ["Notification", "Unreadable", "channel_word", "read_notification"]

_LONGEST = {"login": 512, "channel": 64, "campaign_name": 512, "view_url": 4096}  # characters
_DEEPEST = 64  # objects and arrays within each other
_MOST_FIELDS = 1000
_BOM = b"\xef\xbb\xbf"
_SECONDS = 10**11  # below: seconds since 1970 until the year 5138; above: milliseconds since 1973
_LAST = 253_402_300_799_999  # the end of the year 9999
_DIGITS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
# What Smartico calls a channel, and what its gateways and our settings call it.
_SAME_CHANNEL = {"mail": "email", "e-mail": "email", "im": "cim", "custom im": "cim", "custom_im": "cim"}


class Notification(Struct, frozen=True):
    """One notification. Texts are empty where they are missing; `body` is a JSON object of all other fields.

    `payload` is the whole as one JSON object: the very bytes that came, where they were one. `digest` (16 bytes) is the
    same for a repeat; None where no time says that two of them are one.
    """

    login: str
    time: Millis | None
    channel: str
    campaign_name: str
    view_url: str
    body: bytes
    payload: bytes
    digest: bytes | None

    def __repr__(self) -> str:
        return "<Notification>"


class Unreadable(Struct, frozen=True):
    """Why something is no notification; a sentence without any of its values."""

    reason: str


class _WrongError(Exception):
    """Carries the sentence."""


def read_notification(content_type: str, query: bytes, raw: bytes) -> Notification | Unreadable:
    """The notification in a query and a body; a field of the body wins over one of the query."""
    try:
        from_query = _read_pairs(query, "the query")
        from_body = _read_body(content_type, raw.removeprefix(_BOM))
    except _WrongError as error:
        return Unreadable(str(error))
    fields = from_query | from_body
    if not fields:
        return Unreadable("the notification has no fields")
    as_it_came = not from_query and raw.removeprefix(_BOM).lstrip().startswith(b"{")
    payload = raw.removeprefix(_BOM) if as_it_came else msgspec.json.encode(fields)
    return _recognise(fields, payload)


def channel_word(channel: str) -> str:
    """The name of a channel by which two of them are compared: "Custom IM" is "cim", "Mail" is "email"."""
    word = " ".join(channel.lower().split())
    return _SAME_CHANNEL.get(word, word)


# --- fields ---


def _read_body(content_type: str, raw: bytes) -> dict[str, Any]:
    """A form where it says so and does not begin like JSON (as with `curl -d`)."""
    kind = content_type.partition(";")[0].strip().lower()
    if not raw.strip():
        return {}
    if kind == "application/x-www-form-urlencoded" and not raw.lstrip().startswith(b"{"):
        return _read_pairs(raw.strip(), "the form")
    return _read_object(raw)


def _read_object(raw: bytes) -> dict[str, Any]:
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise _WrongError("the notification is not UTF-8") from None
    value = read_json(_OBJECT, raw)
    halves = value is None
    if halves:
        value = _read_halves(raw)
    if not isinstance(value, dict):
        raise _WrongError("the notification is no JSON object that can be read")
    if _deeper(value, _DEEPEST):
        raise _WrongError("the notification is nested too deeply")
    return _mended(value) if halves else value


def _read_halves(raw: bytes) -> Any:
    """JSON that msgspec gives up for half a surrogate pair, as in a text that was cut within an emoji."""
    try:
        return json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(word: str) -> None:
    raise ValueError(word)


def _mended(value: Any) -> Any:
    """With the replacement character for every half."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_mended(name): _mended(each) for name, each in value.items()}
    return [_mended(each) for each in value] if isinstance(value, list) else value


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and arrays stand within each other deeper than so many levels."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return not levels or any(_deeper(each, levels - 1) for each in value)


def _read_pairs(text: bytes, where: str) -> dict[str, Any]:
    """Of several fields with one name the last one counts."""
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except UnicodeDecodeError:
        raise _WrongError(f"{where} is not UTF-8") from None
    except ValueError:
        raise _WrongError(f"{where} has too many fields") from None
    return {name: value for name, value in pairs if name}


# --- meaning ---


def _recognise(fields: dict[str, Any], payload: bytes) -> Notification:
    rest = dict(fields)
    texts = {name: _take_text(rest, name) for name in _LONGEST}
    time = _read_moment(fields.get("time"))
    if time is not None:
        del rest["time"]
    body = msgspec.json.encode(rest)
    return Notification(**texts, time=time, body=body, payload=payload, digest=_digest(texts, time, rest))


def _take_text(fields: dict[str, Any], name: str) -> str:
    """The text under this name, which then is no other field; empty where there is none that can be used."""
    value = fields.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > _LONGEST[name]:
        return ""
    del fields[name]
    return value.strip().replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL keeps no NUL


def _read_moment(value: Any) -> Millis | None:
    """Milliseconds since 1970, from a number or its digits (also of seconds) or an RFC 3339 time."""
    if isinstance(value, str):
        text = value.strip()
        if not _DIGITS.fullmatch(text):
            at = read_time(text)
            return at if at is not None and 0 < at <= _LAST else None
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= _LAST:
        return None
    return int(value * 1000 if value < _SECONDS else value)


def _digest(texts: dict[str, str], time: Millis | None, rest: dict[str, Any]) -> bytes | None:
    if time is None:
        return None
    identity = msgspec.json.encode([*texts.values(), time, rest], order="sorted")
    return blake2b(identity, digest_size=16).digest()
