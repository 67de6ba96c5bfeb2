"""E-mail through any SMTP server: a mail built, and the server's answer read.

No exchange, no state, no clock. A server that took a mail says no more of it: there are no callbacks and no look-up.
The mail itself is built in `mime`. Source: RFC 5321 (SMTP), RFC 3463 (what the codes mean).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bridge.core.exchange import Mail, MailReply, NoConnection, NoReply, SendOutcome
from bridge.core.mailbox import ascii_domain
from bridge.core.redact import redact
from bridge.providers.mime import build_mime, message_id_of, read_mailbox_of
from bridge.providers.protocol import (
    Accepted,
    Answered,
    Blocked,
    CallbackUnreadable,
    Deferred,
    ItemResult,
    NotTaken,
    OutgoingMessage,
    PerhapsTaken,
    RawElement,
    Refused,
    SendResult,
)
from bridge.providers.unasked import NeverAsked

if TYPE_CHECKING:
    from bridge.settings.model import SmtpSettings

__all__ = ["Smtp"]

_CLOSING = 421  # the server goes away, whatever we wanted
# Codes that are about us, at whatever stage: sign in first, signing in failed.
_ABOUT_US = frozenset({530, 534, 535, 538})


class Smtp(NeverAsked):
    """One configured mail server."""

    adapter: str = "smtp"
    max_batch: int = 1
    signs: Sequence[str] = ()

    def __init__(self, settings: SmtpSettings, public_url: str) -> None:
        self.name: str = settings.name
        self._settings = settings

    def __repr__(self) -> str:
        return f"<Smtp {self.name}>"

    # --- sending ---

    def build_send(self, batch: Sequence[OutgoingMessage]) -> Mail:
        """The mail, for its one recipient."""
        (message,) = batch
        content, utf8 = build_mime(message)
        sender, recipient = read_mailbox_of(message.sender).address, ascii_domain(message.destination)
        return Mail(sender, recipient, content, self._settings.timeout_seconds, utf8)

    def parse_send(self, batch: Sequence[OutgoingMessage], outcome: SendOutcome) -> SendResult:
        """What became of it: 4xx of one mail is tried again, 5xx is its end; before that it is about us."""
        match outcome:
            case MailReply("greeting" | "login"):
                return self._not_now(outcome) if outcome.code < 500 else self._blocked(outcome)
            case MailReply(_, code) if code in _ABOUT_US:
                return self._blocked(outcome)
            case MailReply(_, code) if code == _CLOSING:
                return self._not_now(outcome)
            case MailReply():
                return Answered((self._judge(batch[0], outcome),))
            case NoConnection(reason):
                return NotTaken("no_connection", self._redact(reason))
            case NoReply(reason):
                return PerhapsTaken(self._redact(reason))
            case _:
                return PerhapsTaken("an answer that is not SMTP")

    def _judge(self, message: OutgoingMessage, reply: MailReply) -> ItemResult:
        reason = self._redact(f"{reply.code} {reply.text}")
        if reply.code >= 500:
            return Refused(str(reply.code), reason)
        if reply.code >= 400 or reply.stage != "content":
            return Deferred(str(reply.code), reason)
        return Accepted(message_id_of(message)) if 200 <= reply.code < 300 else PerhapsTaken(reason)

    def _not_now(self, reply: MailReply) -> NotTaken:
        return NotTaken(str(reply.code), self._redact(reply.reason))

    def _blocked(self, reply: MailReply) -> Blocked:
        return Blocked(str(reply.code), self._redact(reply.reason))

    def _redact(self, text: str) -> str:
        return redact(text, self._settings.password)

    # --- what SMTP does not have ---

    def verify_callback(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Nobody calls back."""
        return False

    def check_callback(self, body: bytes) -> int | CallbackUnreadable:
        """Nobody calls back."""
        return CallbackUnreadable("a mail server has no callbacks")

    def parse_callback(self, body: bytes) -> Iterator[RawElement]:
        """Nobody calls back."""
        return iter(())
