"""The operator's platform as the contact directory: a look-up written, its answer read.

Pure: no clock, no client. Nothing here raises for what the platform may answer, and no reason names a user, an address
or a secret. What is asked how often is for `bridge.flows.platform` to decide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import quote, urlsplit

from msgspec import Struct

from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request
from bridge.core.redact import redact
from bridge.pii import normalise_email, normalise_phone
from bridge.secret import Secret

__all__ = ["Answer", "Away", "Directory", "Known", "UnknownUser", "build_lookup", "read_lookup"]

_PLACE = "{ext_user_id}"
_HOST = re.compile(r"[^/?#]*//[^/?#]*")
_SEPARATOR = re.compile(r"[/\\]")
_LONGEST_ADDRESS = 320  # characters: 64 before the @ of an e-mail address, 255 after it
_MOST_DIGITS = 10**15  # E.164 has no longer numbers


class Directory(Struct, frozen=True):
    """How the platform is asked, and where its answer has what.

    `url` has `{ext_user_id}` in its path or query; `phone` and `email` are paths into the JSON, dots for nesting;
    `default_region` is the country of numbers without a country code, or empty.
    """

    url: str
    headers: Mapping[str, Secret]
    phone: str
    email: str
    timeout_seconds: float
    default_region: str

    def __repr__(self) -> str:
        return f"<Directory {urlsplit(self.url).hostname}>"  # the query may hold a key


class Known(Struct, frozen=True):
    """A user of the platform, with addresses in their normal form; None where there is none that can be one."""

    phone: str | None
    email: str | None

    def __repr__(self) -> str:
        return "<Known>"


class UnknownUser(Struct, frozen=True):
    """The platform has no such user."""


class Away(Struct, frozen=True):
    """The platform gave no answer that can be used: who the user is may be asked again later."""

    reason: str


Answer = Known | UnknownUser | Away


# --- the question ---


def build_lookup(directory: Directory, ext_user_id: str) -> Request | UnknownUser:
    """The GET that asks for one user. Who is asked, and at which path, is never for the user id to choose.

    A user id that would climb in the path (`..`, `a/../b`) belongs to nobody, and is not asked for: servers take "%2e"
    for a dot, and many "%2F" for a slash, so that encoding does not help.
    """
    if _climbs(ext_user_id):
        return UnknownUser()
    try:
        user = quote(ext_user_id, safe="")
    except UnicodeEncodeError:  # half of a surrogate pair
        return UnknownUser()
    headers = {name: value.reveal() for name, value in directory.headers.items()}
    return Request("GET", _fill(directory.url, user), directory.timeout_seconds, headers)


def _climbs(ext_user_id: str) -> bool:
    """Whether some segment, read as a path, is this folder or the one above; the empty id is no user either."""
    return not ext_user_id or any(part in {".", ".."} for part in _SEPARATOR.split(ext_user_id))


def _fill(url: str, user: str) -> str:
    """The address for one user; scheme and host stay as they are."""
    host = _HOST.match(url)
    end = host.end() if host else 0
    return url[:end] + url[end:].replace(_PLACE, user)


# --- the answer ---


def read_lookup(directory: Directory, outcome: Outcome) -> Answer:
    """Who the user is, by what came back."""
    match outcome:
        case Reply(200):
            return _read_user(directory, outcome.body)
        case Reply(404 | 410):
            return UnknownUser()
        case Reply(status):
            return Away(f"HTTP {status}")
        case NoConnection(reason) | NoReply(reason):
            return Away(redact(reason, *directory.headers.values()) or "no answer")


def _read_user(directory: Directory, body: bytes) -> Known | Away:
    try:
        # Not msgspec: it gives an answer up for half a surrogate pair in any field, such as a name with a cut emoji.
        user = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of thousands of digits
        return Away("HTTP 200 without JSON that can be read")
    if user is not None and not isinstance(user, dict):
        return Away("HTTP 200 with JSON that is no object")
    phone, email = _find(user, directory.phone), _find(user, directory.email)
    return Known(_read_phone(phone, directory.default_region), _read_email(email))


def _refuse(constant: str) -> NoReturn:
    """NaN and the infinities, which Python reads, are no JSON."""
    raise ValueError(constant)


def _find(document: object, path: str) -> object:
    """What stands at a path such as "user.phone"; None where nothing does."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _read_phone(value: object, default_region: str) -> str | None:
    """The number in E.164. A JSON number has lost its plus: where its digits alone are no number, one is put back."""
    if isinstance(value, str):
        return normalise_phone(value, default_region)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _MOST_DIGITS:
        return None
    return normalise_phone(str(value), default_region) or normalise_phone(f"+{value}")


def _read_email(value: object) -> str | None:
    return normalise_email(value) if isinstance(value, str) and len(value) <= _LONGEST_ADDRESS else None
