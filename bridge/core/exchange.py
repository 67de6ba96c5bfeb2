"""The values of one exchange, HTTP or SMTP: what goes out, and the ways in which it can end.

Only `bridge.transport` performs an exchange; providers build requests and read outcomes, so that they stay pure.
A request may carry secrets (its URL, headers and body), so its `repr` shows the method and the host alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

__all__ = [
    "Mail",
    "MailReply",
    "NoConnection",
    "NoReply",
    "Outcome",
    "Reply",
    "Request",
    "SendOutcome",
    "Stage",
]


class Request(Struct, frozen=True):
    """One outgoing HTTP request; `timeout` is for the whole exchange, in seconds."""

    method: str
    url: str
    timeout: float
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __repr__(self) -> str:
        return f"<Request {self.method} {urlsplit(self.url).hostname}>"


class Reply(Struct, frozen=True):
    """An answer that arrived whole. Header names are lower case; the body is cut at the transport's limit."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class NoConnection(Struct, frozen=True):
    """No connection was made: it is certain that the peer saw nothing of the request."""

    reason: str


class NoReply(Struct, frozen=True):
    """The request may have arrived, but no whole answer came back: nobody knows what the peer did with it."""

    reason: str


Outcome = Reply | NoConnection | NoReply


# --- the same for a mail over SMTP ---

Stage = Literal["greeting", "login", "sender", "recipient", "content"]


class Mail(Struct, frozen=True):
    """One mail for one recipient: both addresses of its envelope, and the message as RFC 5322 has it.

    `utf8`: an address has more than ASCII in it (RFC 6531). `timeout` is for the whole exchange, in seconds.
    """

    sender: str
    recipient: str
    content: bytes
    timeout: float
    utf8: bool = False

    def __repr__(self) -> str:
        return "<Mail>"


class MailReply(Struct, frozen=True):
    """The answer of a mail server that decided: the last one (250 to the content), or the first that was a refusal."""

    stage: Stage
    code: int
    text: str

    @property
    def reason(self) -> str:
        return f"{self.stage}: {self.code} {self.text}"


SendOutcome = Outcome | MailReply
