"""Pure: the life of a mail at the simulated SendGrid, and the events that its webhook posts of it.

Names and fields of events are those of SendGrid's page "Event Webhook Reference"; ids have the form of its
samples. Custom arguments stand at the top level of each event. Invented: the reasons and addresses, and that
an open goes before a click.
"""

import base64
import random
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from bridge.sim.sendgrid_config import SendgridConfig
from bridge.sim.sendgrid_ledger import Mail

OUTCOMES: dict[str, tuple[str, ...]] = {  # what may be forced by the config, as the steps passed through
    "silent": (),
    "processed": ("processed",),
    "deferred": ("processed", "deferred", "delivered"),
    "delivered": ("processed", "delivered"),
    "bounced": ("processed", "bounce"),
    "blocked": ("processed", "blocked"),
    "dropped": ("dropped",),
    "bounced_late": ("processed", "delivered", "bounce"),
    "opened": ("processed", "delivered", "open"),
    "clicked": ("processed", "delivered", "open", "click"),
    "spam": ("processed", "delivered", "spamreport"),
    "unsubscribed": ("processed", "delivered", "open", "unsubscribe"),
    "group_unsubscribed": ("processed", "delivered", "open", "group_unsubscribe"),
}
DELIVERY_STEPS = frozenset({"processed", "deferred", "delivered", "bounce", "blocked", "dropped"})
MALFORMED: tuple[Any, ...] = (
    "not an object",
    None,
    17,
    [],
    {},
    {"event": "delivered"},
    {"email": "a@example.com", "timestamp": "yesterday", "event": 5, "sg_event_id": None},
)
_LINK = re.compile(r"https?://[^\s\"'<>]+")
_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
_OWN = frozenset({"email", "timestamp", "event", "sg_event_id", "sg_message_id", "smtp-id"})


class Ids(NamedTuple):
    """The ids of one mail."""

    x_message_id: str
    sg_message_id: str
    smtp_id: str


def choose_plan(address: str, config: SendgridConfig, draw: random.Random) -> tuple[str, ...]:
    """The steps of a mail's life: forced by the end of the address, else drawn."""
    for suffix, outcome in config.outcome_by_suffix.items():
        if address.endswith(suffix):
            return OUTCOMES[outcome]
    final = draw.random() - config.delivered_share
    if final >= 0 and final >= config.bounce_share + config.blocked_share:
        return OUTCOMES["dropped"]
    start = ("processed", "deferred") if draw.random() < config.deferred_share else ("processed",)
    if final < 0:
        return (*start, "delivered", *_draw_rest(config, draw))
    return (*start, "bounce" if final < config.bounce_share else "blocked")


def _draw_rest(config: SendgridConfig, draw: random.Random) -> list[str]:
    """What follows on a delivery."""
    if draw.random() < config.bounce_after_delivered_share:
        return ["bounce"]
    steps: list[str] = []
    if draw.random() < config.open_share:
        steps.append("open")
        if draw.random() < config.click_share:
            steps.append("click")
    for step, share in (
        ("spamreport", config.spam_report_share),
        ("unsubscribe", config.unsubscribe_share),
        ("group_unsubscribe", config.group_unsubscribe_share),
    ):
        if draw.random() < share:
            steps.append(step)
    return steps


def event_of(step: str) -> str:
    """The name of the event that a step gives rise to."""
    return "bounce" if step == "blocked" else step


def make_message_id(draw: random.Random) -> str:
    """An X-Message-Id: 22 characters, as "LRzXl_NHStOGhQ4kofSm_A"."""
    return base64.urlsafe_b64encode(draw.randbytes(16)).rstrip(b"=").decode()


def make_ids(x_message_id: str, number: int) -> Ids:
    """The ids of the recipient with this number."""
    sg_message_id = f"{x_message_id}.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-{number}.0"
    return Ids(x_message_id, sg_message_id, f"<{x_message_id}@geopod-ismtpd-4-0>")


def build_event(mail: Mail, step: str, draw: random.Random) -> dict[str, Any]:
    """The event of a step, as it happens now."""
    event_id = base64.urlsafe_b64encode(draw.randbytes(18)).decode()
    own = {
        "email": mail.to,
        "timestamp": int(time.time()),
        "event": event_of(step),
        "sg_event_id": event_id,
        "sg_message_id": mail.sg_message_id,
    }
    if step in DELIVERY_STEPS:
        own["smtp-id"] = mail.smtp_id
    if mail.categories:
        own["category"] = list(mail.categories)
    arguments = {name: value for name, value in mail.custom_args.items() if name not in _OWN}
    return {**arguments, **own, **_details(mail, step)}


def without_arguments(event: Mapping[str, Any], arguments: Mapping[str, str]) -> dict[str, Any]:
    """An event as mails have it that were not sent through the bridge."""
    return {name: value for name, value in event.items() if name in _OWN or name not in arguments}


def _details(mail: Mail, step: str) -> dict[str, Any]:
    """The fields that only events of this kind have."""
    person = {"useragent": _AGENT, "ip": "198.51.100.7"}
    match step:
        case "deferred":
            return {"response": "400 try again later", "attempt": "1"}
        case "delivered":
            return {"response": "250 OK", "ip": "198.51.100.25", "tls": 1}
        case "bounce":
            details = {"reason": "550 5.1.1 The email account does not exist", "status": "5.1.1"}
            return {**details, "type": "bounce", "bounce_classification": "Invalid Address", "tls": 1}
        case "blocked":
            details = {"reason": "554 5.7.1 Rejected by the recipient's server", "status": "5.7.1"}
            return {**details, "type": "blocked", "bounce_classification": "Reputation", "tls": 1}
        case "dropped":
            return {"reason": "Bounced Address", "status": "5.0.0"}
        case "open":
            return {**person, "sg_machine_open": False}
        case "click":
            return {**person, "url": _link_in(mail), "url_offset": {"index": 0, "type": "html"}}
        case "group_unsubscribe":
            return {**person, "url": "https://example.com/unsubscribe", "asm_group_id": 10}
        case _:
            return {}


def _link_in(mail: Mail) -> str:
    link = _LINK.search(mail.html or mail.text or "")
    return link.group() if link else "https://sendgrid.com"
