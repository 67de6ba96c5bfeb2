"""Smartico's side of the bridge: its send requests read, answers and status reports written, its replies read.

Pure: bytes in, values out; no clock, no client, no settings. Nothing here raises on what comes from outside, and no
message or reason repeats a value of a request, or a secret. Source: help.smartico.ai,
technical guide "Secured messaging gateways (Email/SMS/IM)" (2026-10).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Any
from urllib.parse import quote, unquote_plus

import msgspec
from msgspec import Meta, Struct

from bridge.core.callback_url import NotAllowed, find_destination
from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request
from bridge.core.json_text import holds_nul, read_json, without_trailing_commas
from bridge.core.redact import redact
from bridge.core.times import read_retry_after
from bridge.secret import Secret

__all__ = [
    "Done",
    "ErrorCode",
    "Hopeless",
    "NotFound",
    "Refusal",
    "RefusedReport",
    "SendRequest",
    "StatusAddress",
    "StatusReply",
    "TryLater",
    "Unauthorized",
    "check_callback_url",
    "decode_send",
    "encode_accepted",
    "encode_refusal",
    "read_status_reply",
]

_LONGEST_ID = 512  # characters
_SURROGATE = re.compile("[\ud800-\udfff]")


class ErrorCode(IntEnum):
    """The `error_code` of a refused request."""

    UNKNOWN_USER = 1
    INVALID = 2
    NO_ADDRESS = 3
    OPTED_OUT = 4
    CALLBACK_URL = 5
    DIRECTORY_DOWN = 6
    OVERLOADED = 8
    INTERNAL = 9


class SendRequest(Struct, frozen=True):
    """What Smartico wants sent. `uid` is its own id of the message: the idempotency key."""

    ext_user_id: str
    uid: str
    body: str
    from_number: str | None = None
    callback_url: str | None = None

    def __repr__(self) -> str:
        return "<SendRequest>"


class Refusal(Struct, frozen=True):
    """Why a message is not taken. `message` names the field, and repeats no value."""

    code: int
    message: str


# --- a send request, and our answer ---


class _Send(Struct):
    ext_user_id: Any = None
    im_uid: Any = None
    body: Any = None
    from_number: Any = None
    callback_url: Any = None


_send = msgspec.json.Decoder(_Send)


def decode_send(raw: bytes) -> SendRequest | Refusal:
    """The request in a body (the JSON object of an SMS or IM gateway), or what is wrong with it."""
    try:
        raw.decode("utf-8")  # the decoder does not look into fields that it does not know
        wire = _send.decode(raw)
    except UnicodeDecodeError:
        return _invalid("the request is not UTF-8")
    except RecursionError:
        return _invalid("the request is nested too deeply")
    except msgspec.ValidationError as error:
        return _invalid(f"the request is not valid: {error}")  # a type and a place, never a value
    except msgspec.DecodeError as error:
        return _invalid(_half_character(raw) or f"the request is not JSON: {error}")
    return _read_send(wire, raw)


def _read_send(wire: _Send, raw: bytes) -> SendRequest | Refusal:
    user, sender, url = wire.ext_user_id, _optional(wire.from_number), _optional(wire.callback_url)
    if isinstance(user, int) and not isinstance(user, bool):
        user = str(user)
    wrong = (
        _wrong("ext_user_id", user, longest=_LONGEST_ID)
        or _wrong("im_uid", wire.im_uid, longest=_LONGEST_ID)
        or _wrong("body", wire.body)
        or (sender is not None and _wrong("from_number", sender))
        or (url is not None and _wrong("callback_url", url))
        or (holds_nul(raw) and "a field that is not known here holds the character NUL")
    )
    return _invalid(wrong) if wrong else SendRequest(user, wire.im_uid, wire.body, sender, url)


def _optional(value: Any) -> Any:
    """An optional field; blank counts as absent."""
    return None if isinstance(value, str) and not value.strip() else value


def _wrong(name: str, value: object, *, longest: int | None = None) -> str:
    """What is wrong with a text that has to be there; empty where nothing is."""
    if value is None:
        return f"{name} is missing"
    if not isinstance(value, str):
        return f"{name} has the wrong type"
    if not value.strip():
        return f"{name} is empty"
    if longest is not None and len(value) > longest:
        return f"{name} is longer than {longest} characters"
    return f"{name} holds the character NUL" if "\0" in value else ""


def _half_character(raw: bytes) -> str:
    """Names the field that holds one half of a surrogate pair, such as a cut emoji; empty where none does."""
    try:
        document = json.loads(raw)  # unlike msgspec, it lets them pass
    except (ValueError, RecursionError):
        return ""
    fields = document if isinstance(document, dict) else {}
    for name in _Send.__struct_fields__:
        value = fields.get(name)
        if isinstance(value, str) and _SURROGATE.search(value):
            return f"{name} holds half of a character (a lone surrogate)"
    return ""


def _invalid(message: str) -> Refusal:
    return Refusal(ErrorCode.INVALID, message)


def check_callback_url(url: str, hosts: Sequence[str], allow_insecure: bool) -> str | Refusal:
    """The destination that `url` leads to, `host` or `host:port`, or why it is not allowed.

    `hosts` are the patterns of `smartico.callback_hosts`; `allow_insecure` allows http and this machine.
    """
    found = find_destination(url, hosts, allow_insecure=allow_insecure)
    if isinstance(found, NotAllowed):
        return Refusal(ErrorCode.CALLBACK_URL, f"callback_url {found.reason}")
    return found


def encode_accepted(ext_message_id: str) -> bytes:
    """The answer to a request that was taken."""
    return msgspec.json.encode({"error_code": 0, "ext_message_id": ext_message_id})


def encode_refusal(refusal: Refusal) -> bytes:
    """The answer to a request that was not."""
    return msgspec.json.encode({"error_code": refusal.code, "error_message": refusal.message})


# --- a status report, and Smartico's answer ---

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
    match outcome:
        case NoConnection(reason):
            return TryLater("no_connection", redact(reason, *secrets), None, True)
        case NoReply(reason):
            return TryLater("no_reply", redact(reason, *secrets), None, True)
        case Reply(status) if 200 <= status < 300:
            return _read_answer(outcome, secrets)
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
