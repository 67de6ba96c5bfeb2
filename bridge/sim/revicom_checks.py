"""Pure: what the simulated Revicom Direct accepts in POST /message and POST /message/stop.

Strict where the provider's pages state a rule: fields and types, `^\\w+$` tags, ttl from 60 to 86400, hours
and days, the two local times, string or object content by channel, callbackUrl by RFC 3986, 1 to 1000
messages, at most 10000 uuids. Invented: that unknown fields are refused, that a destination is digits only
(every sample is), and the wording. A check answers None, or the problem as "path: sentence".
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

EVENTS = frozenset({"delivered", "sent", "read", "price", "click"})
OBJECT_CHANNELS = frozenset({"WHATSAPP", "VOICECODE"})
MAX_MESSAGES = 1000
MAX_UUIDS = 10000
_REQUIRED = ("channelType", "senderName", "destination", "content")

_CHARACTER = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})"
_URL = re.compile(
    rf"https?://(?:(?:{_CHARACTER}|:)*@)?(?:\[[0-9A-Fa-f:.]+\]|{_CHARACTER}+)(?::\d{{1,5}})?"
    rf"(?:/(?:{_CHARACTER}|[:@/])*)?(?:\?(?:{_CHARACTER}|[:@/?])*)?(?:#(?:{_CHARACTER}|[:@/?])*)?"
)
_TAG = re.compile(r"\w+", re.ASCII)
_DIGITS = re.compile(r"[0-9]+")

Check = Callable[[Any], str | None]


def check_batch(batch: Any, channels: frozenset[str]) -> str | None:
    """The first problem of a decoded POST /message body, or None."""
    if not isinstance(batch, list):
        return "body: must be an array"
    if not 1 <= len(batch) <= MAX_MESSAGES:
        return f"body: must hold 1 to {MAX_MESSAGES} messages"
    for index, message in enumerate(batch):
        problem = check_message(message, channels)
        if problem:
            return f"[{index}]{problem}"
    return None


def check_message(message: Any, channels: frozenset[str]) -> str | None:
    """The first problem of one message, as ".field: sentence" or, for the whole, ": sentence"; or None."""
    if not isinstance(message, dict):
        return ": must be an object"
    for name in _REQUIRED:
        if name not in message:
            return f".{name}: is required"
    if message["channelType"] not in channels:
        return ".channelType: is not a channel of this account"
    for name, value in message.items():
        check = _CHECKS.get(name)
        problem = check(value) if check else "is not a known field"
        if problem:
            return f".{name}: {problem}"
    problem = _check_content(message["channelType"], message["content"])
    return f".content{problem}" if problem else None


def check_stop(body: Any) -> str | None:
    """The first problem of a decoded POST /message/stop body, or None."""
    if not isinstance(body, dict) or set(body) != {"uuids"}:
        return "body: must be an object with uuids"
    uuids = body["uuids"]
    if not isinstance(uuids, list) or not all(isinstance(uuid, str) for uuid in uuids):
        return "uuids: must be an array of strings"
    return None if len(uuids) <= MAX_UUIDS else f"uuids: at most {MAX_UUIDS}"


@lru_cache(maxsize=1024)
def is_url(text: str) -> bool:
    """Whether the text is an http or https URL by RFC 3986, with or without login:password."""
    return _URL.fullmatch(text) is not None


def _check_content(channel: str, content: Any) -> str | None:
    if channel in OBJECT_CHANNELS:
        return _check_object_content(content)
    if not isinstance(content, str) or not content:
        return ": must be a string and not empty"
    if content.startswith("\ufeff"):
        return ": must not start with a byte order mark"
    if channel == "VK" and len(content) > 2048:
        return ": must have 1 to 2048 characters"
    return None


def _check_object_content(content: Any) -> str | None:
    if not isinstance(content, dict):
        return ": must be an object"
    if content.get("contentType") != "text":
        return '.contentType: must be "text"'
    if not isinstance(content.get("text"), str) or not content["text"]:
        return ".text: must be a string and not empty"
    unknown = set(content) - {"contentType", "text"}
    return f".{unknown.pop()}: is not a known field" if unknown else None


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "must be a string and not empty"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _anything(_: Any) -> str | None:
    return None


def _destination(value: Any) -> str | None:
    good = isinstance(value, str) and _DIGITS.fullmatch(value)
    return None if good else "must be a string of digits"


def _tags(value: Any) -> str | None:
    good = isinstance(value, list) and all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in value)
    return None if good else r"must be an array of strings that match ^\w+$"


def _ttl(value: Any) -> str | None:
    return None if type(value) is int and 60 <= value <= 86400 else "must be an integer from 60 to 86400"


def _callback_url(value: Any) -> str | None:
    return None if isinstance(value, str) and is_url(value) else "must be an http or https URL"


def _callback_events(value: Any) -> str | None:
    good = isinstance(value, list) and all(isinstance(event, str) and event in EVENTS for event in value)
    return None if good else f"must be an array out of {', '.join(sorted(EVENTS))}"


def _external_id(value: Any) -> str | None:
    good = isinstance(value, str) and len(value) <= 100
    return None if good else "must be a string of at most 100 characters"


def _numbers(lowest: int, highest: int) -> Check:
    def check(value: Any) -> str | None:
        allowed = range(lowest, highest + 1)
        numbers = isinstance(value, list) and all(type(one) is int and one in allowed for one in value)
        good = numbers and len(set(value)) == len(value)
        return None if good else f"must be an array of different integers from {lowest} to {highest}"

    return check


def _local_time(earliest: timedelta, latest: timedelta) -> Check:
    def check(value: Any) -> str | None:
        try:
            time = datetime.strptime(f"{value} +0000", "%Y-%m-%d %H:%M:%S %z")
        except ValueError:
            return "must be a time like 2024-01-31 12:00:00"
        now = datetime.now(UTC)
        return None if now + earliest <= time <= now + latest else "is too early or too late"

    return check


_CHECKS: Mapping[str, Check] = {
    "channelType": _text,
    "senderName": _text,
    "destination": _destination,
    "content": _anything,  # depends on the channel: checked last
    "tags": _tags,
    "useLocalTime": _boolean,
    "localSendTime": _local_time(timedelta(hours=-12), timedelta(days=7)),
    "localCompletionTime": _local_time(timedelta(hours=-12), timedelta(days=70)),
    "ttl": _ttl,
    "hours": _numbers(0, 23),
    "days": _numbers(1, 7),
    "shortUrl": _boolean,
    "callbackUrl": _callback_url,
    "callbackEvents": _callback_events,
    "externalMessageId": _external_id,
}
