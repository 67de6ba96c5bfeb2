"""What the simulated operator platform saw and did, kept in memory."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.sim.callbacks import Acknowledged, CallbackLedger
from bridge.sim.verdict import Sent

_REFUSALS = (400, 422)  # of the notification itself; another status is about the bridge


@dataclass(slots=True, kw_only=True)
class Notification:
    """One notification with its ext_message_id, however often it came."""

    ext_message_id: str
    ext_user_id: str
    callback_url: str  # with credentials; empty: no reports
    body: Mapping[str, Any]  # as it came first
    plan: tuple[str, ...]  # all statuses of its life
    position: int = 0  # how many of them have happened
    received: int = 1
    at: float = field(default_factory=time.time)
    acknowledged: list[Acknowledged] = field(default_factory=list)

    @property
    def planned(self) -> tuple[str, ...]:
        """The statuses that are owed to the callback_url."""
        return self.plan if self.callback_url else ()


class Forwarded(NamedTuple):
    """Something that was handed on: an asset notification, or a message from a handset."""

    at: float
    headers: Mapping[str, str]
    body: Any


class PlatformLedger(CallbackLedger):
    """Everything so far. Read its attributes freely; only the simulator writes."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups: Counter[str] = Counter()  # by ext_user_id
        self.answers: Counter[str] = Counter()  # by HTTP status or fault
        self.notifications: list[dict[str, Any]] = []  # as received, repeats included
        self.notification_headers: list[Mapping[str, str]] = []  # of each of them
        self.by_id: dict[str, Notification] = {}  # by ext_message_id
        self.refused: list[str] = []  # ext_message_ids that were refused for what is in them
        self.communications: list[Forwarded] = []  # in the order of their arrival, repeats included
        self.inbound: list[Forwarded] = []  # likewise

    def repeated(self) -> int:
        """How many notifications came with an ext_message_id that had come before."""
        ids = [one.get("ext_message_id") for one in self.notifications]
        return len(ids) - len(set(ids))

    def add(self, notification: Notification) -> None:
        """Remember a notification that is new."""
        self.by_id[notification.ext_message_id] = notification
        self.callbacks_planned += len(notification.planned)

    def note_refused(self, body: Any, status: int) -> None:
        """Remember a notification that was refused, when that was about itself."""
        if status in _REFUSALS and isinstance(body, dict):
            self.refused.append(str(body.get("ext_message_id", "")))

    def listing(self) -> list[Sent]:
        """All notifications and refusals, as the verdict and `/_sim/sent` want them."""
        taken = [
            Sent(
                uuid=one.ext_message_id,
                tags=(one.ext_message_id.replace("-", ""),),
                destination=one.ext_user_id,
                channel_type="CIM",
                planned=one.planned,
                acknowledged=tuple(status.status for status in one.acknowledged),
            )
            for one in self.by_id.values()
        ]
        refused = [
            Sent(uuid="", tags=(one.replace("-", ""),), destination="", channel_type="CIM", refused=True)
            for one in self.refused
        ]
        return taken + refused

    def summary(self) -> dict[str, Any]:
        """Counts of everything."""
        return {
            "lookups": self.lookups.total(),
            "answers": self.answers,
            "notifications": len(self.notifications),
            "notifications_repeated": self.repeated(),
            "refused": len(self.refused),
            "communications": len(self.communications),
            "inbound": len(self.inbound),
            **self.callback_counts(),
        }
