"""What a provider is to the rest of the bridge: a pure translation, nothing more.

A provider module holds one class with these methods, and `bridge.providers.PROVIDERS` has one line for it. It builds
requests and reads outcomes; it performs no exchange, keeps no state, knows no clock and no database. Failures are
values of the closed unions below, each saying what it means for the messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from bridge.core.content import Extra
from bridge.core.exchange import Mail, Outcome, Request, SendOutcome
from bridge.core.model import Element, MessageId

__all__ = [
    "MOST_TOLD",
    "Accepted",
    "Answered",
    "Blocked",
    "CallbackUnreadable",
    "Deferred",
    "Ended",
    "Found",
    "Invalid",
    "ItemResult",
    "LookupFailed",
    "LookupResult",
    "NoTrace",
    "NotTaken",
    "OutgoingMessage",
    "PerhapsTaken",
    "Provider",
    "RawElement",
    "Refused",
    "SendResult",
    "TellResult",
    "Told",
    "TooLarge",
]

MOST_TOLD = 50  # ids in one question, for they stand in an address


class OutgoingMessage(Struct, frozen=True):
    """A message as a provider needs it.

    `destination` is E.164 with plus, or an e-mail address; empty for Custom IM, which goes to the `ext_user_id`. `body`
    is the text (of a mail: the HTML), `extra` what a mail or a Custom IM has beside it. `ttl_seconds` 0: the provider's
    default.
    """

    message_id: MessageId
    channel: str
    destination: str
    sender: str
    body: str
    ttl_seconds: int = 0
    short_links: bool = False
    ext_user_id: str = ""
    extra: Extra = None

    def __repr__(self) -> str:
        return f"<OutgoingMessage {self.message_id.hex()}>"


# --- the result of one message in an answer ---


class Accepted(Struct, frozen=True):
    """The provider took this message under its own id. `alias`: another id by which its callbacks name the message."""

    provider_message_id: str
    alias: str = ""


class Refused(Struct, frozen=True):
    """The provider will not send this message; trying again is useless."""

    code: str
    reason: str


class Deferred(Struct, frozen=True):
    """This message was not taken now, for a reason that is its own: try it again, and the others meanwhile."""

    code: str
    reason: str


class PerhapsTaken(Struct, frozen=True):
    """Nobody knows whether it was taken: look it up. Of one message or of a whole request."""

    reason: str


ItemResult = Accepted | Refused | Deferred | PerhapsTaken


# --- the result of a whole request ---


class Answered(Struct, frozen=True):
    """The provider answered for each message; as many items as messages, in their order."""

    items: tuple[ItemResult, ...]


class NotTaken(Struct, frozen=True):
    """It is certain that nothing was taken (no connection, 429): the same messages are tried again after a while."""

    code: str
    reason: str
    retry_after: float | None = None


class Blocked(Struct, frozen=True):
    """The provider refuses us, not the messages (credentials, money, rights): pause it and alert the operator."""

    code: str
    reason: str


class Invalid(Struct, frozen=True):
    """The whole request was refused for its content; with several messages, one of them may be the cause."""

    code: str
    reason: str


class TooLarge(Struct, frozen=True):
    """The request was too large: halve it."""

    code: str
    reason: str


SendResult = Answered | NotTaken | Blocked | Invalid | TooLarge | PerhapsTaken


# --- the result of a look-up ---


class Found(Struct, frozen=True):
    """The provider has the message under this id (of a cascade: the id of its first message)."""

    provider_message_id: str


class NoTrace(Struct, frozen=True):
    """The provider answered, and knows no such message (yet)."""


class LookupFailed(Struct, frozen=True):
    """No usable answer: this says nothing about the message."""

    reason: str


LookupResult = Found | NoTrace | LookupFailed


class Ended(Struct, frozen=True):
    """How the provider says that a message ended, in the words of its callbacks."""

    event: str
    status: str


class Told(Struct, frozen=True):
    """What the provider answered about ids of its own: which it knows at all, and which of those ended how."""

    known: frozenset[str]
    ended: Mapping[str, Ended]


TellResult = Told | LookupFailed


# --- callbacks ---


class CallbackUnreadable(Struct, frozen=True):
    """The body is not JSON, or neither an array nor an object."""

    reason: str


class RawElement(Struct, frozen=True):
    """One element of a batch: its own bytes, and what they say."""

    raw: bytes
    element: Element


class Provider(Protocol):
    """One configured provider.

    `asks`: it can be asked whether it knows a message. `signs`: the headers (in lower case) of its signature, where its
    callbacks are signed: then the body is needed to tell whether they are from it, and is read only if they are there.
    """

    name: str
    adapter: str
    max_batch: int
    asks: bool
    signs: Sequence[str]

    def build_send(self, batch: Sequence[OutgoingMessage]) -> Request | Mail:
        """The request that hands over these messages, 1 to `max_batch`, all in one exchange."""

    def parse_send(self, batch: Sequence[OutgoingMessage], outcome: SendOutcome) -> SendResult:
        """What became of them."""

    def build_lookup(self, message: OutgoingMessage) -> Request | None:
        """The request that asks whether the provider knows this message; None where it never `asks`.

        Then the callbacks are the look-up: one that names the message by our own id proves that it was taken.
        """

    def parse_lookup(self, message: OutgoingMessage, outcome: Outcome) -> LookupResult:
        """What it knows."""

    def build_tell(self, ids: Sequence[str]) -> Sequence[Request]:
        """The requests that ask how messages ended that it took under these ids, 1 to `MOST_TOLD`; none where it never
        `asks`."""

    def parse_tell(self, ids: Sequence[str], outcomes: Sequence[Outcome]) -> TellResult:
        """What it says, of as many outcomes as there were requests. Nothing is concluded from what it does not say."""

    def verify_callback(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a callback comes from this provider. Header names are lower case. Constant time in the secret.

        The body is empty, and not read yet, unless the provider `signs`.
        """

    def check_callback(self, body: bytes) -> int | CallbackUnreadable:
        """How many elements a callback body has, decoding as little as possible."""

    def parse_callback(self, body: bytes) -> Iterator[RawElement]:
        """The elements of a body that `check_callback` took, each read by itself, and only when it is its turn.

        One bad element spoils no other.
        """
