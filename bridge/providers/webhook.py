"""Custom IM to the operator's own notification centre: one POST a message, and what it reports back.

No exchange, no state, no clock. The form is the bridge's own (docs/surfaces.md): the receiver must ignore an
`ext_message_id` that it has had, and reports statuses in Smartico's own eight words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from bridge.core.content import CustomExtra
from bridge.core.exchange import MailReply, NoConnection, NoReply, Reply, Request, SendOutcome
from bridge.core.model import DeliveryReport, Element, Malformed, id_from_text, id_text
from bridge.core.redact import redact
from bridge.core.times import read_time
from bridge.providers.basic import BasicCredentials
from bridge.providers.protocol import (
    Accepted,
    Answered,
    CallbackUnreadable,
    NotTaken,
    OutgoingMessage,
    PerhapsTaken,
    RawElement,
    SendResult,
)
from bridge.providers.reading import count_elements, decode_element, each_element, judge_refusal
from bridge.providers.unasked import NeverAsked

if TYPE_CHECKING:
    from bridge.settings.model import WebhookSettings

__all__ = ["Webhook"]


class _Notification(Struct):
    """What is posted."""

    ext_message_id: str
    ext_user_id: str
    body: str
    extension: Raw
    callback_url: str


class _Report(Struct):
    """One element of what comes back."""

    ext_message_id: Annotated[str, Meta(min_length=1, max_length=200)]
    status: Annotated[str, Meta(min_length=1, max_length=100)]
    time: Any = None  # the status counts, whatever its time looks like


_report = msgspec.json.Decoder(_Report)


class Webhook(NeverAsked):
    """One configured notification centre."""

    adapter: str = "webhook"
    max_batch: int = 1
    signs: Sequence[str] = ()

    def __init__(self, settings: WebhookSettings, public_url: str) -> None:
        self.name: str = settings.name
        self._settings = settings
        self._credentials = BasicCredentials(settings.callback_username, settings.callback_password)
        self._callback_url = self._credentials.callback_url(public_url, settings.name)

    def __repr__(self) -> str:
        return f"<Webhook {self.name}>"

    # --- sending ---

    def build_send(self, batch: Sequence[OutgoingMessage]) -> Request:
        """`POST` to the configured address; what the settings say of headers wins over what Smartico sent."""
        (message,) = batch
        extra = message.extra if isinstance(message.extra, CustomExtra) else CustomExtra()
        ours = {"Content-Type": "application/json", **self._headers()}
        taken = {name.lower() for name in ours}
        passed = {name: value for name, value in extra.headers.items() if name.lower() not in taken}
        body = _Notification(
            id_text(message.message_id),
            message.ext_user_id,
            message.body,
            extra.extension,
            self._callback_url,
        )
        return Request(
            "POST",
            self._settings.url,
            self._settings.timeout_seconds,
            {**passed, **ours},
            msgspec.json.encode(body),
        )

    def parse_send(self, batch: Sequence[OutgoingMessage], outcome: SendOutcome) -> SendResult:
        """Any 2xx is acceptance, and the message is known by our own id."""
        match outcome:
            case NoConnection(reason):
                return NotTaken("no_connection", self._redact(reason))
            case NoReply(reason):
                return PerhapsTaken(self._redact(reason))
            case Reply(status) if 200 <= status < 300:
                return Answered(tuple(Accepted(id_text(each.message_id)) for each in batch))
            case Reply():
                return self._read_refusal(outcome)
            case MailReply():
                return PerhapsTaken("an answer that is not HTTP")

    def _read_refusal(self, reply: Reply) -> SendResult:
        text = reply.body.decode("utf-8", "replace")
        reason = self._redact(f"HTTP {reply.status}: {text}" if text else f"HTTP {reply.status}")
        if not 400 <= reply.status < 500:
            return PerhapsTaken(reason)
        return judge_refusal(reply, str(reply.status), reason)

    def _headers(self) -> dict[str, str]:
        return {name: value.reveal() for name, value in self._settings.headers.items()}

    def _redact(self, text: str) -> str:
        return redact(text, self._settings.callback_password, *self._settings.headers.values())

    # --- callbacks; there is no look-up: the receiver ignores what it has had ---

    def verify_callback(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the Basic credentials are those of the callback address."""
        return self._credentials.match(headers)

    def check_callback(self, body: bytes) -> int | CallbackUnreadable:
        """How many elements there are; a single object counts as one."""
        return count_elements(body)

    def parse_callback(self, body: bytes) -> Iterator[RawElement]:
        """Every element by itself."""
        return each_element(body, _read_report)


def _read_report(raw: bytes) -> Element:
    """One status of one message. What is no id of ours is kept as it is: nobody will ever know that message."""
    wire = decode_element(_report.decode, raw)
    if isinstance(wire, Malformed):
        return wire
    if "\0" in wire.ext_message_id + wire.status:
        return Malformed("it holds the character NUL")
    known = id_from_text(wire.ext_message_id)
    provider_message_id = id_text(known) if known else wire.ext_message_id
    return DeliveryReport(provider_message_id, "status", wire.status.lower(), read_time(wire.time))
