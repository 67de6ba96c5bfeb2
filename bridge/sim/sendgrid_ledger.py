"""What the simulated SendGrid saw and did: mails, refusals, requests and events, kept in memory."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.sim.callbacks import Acknowledged, CallbackLedger
from bridge.sim.verdict import Sent, tag_of


class Answered(NamedTuple):
    """One POST /v3/mail/send: when, and its outcome: a fault's name or the HTTP status."""

    at: float
    outcome: str


@dataclass(slots=True, kw_only=True)
class Mail:
    """One mail to one recipient that was taken. Times are seconds since 1970."""

    x_message_id: str  # as in the answer's header; the same for all recipients of a request
    sg_message_id: str  # as in its events
    smtp_id: str
    tag: str  # whose mail it is: the ext_message_id without hyphens; empty: not known
    to: str  # the address alone
    sender: Mapping[str, str]  # the `from` object: {"email", "name"}
    reply_to: Mapping[str, str] | None
    subject: str
    text: str | None
    html: str | None
    headers: Mapping[str, str]
    custom_args: Mapping[str, str]
    categories: tuple[str, ...]
    body: Mapping[str, Any]  # the request as a whole
    plan: tuple[str, ...]  # all steps of its life
    planned: tuple[str, ...]  # the events of it that are owed to the webhook
    position: int = 0  # how many steps of the plan have happened
    accepted_at: float = field(default_factory=time.time)
    acknowledged: list[Acknowledged] = field(default_factory=list)


class SendgridLedger(CallbackLedger):
    """Everything so far. Read its attributes freely; only the simulator writes."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Mail] = []
        self.by_tag: dict[str, list[Mail]] = {}
        self.by_id: dict[str, list[Mail]] = {}  # by x_message_id
        self.refused: list[Sent] = []
        self.requests: list[Answered] = []
        self.requests_by_outcome: Counter[str] = Counter()
        self.events: Counter[str] = Counter()  # events that happened, by name

    def add(self, mail: Mail) -> None:
        """Remember a mail."""
        self.mails.append(mail)
        self.by_id.setdefault(mail.x_message_id, []).append(mail)
        self.callbacks_planned += len(mail.planned)
        if mail.tag:
            self.by_tag.setdefault(mail.tag, []).append(mail)

    def note_request(self, outcome: str) -> None:
        """Remember a POST /v3/mail/send."""
        self.requests.append(Answered(time.time(), outcome))
        self.requests_by_outcome[outcome] += 1

    def note_refused(self, body: Any, tag_arg: str) -> None:
        """Remember a request that was refused for what is in it, as far as that can be read."""
        tag = find_tag(custom_args_of(body), tag_arg)
        self.refused.append(
            Sent(
                uuid="",
                tags=(tag,) if tag else (),
                destination=first_recipient(body),
                channel_type="EMAIL",
                refused=True,
            )
        )

    def duplicates_by_tag(self) -> dict[str, int]:
        """The tags that several mails have, and how many."""
        return {tag: len(mails) for tag, mails in self.by_tag.items() if len(mails) > 1}

    def listing(self) -> list[Sent]:
        """All mails and refusals, as the verdict and `/_sim/messages` want them."""
        taken = [
            Sent(
                uuid=mail.sg_message_id,
                tags=(mail.tag,) if mail.tag else (),
                destination=mail.to,
                channel_type="EMAIL",
                planned=mail.planned,
                acknowledged=tuple(one.status for one in mail.acknowledged),
            )
            for mail in self.mails
        ]
        return taken + self.refused

    def summary(self) -> dict[str, Any]:
        """Counts of everything."""
        return {
            "accepted": len(self.mails),
            "refused": len(self.refused),
            "duplicates_by_tag": self.duplicates_by_tag(),
            "events": self.events,
            **self.callback_counts(),
            "requests_by_outcome": self.requests_by_outcome,
        }


def find_tag(custom_args: Mapping[str, Any], tag_arg: str) -> str:
    """The ext_message_id without hyphens: of its own argument, else the first value that holds a UUID."""
    own = custom_args.get(tag_arg)
    if isinstance(own, str) and own:
        return own.replace("-", "")
    tags = (tag_of(value) for value in custom_args.values() if isinstance(value, str))
    return next((tag for tag in tags if tag), "")


def custom_args_of(body: Any, index: int = 0) -> dict[str, Any]:
    """The custom_args of one personalization, over those of the whole request."""
    merged: dict[str, Any] = {}
    for holder in (body, *personalizations(body)[index : index + 1]):
        values = holder.get("custom_args") if isinstance(holder, dict) else None
        merged |= values if isinstance(values, dict) else {}
    return merged


def personalizations(body: Any) -> list[Any]:
    """The personalizations of a request that may be anything."""
    found = body.get("personalizations") if isinstance(body, dict) else None
    return found if isinstance(found, list) else []


def first_recipient(body: Any) -> str:
    """The address of the first recipient of a request that may be anything; empty: none."""
    match personalizations(body):
        case [{"to": [{"email": str(email)}, *_]}, *_]:
            return email
        case _:
            return ""
