"""The answer of Revicom Direct to `GET /message`: does it know the message that was perhaps sent?

Source: Revicom Direct, "Getting Messages" (2026-10). The envelope of the answer is not documented, so an
array and an object around one are both understood. A message that says of itself that it is not ours is
passed over. "No trace" may lead to a second send, so it is said only where the answer could be read. Never
raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from bridge.core.json_text import read_json
from bridge.core.times import read_time
from bridge.providers.protocol import Found, LookupFailed, LookupResult, NoTrace
from bridge.providers.revicom_callback import usable_id

__all__ = ["listed_messages", "read_lookup"]


class _Message(Struct, rename="camel"):
    """What is looked at in a message; only the id has to be there."""

    message_uuid: Any = None
    cascade_message_uuid: Any = None
    tags: Any = None
    direction: Any = None
    destination: Any = None
    created_time: Any = None


_envelope = msgspec.json.Decoder(list[Raw] | dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])
_message = msgspec.json.Decoder(_Message)


def read_lookup(body: bytes, *, tag: str, destination: str) -> LookupResult:
    """Whether `body`, of a 2xx answer, lists the message with our `tag`; `destination` in digits only."""
    listed = listed_messages(body)
    if listed is None:
        return LookupFailed("the answer holds no list of messages")
    read = [read_json(_message, raw) for raw in listed]
    messages = [message for message in read if message is not None and usable_id(message.message_uuid)]
    if listed and not messages:
        return LookupFailed("the answer lists messages without messageUuid")
    ours = [message for message in messages if _may_be_ours(message, tag, destination)]
    return Found(_root(ours)) if ours else NoTrace()


def listed_messages(body: bytes) -> list[Raw] | None:
    """The messages: the array itself, or the one member that is an array (of several: `items`). None: none is."""
    envelope = read_json(_envelope, body)
    if not isinstance(envelope, Mapping):
        return envelope
    lists = {name: found for name, raw in envelope.items() if (found := read_json(_list, raw)) is not None}
    return next(iter(lists.values())) if len(lists) == 1 else lists.get("items")


def _may_be_ours(message: _Message, tag: str, destination: str) -> bool:
    if isinstance(message.direction, str) and message.direction.lower() != "outbound":
        return False
    if isinstance(message.tags, list):
        return any(isinstance(each, str) and each.lower() == tag for each in message.tags)
    # Without tags the number is the next best; a number that is masked or written in groups decides nothing.
    number = message.destination.lstrip("+") if isinstance(message.destination, str) else ""
    return number == destination or not number.isdigit()


def _root(messages: Sequence[_Message]) -> str:
    """The id of the one message that was sent, or of the first message of its cascade."""
    cascades = [usable_id(message.cascade_message_uuid) for message in messages]
    for message, cascade in zip(messages, cascades, strict=True):
        if usable_id(message.message_uuid) == cascade:
            return cascade
    if cascades[0] and len(set(cascades)) == 1:
        return cascades[0]
    return usable_id(min(messages, key=_created).message_uuid)


def _created(message: _Message) -> tuple[bool, int]:
    at = read_time(message.created_time)
    return (True, 0) if at is None else (False, at)
