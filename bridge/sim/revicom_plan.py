"""Pure: the life of a message at the simulated provider, and the callback elements it gives rise to.

Field names, their order and the form of times are those of the provider's page "Receiving Callback".
Invented: which error codes go with which failure (from the SMSC's list), the prices, and that a click follows
at once on a delivery.
"""

import random
import re
import time
from typing import Any, NamedTuple

from bridge.sim.revicom_config import RevicomConfig
from bridge.sim.revicom_ledger import Message

READING_CHANNELS = frozenset({"WHATSAPP", "VIBER", "VK"})
OUTCOMES: dict[str, tuple[str, ...]] = {  # what may be forced by the config, as the statuses passed through
    "silent": (),
    "sent": ("sent",),
    "delivered": ("sent", "delivered"),
    "undelivered": ("sent", "undelivered"),
    "unsent": ("unsent",),
    "read": ("sent", "delivered", "read"),
    "unread": ("sent", "delivered", "unread"),
    "clicked": ("sent", "delivered", "click"),
    "read_and_clicked": ("sent", "delivered", "read", "click"),
}
EVENT_OF = {
    "sent": "sent",
    "delivered": "delivered",
    "undelivered": "delivered",
    "unsent": "delivered",
    "read": "read",
    "unread": "read",
    "click": "click",
    "price": "price",
}
_ERROR_CODES = {"undelivered": (127, 501, 508), "unsent": (453, 457, 458)}
_LINK = re.compile(r"https?://\S+")


class Chances(NamedTuple):
    """What the outcome of one message is drawn with."""

    config: RevicomConfig
    random: random.Random


def choose_outcome(item: dict[str, Any], chances: Chances) -> str:
    """The outcome of a request item: forced by the config's callable or suffixes, else drawn."""
    config = chances.config
    forced = config.outcome(item) if config.outcome else None
    if forced:
        return forced
    for suffix, outcome in config.outcome_by_suffix.items():
        if item["destination"].endswith(suffix):
            return outcome
    return _draw_outcome(item, chances)


def _draw_outcome(item: dict[str, Any], chances: Chances) -> str:
    config, draw = chances.config, chances.random.random
    final = draw()
    if final >= config.delivered_share:
        return "undelivered" if final < config.delivered_share + config.undelivered_share else "unsent"
    clicked = bool(item.get("shortUrl")) and draw() < config.click_share
    if item["channelType"] not in READING_CHANNELS:
        return "clicked" if clicked else "delivered"
    if draw() < config.read_share:
        return "read_and_clicked" if clicked else "read"
    return "clicked" if clicked else "unread"


def plan_steps(outcome: str, channel: str, *, short_url: bool) -> tuple[str, ...]:
    """The steps of a message's life, "price" and "click" among them, as far as its channel has them."""
    steps: list[str] = []
    for status in OUTCOMES[outcome]:
        if EVENT_OF[status] == "read" and channel not in READING_CHANNELS:
            continue
        if status == "click" and not short_url:
            continue
        steps.append(status)
        if status == "sent":
            steps.append("price")
    return tuple(steps)


def build_element(message: Message, status: str, chances: Chances) -> dict[str, Any]:
    """The callback element of one step, as it happens now."""
    if status == "click":
        return _click_element(message, chances.random)
    element = {**_start(message), "callback_event": EVENT_OF[status]}
    if status == "price":
        parts = count_parts(text_of(message.content))
        price = round(parts * chances.config.price_per_part, 6)
        cost = {"parts": parts, "price": price, "currency": chances.config.currency}
        return {**element, **cost, "price_time": now()}
    element |= {"status": status, "status_time": now()}
    if status in _ERROR_CODES:
        element["error_code"] = chances.random.choice(_ERROR_CODES[status])
    return element


def build_inbound(uuid: str, channel: str, sender: str, destination: str, text: str) -> dict[str, Any]:
    """The callback element of a message from a handset."""
    at = now()
    milliseconds = at.replace("Z", ".000Z")
    return {
        "message_uuid": uuid,
        "callback_event": "inbound_sent",
        "channel_type": channel,
        "status": "inbound_sent",
        "status_time": at,
        "item": {
            "createdTime": milliseconds,
            "sentTime": milliseconds,
            "messageUuid": uuid,
            "direction": "inbound",
            "channelType": channel,
            "trafficCenterId": 111,
            "senderName": sender,
            "destination": destination,
            "content": text,
            "specialContent": {"text": text, "contentType": "text"},
            "totalParts": count_parts(text),
        },
    }


def text_of(content: Any) -> str:
    """The text of a string or object content."""
    return str(content["text"]) if isinstance(content, dict) else str(content)


def count_parts(text: str) -> int:
    """How many SMS a text takes, roughly: 160 ASCII characters each or 70 others, less when joined."""
    alone, joined = (160, 153) if text.isascii() else (70, 67)
    return 1 if len(text) <= alone else -(-len(text) // joined)


def now() -> str:
    """The time as callbacks show it: 2020-10-16T18:51:13Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _start(message: Message) -> dict[str, Any]:
    start = {"message_uuid": message.uuid, "channel_type": message.channel_type}
    return start | _cascade(message)


def _cascade(message: Message) -> dict[str, Any]:
    if message.cascade_uuid is None:
        return {}
    return {"cascade_message_uuid": message.cascade_uuid, "cascade_step": message.cascade_step}


def _click_element(message: Message, draw: random.Random) -> dict[str, Any]:
    link = _LINK.search(text_of(message.content))
    return {
        "message_uuid": message.uuid,
        "callback_event": "click",
        "channel_type": message.channel_type,
        **_cascade(message),
        "url": link.group() if link else "https://revicom.ltd",
        "short_url": f"a.bc/{draw.getrandbits(32):08x}",
        "click_time": now(),
    }
