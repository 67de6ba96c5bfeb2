"""E-mail through Twilio SendGrid: Mail Send of its Web API v3, and its Event Webhook.

No exchange, no state, no clock. SendGrid cannot be asked for a mail unless more history is bought, so each mail carries
our id as a custom argument, which its events repeat. Sources (twilio.com/docs/sendgrid, 2026-11): "Mail Send" with its
"Errors", "How to use the SendGrid v3 API: Errors, Responses", "Email Activity". Events are read in `sendgrid_event`,
signatures in `sendgrid_signature`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from bridge.core.content import EmailExtra
from bridge.core.exchange import NoConnection, NoReply, Reply, Request, SendOutcome
from bridge.core.json_text import read_json
from bridge.core.mailbox import ascii_domain, read_mailbox
from bridge.core.model import id_text
from bridge.core.redact import redact
from bridge.providers.basic import BasicCredentials
from bridge.providers.protocol import (
    Accepted,
    Answered,
    Blocked,
    CallbackUnreadable,
    Invalid,
    NotTaken,
    OutgoingMessage,
    PerhapsTaken,
    RawElement,
    SendResult,
    TooLarge,
)
from bridge.providers.reading import count_elements, each_element, judge_refusal
from bridge.providers.sendgrid_event import ID_ARGUMENT, read_event, usable_id
from bridge.providers.sendgrid_signature import SIGNED_BY, read_public_key, signature_matches
from bridge.providers.unasked import NeverAsked

if TYPE_CHECKING:
    from bridge.settings.model import SendgridSettings

__all__ = ["Sendgrid"]

FORBIDDEN = 403
TAKEN = 202  # 200 is the answer of the sandbox: valid, and not sent
# "The subject is required", and an empty one counts as none; one blank is the least that is a subject.
NO_SUBJECT = " "


class _Error(Struct):
    message: Any = None
    field: Any = None


class _ErrorAnswer(Struct):
    errors: list[_Error]


_error_answer = msgspec.json.Decoder(_ErrorAnswer)


class Sendgrid(NeverAsked):
    """One configured account at SendGrid. Raises BridgeError for a `webhook_public_key` that is none."""

    adapter: str = "sendgrid"
    max_batch: int = 1

    def __init__(self, settings: SendgridSettings, public_url: str) -> None:
        self.name: str = settings.name
        self._settings = settings
        self._url = f"{settings.base_url.rstrip('/')}/mail/send"
        self._credentials = BasicCredentials(settings.callback_username, settings.callback_password)
        self._public_key = read_public_key(settings.webhook_public_key, settings.name)
        self.signs: Sequence[str] = SIGNED_BY if self._public_key is not None else ()

    def __repr__(self) -> str:
        return f"<Sendgrid {self.name}>"

    # --- sending ---

    def build_send(self, batch: Sequence[OutgoingMessage]) -> Request:
        """`POST /mail/send` with the one mail."""
        (message,) = batch
        headers = {
            "Authorization": f"Bearer {self._settings.token.reveal()}",
            "Content-Type": "application/json",
        }
        body = msgspec.json.encode(_mail(message))
        return Request("POST", self._url, self._settings.timeout_seconds, headers, body)

    def parse_send(self, batch: Sequence[OutgoingMessage], outcome: SendOutcome) -> SendResult:
        """What became of it. The answer to a mail that was taken has its id in a header, and no body."""
        match outcome:
            case NoConnection(reason):
                return NotTaken("no_connection", self._redact(reason))
            case NoReply(reason):
                return PerhapsTaken(self._redact(reason))
            case Reply(status) if status == TAKEN:
                return Answered(tuple(_accepted(each, outcome) for each in batch))
            case Reply(status) if 400 <= status < 500:
                return self._read_refusal(outcome)
            case Reply():
                return PerhapsTaken(self._redact(_sentence(outcome)))
            case _:
                return PerhapsTaken("an answer that is not HTTP")

    def _read_refusal(self, reply: Reply) -> NotTaken | Blocked | Invalid | TooLarge:
        """`X-RateLimit-Reset` is a time, and there is no clock here: of a 429 only `Retry-After` is used.

        A sender that nobody has verified is refused with 403, too, and concerns this mail alone.
        """
        code, reason = str(reply.status), self._redact(_sentence(reply))
        if reply.status == FORBIDDEN and _about_sender(reply):
            return Invalid(code, reason)
        return judge_refusal(reply, code, reason)

    def _redact(self, text: str) -> str:
        return redact(text, self._settings.token, self._settings.callback_password)

    # --- callbacks: they name the mail by our own id, for there is no look-up ---

    def verify_callback(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the body is signed with the configured key; without a key, whether the credentials are ours."""
        if self._public_key is None:
            return self._credentials.match(headers)
        return signature_matches(self._public_key, headers, body)

    def check_callback(self, body: bytes) -> int | CallbackUnreadable:
        """How many events there are; a single object counts as one."""
        return count_elements(body)

    def parse_callback(self, body: bytes) -> Iterator[RawElement]:
        """Every event by itself. A body that `check_callback` refuses is one malformed element."""
        return each_element(body, read_event)


# --- a mail as SendGrid wants it ---


def _mail(message: OutgoingMessage) -> dict[str, object]:
    extra = message.extra if isinstance(message.extra, EmailExtra) else EmailExtra()
    mail: dict[str, object] = {
        "personalizations": [
            {
                "to": [{"email": ascii_domain(message.destination)}],
                "custom_args": {ID_ARGUMENT: id_text(message.message_id)},
            }
        ],
        "from": _address(message.sender),
        "subject": extra.subject or NO_SUBJECT,
        "content": _content(text=extra.text, html=message.body),
    }
    if extra.reply_to:
        mail["reply_to"] = _address(extra.reply_to)
    return mail


def _address(text: str) -> dict[str, str]:
    """A mailbox; what is none goes as it is, and SendGrid says so."""
    mailbox = read_mailbox(text)
    if mailbox is None:
        return {"email": text}
    address = {"email": ascii_domain(mailbox.address)}
    return {**address, "name": mailbox.name} if mailbox.name else address


def _content(*, text: str, html: str) -> list[dict[str, str]]:
    """The parts that are not empty: text/plain has to come first, and no part may be empty."""
    parts = (("text/plain", text), ("text/html", html))
    return [{"type": kind, "value": value} for kind, value in parts if value.strip()]


# --- its answers ---


def _accepted(message: OutgoingMessage, reply: Reply) -> Accepted:
    """Known by the start of the `sg_message_id` of its events, and by our own id."""
    ours = id_text(message.message_id)
    return Accepted(usable_id(reply.headers.get("x-message-id")) or ours, ours)


def _sentence(reply: Reply) -> str:
    """All that it says, in its own words: redact it."""
    answer = read_json(_error_answer, reply.body)
    told = [] if answer is None else [_told(error) for error in answer.errors]
    return ": ".join([f"HTTP {reply.status}", *(text for text in told if text)])


def _about_sender(reply: Reply) -> bool:
    """Whether all that it says is about the sender (`from`, `from.email`) of this mail."""
    answer = read_json(_error_answer, reply.body)
    fields = [str(error.field) for error in answer.errors] if answer else []
    return bool(fields) and all(field.partition(".")[0] == "from" for field in fields)


def _told(error: _Error) -> str:
    message, field = (each if isinstance(each, str) else "" for each in (error.message, error.field))
    return f"{message} ({field})" if message and field else message
