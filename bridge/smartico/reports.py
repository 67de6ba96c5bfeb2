"""A status report on its way to Smartico, and what Smartico answers. Pure; nothing here raises on what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote, unquote_plus

import msgspec
from msgspec import Meta, Struct

from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request
from bridge.core.json_text import read_json, without_trailing_commas
from bridge.core.redact import redact
from bridge.core.times import read_retry_after
from bridge.secret import Secret

__all__ = [
    "Done",
    "Hopeless",
    "NotFound",
    "RefusedReport",
    "StatusAddress",
    "StatusReply",
    "TryLater",
    "Unauthorized",
    "read_failure",
    "read_status_reply",
]

_OURS = frozenset({"type", "ext_message_id", "status", "api_key"})


class StatusAddress:
    """Where the reports of many messages go: `callback_url` with our four parameters.

    Parameters of other names that it has stay as they are, and in their order; its fragment is dropped.
    """

    def __init__(self, callback_url: str, type: str, api_key: Secret) -> None:  # noqa: A002 - Smartico's name for it
        address, _, query = callback_url.partition("#")[0].partition("?")
        foreign = [
            f"{each}&"
            for each in query.split("&")
            if each and unquote_plus(each.partition("=")[0]) not in _OURS
        ]
        self._before = f"{address}?{''.join(foreign)}type={quote(type, safe='')}&ext_message_id="
        self._after = f"&api_key={quote(api_key.reveal(), safe='')}"

    def __repr__(self) -> str:
        return "<StatusAddress>"

    def request(self, ext_message_id: str, status: str, timeout: float) -> Request:
        """The GET that reports one status. Both texts are our own: letters, digits and hyphens."""
        return Request("GET", f"{self._before}{ext_message_id}&status={status}{self._after}", timeout)


class Done(Struct, frozen=True):
    """Smartico took the report."""


class NotFound(Struct, frozen=True):
    """Smartico does not know the message (yet)."""

    text: str


class RefusedReport(Struct, frozen=True):
    """Smartico refused the report with a code of its own."""

    code: int
    text: str


class TryLater(Struct, frozen=True):
    """The report did not get through. `kind` is one word for metrics; `retry_after`, in seconds, is not bounded.

    `counts_for_breaker`: the host as a whole seems to be down.
    """

    kind: str
    reason: str
    retry_after: float | None
    counts_for_breaker: bool


class Unauthorized(Struct, frozen=True):
    """Smartico refuses the api_key: every report with it would fare the same."""

    reason: str


class Hopeless(Struct, frozen=True):
    """Trying again is useless: a redirect, or a 4xx that is about this request."""

    reason: str


StatusReply = Done | NotFound | RefusedReport | TryLater | Unauthorized | Hopeless


class _Answer(Struct):
    error_code: Annotated[int, Meta(ge=0, le=10**9)] | Annotated[str, Meta(pattern=r"^[0-9]{1,9}\Z")]
    error_message: Any = None


_answer = msgspec.json.Decoder(_Answer)


def read_status_reply(outcome: Outcome, *secrets: Secret) -> StatusReply:
    """What became of a status report (docs/architecture.md has the table).

    `secrets` are kept out of the texts, should the answer repeat them: hand in the api_key.
    """
    if isinstance(outcome, Reply) and 200 <= outcome.status < 300:
        return _read_answer(outcome, secrets)
    return read_failure(outcome, *secrets)


def read_failure(outcome: Outcome, *secrets: Secret) -> Hopeless | Unauthorized | TryLater:
    """What it means that an exchange did not end with 2xx: for a report, and for whatever else is passed on."""
    match outcome:
        case NoConnection(reason):
            return TryLater("no_connection", redact(reason, *secrets), None, True)
        case NoReply(reason):
            return TryLater("no_reply", redact(reason, *secrets), None, True)
        case Reply(401 | 403 as status):
            return Unauthorized(f"HTTP {status}")
        case Reply(429):
            return TryLater("throttled", "HTTP 429", read_retry_after(outcome.headers), False)
        case Reply(status) if 300 <= status < 500:
            return Hopeless(f"HTTP {status}")
        case Reply(status):
            return TryLater("server_error", f"HTTP {status}", read_retry_after(outcome.headers), True)


def _read_answer(reply: Reply, secrets: Sequence[Secret]) -> StatusReply:
    answer = read_json(_answer, reply.body) or read_json(_answer, without_trailing_commas(reply.body))
    if answer is None:
        reason = f"HTTP {reply.status} without a readable error_code"
        return TryLater("unreadable", reason, read_retry_after(reply.headers), False)
    code = int(answer.error_code)
    if code == 0:
        return Done()
    message = answer.error_message if isinstance(answer.error_message, str) else ""
    text = redact(f"error_code {code}: {message}" if message else f"error_code {code}", *secrets)
    return NotFound(text) if "not found" in message.lower() else RefusedReport(code, text)
