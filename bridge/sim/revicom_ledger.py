"""What the simulated provider saw and did: messages, refusals, requests and callbacks, kept in memory."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.sim.callbacks import Acknowledged, CallbackLedger
from bridge.sim.verdict import Sent


class Request(NamedTuple):
    """One POST /message: when, how many messages, and its outcome: a fault's name or the HTTP status."""

    at: float
    size: int
    outcome: str


class Refusal(NamedTuple):
    """A message that was refused: as an item of an answer, or alone in a refused request."""

    tags: tuple[str, ...]
    destination: str
    channel_type: str
    code: int


@dataclass(slots=True, kw_only=True)
class Message:
    """One message that was taken. Times are seconds since 1970."""

    uuid: str
    tags: tuple[str, ...]
    destination: str
    channel_type: str
    sender_name: str
    content: Any
    external_id: str | None
    short_url: bool
    callback_url: str | None
    wanted: frozenset[str]  # callback events asked for
    outcome: str
    plan: tuple[str, ...]  # all steps of its life
    planned: tuple[str, ...]  # those of them that give a callback
    cascade_uuid: str | None = None
    cascade_step: int | None = None
    position: int = 0  # how many steps of the plan have happened
    accepted_at: float = field(default_factory=time.time)
    sent_at: float | None = None
    acknowledged: list[Acknowledged] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The status now, in the provider's words."""
        for status in reversed(self.plan[: self.position]):
            if status not in ("price", "click"):
                return status
        return "sending"


class RevicomLedger(CallbackLedger):
    """Everything so far. Read its attributes freely; only the simulator writes."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.by_uuid: dict[str, Message] = {}
        self.by_tag: dict[str, list[Message]] = {}
        self.duplicates_by_tag: dict[str, int] = {}
        self.refused: list[Refusal] = []
        self.requests: list[Request] = []
        self.requests_by_outcome: Counter[str] = Counter()

    def add(self, message: Message) -> None:
        """Remember a message, and whether its tags were used before."""
        self.messages.append(message)
        self.by_uuid[message.uuid] = message
        self.callbacks_planned += len(message.planned)
        for tag in message.tags:
            same = self.by_tag.setdefault(tag, [])
            same.append(message)
            if len(same) > 1:
                self.duplicates_by_tag[tag] = len(same)

    def replan(self, message: Message, plan: tuple[str, ...], planned: tuple[str, ...]) -> None:
        """Give a message that has not begun its life another one."""
        self.callbacks_planned += len(planned) - len(message.planned)
        message.plan, message.planned = plan, planned

    def note_request(self, size: int, outcome: str) -> None:
        """Remember a POST /message."""
        self.requests.append(Request(time.time(), size, outcome))
        self.requests_by_outcome[outcome] += 1

    def listing(self) -> list[Sent]:
        """All messages and refusals, as the verdict and `/_sim/messages` want them."""
        taken = [
            Sent(
                uuid=message.uuid,
                tags=message.tags,
                destination=message.destination,
                channel_type=message.channel_type,
                cascade_uuid=message.cascade_uuid,
                cascade_step=message.cascade_step,
                planned=message.planned,
                acknowledged=tuple(one.status for one in message.acknowledged),
            )
            for message in self.messages
        ]
        refused = [
            Sent(
                uuid="",
                tags=one.tags,
                destination=one.destination,
                channel_type=one.channel_type,
                refused=True,
            )
            for one in self.refused
        ]
        return taken + refused

    def summary(self) -> dict[str, Any]:
        """Counts of everything."""
        return {
            "accepted": len(self.messages),
            "refused": len(self.refused),
            "duplicates_by_tag": self.duplicates_by_tag,
            **self.callback_counts(),
            "requests_by_outcome": self.requests_by_outcome,
            "largest_request": max((request.size for request in self.requests), default=0),
        }
