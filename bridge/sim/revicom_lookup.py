"""Pure: GET /message of the simulated provider: its filters, its paging and its message objects.

Documented: the filters' names, that most may be given several times, `page * per_page <= 10000`, and the
fields of the message object (`tags` is added, as it is a filter). Invented: the envelope, and 501 for filters
not simulated.
"""

import time
from collections.abc import Iterable
from typing import Any

from multidict import MultiMapping

from bridge.sim.revicom_ledger import Message, RevicomLedger
from bridge.sim.revicom_plan import count_parts, text_of

_SIMULATED = frozenset(
    {"page", "per_page", "tags", "destination", "message_uuid", "status", "channel_type", "sender_name"}
    | {"cascade_message_uuid", "root", "direction"}
)
_DOCUMENTED = _SIMULATED | frozenset(
    {"sort", "time_from", "time_to", "traffic_type", "sending_method", "traffic_center_id", "dispatch_id"}
    | {"template_id", "content", "content_nor", "ready_to_stop", "country_code", "dispatch"}
)
_ATTRIBUTES = {
    "destination": "destination",
    "status": "status",
    "channel_type": "channel_type",
    "sender_name": "sender_name",
    "cascade_message_uuid": "cascade_uuid",
}
_READABLE = 10000


class RefusedLookupError(Exception):
    """A query that is answered with an error: its HTTP status and sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def find(ledger: RevicomLedger, query: MultiMapping[str], findable_before: float) -> list[dict[str, Any]]:
    """The message objects of one page, oldest first; what came after `findable_before` stays invisible."""
    _check_names(query)
    page, per_page = _number(query, "page", 1), _number(query, "per_page", 100)
    if page * per_page > _READABLE:
        raise RefusedLookupError(400, f"page * per_page: at most {_READABLE}")
    found = [
        message
        for message in _candidates(ledger, query)
        if message.accepted_at <= findable_before and _matches(message, query)
    ]
    start = (page - 1) * per_page
    return [describe(message) for message in found[start : start + per_page]]


def describe(message: Message) -> dict[str, Any]:
    """The message object of GET /message."""
    text = text_of(message.content)
    described = {
        "createdTime": _milliseconds(message.accepted_at),
        "messageUuid": message.uuid,
        "direction": "outbound",
        "channelType": message.channel_type,
        "trafficCenterId": 111,
        "senderName": message.sender_name,
        "destination": message.destination,
        "content": text,
        "totalParts": count_parts(text),
        "tags": message.tags,
    }
    if message.sent_at is not None:
        described["sentTime"] = _milliseconds(message.sent_at)
    if isinstance(message.content, dict):
        described["specialContent"] = message.content
    return described


def _check_names(query: MultiMapping[str]) -> None:
    for name in query:
        if name not in _DOCUMENTED:
            raise RefusedLookupError(400, f"{name}: is not a known parameter")
        if name not in _SIMULATED:
            raise RefusedLookupError(501, f"{name}: this filter is not simulated")


def _number(query: MultiMapping[str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise RefusedLookupError(400, f"{name}: must be a number from 1")
    return int(text)


def _candidates(ledger: RevicomLedger, query: MultiMapping[str]) -> Iterable[Message]:
    """The messages with one of the uuids and one of the tags asked for; all, when neither is."""
    uuids, tags = query.getall("message_uuid", []), query.getall("tags", [])
    if uuids:
        named = [ledger.by_uuid[uuid] for uuid in dict.fromkeys(uuids) if uuid in ledger.by_uuid]
        return [message for message in named if not tags or set(tags) & set(message.tags)]
    if tags:
        tagged = {message.uuid: message for tag in tags for message in ledger.by_tag.get(tag, ())}
        return sorted(tagged.values(), key=lambda message: message.accepted_at)
    return ledger.messages


def _matches(message: Message, query: MultiMapping[str]) -> bool:
    for name, attribute in _ATTRIBUTES.items():
        wanted = query.getall(name, [])
        if wanted and getattr(message, attribute) not in wanted:
            return False
    if "outbound" not in query.getall("direction", ["outbound"]):
        return False
    root = query.get("root")
    return root is None or (root == "true") == (message.cascade_step in (None, 1))


def _milliseconds(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"
