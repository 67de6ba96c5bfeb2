"""What the simulated SMTP server saw: mails, refusals, connections and commands, kept in memory."""

import time
from collections import Counter
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property
from typing import Any, NamedTuple

from bridge.sim.verdict import Sent, tag_of


@dataclass(kw_only=True)
class SmtpMail:
    """One content that was taken, for one recipient. Times are seconds since 1970."""

    sender: str  # of the envelope
    recipient: str  # of the envelope
    content: bytes  # as it came, without the final dot and the dots of transparency
    smtputf8: bool
    secure: bool  # over TLS
    connection: int  # the number of the connection, from 1
    answered: bool = False  # the 250 was written
    at: float = field(default_factory=time.time)

    @cached_property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @cached_property
    def tag(self) -> str:
        """The ext_message_id without hyphens: the UUID in Message-ID, else the first in an X- header."""
        names = ["Message-ID", *(name for name in self.message if name.lower().startswith("x-"))]
        tags = (tag_of(str(self.message.get(name, ""))) for name in names)
        return next((tag for tag in tags if tag), "")


class SmtpRefusal(NamedTuple):
    """A mail that was refused for good: at its sender, its recipient or its content."""

    code: int
    sender: str
    recipient: str  # empty: refused before there was one
    tag: str  # empty: refused before there was a content


class SmtpLedger:
    """Everything so far. Read its attributes freely; only the simulator writes."""

    def __init__(self) -> None:
        self.mails: list[SmtpMail] = []
        self.refused: list[SmtpRefusal] = []
        self.connections = 0
        self.open_connections = 0
        self.most_connections = 0  # at one time
        self.commands: Counter[str] = Counter()  # "EHLO", "MAIL" …, in their right order
        self.answers: Counter[str] = Counter()  # of contents: "250", a code or a fault's name
        self.faults: Counter[str] = Counter()  # those that happened, by name

    def opened(self) -> int:
        """Remember a new connection; its number."""
        self.connections += 1
        self.open_connections += 1
        self.most_connections = max(self.most_connections, self.open_connections)
        return self.connections

    def listing(self) -> list[Sent]:
        """All mails and refusals, as the verdict and `/_sim/messages` want them."""
        taken = [
            self._row(f"smtp-{number}", mail.tag, mail.recipient, answered=mail.answered)
            for number, mail in enumerate(self.mails, 1)
        ]
        return taken + [self._row("", one.tag, one.recipient) for one in self.refused]

    def summary(self) -> dict[str, Any]:
        """Counts of everything."""
        tags = Counter(mail.tag for mail in self.mails if mail.tag)
        return {
            "accepted": len(self.mails),
            "refused": len(self.refused),
            "duplicates_by_tag": {tag: count for tag, count in tags.items() if count > 1},
            "connections": self.connections,
            "concurrency_high_water": self.most_connections,
            "commands": self.commands,
            "answers": self.answers,
            "faults": self.faults,
        }

    def _row(self, uuid: str, tag: str, recipient: str, *, answered: bool = False) -> Sent:
        events = ("taken",) if answered else ()
        return Sent(
            uuid=uuid,
            tags=(tag,) if tag else (),
            destination=recipient,
            channel_type="EMAIL",
            refused=not uuid,
            planned=events,
            acknowledged=events,
        )
