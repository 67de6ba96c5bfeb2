"""What the simulated Smartico saw: messages that were accepted, statuses, and everything wrong."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.sim.verdict import Reported


@dataclass(slots=True)
class Arrival:
    """One status that was taken. Unanswered: the client never saw error_code 0, and is right to repeat it."""

    status: str
    at: float
    answered: bool = False


@dataclass(slots=True)
class Known:
    """One message with an ext_message_id. Times are seconds since 1970."""

    ext_message_id: str
    type: str
    im_uid: str
    ext_user_id: str
    accepted_at: float = field(default_factory=time.time)
    arrivals: list[Arrival] = field(default_factory=list)
    repeated: int = 0  # how many arrivals had been answered before
    asked: int = 0  # status requests for it, "not found" ones included


class Problem(NamedTuple):
    """Something a strict Smartico would complain about."""

    at: float
    ext_message_id: str
    what: str


class Unsent(NamedTuple):
    """A message that was refused (with the error_code), or given up (with the last failure)."""

    im_uid: str
    error_code: int | None
    reason: str


@dataclass(slots=True)
class Asset:
    """One "an asset was sent" notification that was posted, and how it was answered."""

    ext_message_id: str
    body: dict[str, Any]
    at: float = field(default_factory=time.time)
    answer: str = ""  # "0" … by error_code, "http 503", or the kind of failure; empty: not yet


class SmarticoLedger:
    """Everything so far. Read its attributes freely; only the simulator writes."""

    def __init__(self) -> None:
        self.messages: dict[str, Known] = {}  # by ext_message_id
        self.accepted: dict[str, str] = {}  # im_uid -> ext_message_id
        self.refused: list[Unsent] = []
        self.given_up: list[Unsent] = []
        self.errors: list[Problem] = []
        self.send_answers: Counter[str] = Counter()  # "0" … by error_code, "http 503", or the kind of failure
        self.status_answers: Counter[str] = Counter()  # "taken", "not found", "bad", or a fault's name
        self.statuses: Counter[str] = Counter()  # taken ones, repeats included
        self.repeated = 0
        self.previews: dict[str, str] = {}  # im_uid -> to_email_address, of accepted previews
        self.assets: list[Asset] = []  # in the order in which they were posted
        self.asset_answers: Counter[str] = Counter()

    def note_error(self, ext_message_id: str, what: str) -> None:
        """Remember something wrong."""
        self.errors.append(Problem(time.time(), ext_message_id, what))

    def learn(self, known: Known) -> None:
        """Remember an accepted message; an id that means two things is an error."""
        earlier = self.accepted.setdefault(known.im_uid, known.ext_message_id)
        if earlier != known.ext_message_id:
            self.note_error(known.ext_message_id, f"{known.im_uid} already had the ext_message_id {earlier}")
        same = self.messages.setdefault(known.ext_message_id, known)
        if same.im_uid != known.im_uid:
            self.note_error(known.ext_message_id, f"{known.im_uid} got the ext_message_id of {same.im_uid}")

    def take(self, known: Known, status: str) -> Arrival:
        """Remember a status; one that was answered before is a repeat, and so an error."""
        if any(arrival.status == status and arrival.answered for arrival in known.arrivals):
            known.repeated += 1
            self.repeated += 1
            self.note_error(known.ext_message_id, f"{status} was repeated")
        arrival = Arrival(status, time.time())
        known.arrivals.append(arrival)
        self.statuses[status] += 1
        return arrival

    def listing(self) -> list[Reported]:
        """All messages, as the verdict and `/_sim/messages` want them."""
        return [
            Reported(
                ext_message_id=known.ext_message_id,
                type=known.type,
                im_uid=known.im_uid,
                ext_user_id=known.ext_user_id,
                statuses=tuple(arrival.status for arrival in known.arrivals),
                repeated=known.repeated,
            )
            for known in self.messages.values()
        ]

    def summary(self) -> dict[str, Any]:
        """Counts of everything, and the first errors."""
        return {
            "accepted": len(self.messages),
            "refused": len(self.refused),
            "given_up": len(self.given_up),
            "statuses": self.statuses,
            "repeated": self.repeated,
            "errors": len(self.errors),
            "first_errors": [problem._asdict() for problem in self.errors[:20]],
            "send_answers": self.send_answers,
            "status_answers": self.status_answers,
            "previews": len(self.previews),
            "asset_answers": self.asset_answers,
        }
