"""The rules for single values, and the marks that say where the value of a missing key comes from.

`model.py` writes them beside the types of the fields, inside `Annotated`; `reader.py` obeys them. Nothing here reads
a file or the environment, and no rule looks at more than one value: what needs two is in `checks.py`.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST_PATTERN = re.compile(
    rf"(?:(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
)
CONTROL = r"\x00-\x1f\x7f-\x9f"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be: `wanted` completes "write …"; `show` false keeps the value out of the sentence."""

    wanted: str
    holds: Callable[[Any], bool]
    show: bool = True


@dataclass(frozen=True, slots=True)
class Required:
    """The key has no default."""


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """A missing key is taken from this variable; `{}` stands for the name of the table, in upper case."""

    variable: str

    @property
    def needs_name(self) -> bool:
        return "{}" in self.variable

    def variable_for(self, table: str) -> str:
        """The variable for a table of this name: `SMARTICO_MY_SMS_SECRET` for `my-sms`."""
        return self.variable.format(re.sub("[^A-Z0-9]", "_", table.upper()))


@dataclass(frozen=True, slots=True)
class Tagged:
    """A table whose other keys depend on one of them: `classes` says which struct belongs to which value."""

    key: str
    classes: Mapping[str, type]


@dataclass(frozen=True, slots=True)
class NamedDefaults:
    """Defaults that only the tables with these names have."""

    by_name: Mapping[str, Mapping[str, object]]


REQUIRED: Final = Required()


def matches(pattern: str, wanted: str, *, show: bool = True) -> Rule:
    """A string that the whole regular expression fits."""
    compiled = re.compile(pattern)
    return Rule(wanted, lambda text: compiled.fullmatch(text) is not None, show)


def between(low: float, high: float) -> Rule:
    """A number from `low` to `high`; NaN and the infinities never are."""
    return Rule(f"a number from {low:.0f} to {high:.0f}", lambda number: low <= number <= high)


def above_zero(high: float) -> Rule:
    return Rule(f"a number above 0, at most {high:.0f}", lambda number: 0 < number <= high)


def split_url(text: str) -> SplitResult | None:
    """The parts of an http(s) address; None where it is none, names no host, or holds a user or a password."""
    if re.search(rf"[{CONTROL}\s]", text):
        return None
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # a port that is no number, brackets that hold no IPv6 address
        return None
    return parts if usable and parts.hostname and "@" not in parts.netloc else None


def _is_base_url(text: str) -> bool:
    parts = split_url(text)
    return parts is not None and not parts.query and not parts.fragment


def _is_database_url(text: str) -> bool:
    if text.startswith("sqlite:///"):
        path = text.removeprefix("sqlite:///")
        return re.fullmatch(rf"[^?#{CONTROL}]*[^?#/{CONTROL}]", path) is not None and path != ":memory:"
    return _is_postgresql_url(text)


def _is_postgresql_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        usable = parts.scheme == "postgresql" and parts.port != 0
    except ValueError:
        return False
    # An @ in the path is one behind a slash in the password, which would be shown as a part of the name.
    named = len(parts.path) > 1 and "@" not in parts.path
    return usable and named and bool(parts.hostname or "host=" in parts.query)


def _is_host_pattern(text: str) -> bool:
    found = _HOST_PATTERN.fullmatch(text)
    return found is not None and 1 <= int(found["port"] or 1) <= 65535


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _base64_size(text: str) -> int:
    """How many bytes a base64 text holds; -1 where it is none."""
    try:
        return len(b64decode(text, validate=True))
    except (Base64Error, ValueError):  # ValueError: not ASCII
        return -1


def _is_region(text: str) -> bool:
    # Imported when there is something to ask: the tables are large, and most settings leave this key empty.
    from phonenumbers import SUPPORTED_REGIONS

    return text in SUPPORTED_REGIONS


_MANY = 1_000_000_000
_TEN_YEARS_SECONDS = 315_360_000
_TEN_YEARS_HOURS = 87_600
_TEN_YEARS_DAYS = 3_650
_URL = "an address such as https://platform.example/path, without user and password"

# Numbers
PORT_OR_FREE = between(0, 65535)
PORT = between(1, 65535)
COUNT = between(1, _MANY)
BATCH = between(1, 1000)
DAYS = between(1, _TEN_YEARS_DAYS)
RATE = between(0, _MANY)
SECONDS = above_zero(_TEN_YEARS_SECONDS)
SECONDS_OR_ZERO = between(0, _TEN_YEARS_SECONDS)
HOURS = above_zero(_TEN_YEARS_HOURS)
HOURS_OR_ZERO = between(0, _TEN_YEARS_HOURS)
TTL = Rule("0 or a number from 60 to 86400", lambda ttl: ttl == 0 or 60 <= ttl <= 86400)

# Texts
TEXT = matches(rf"[^{CONTROL}]+", "a text that is not empty and has no control characters")
TEXT_OR_EMPTY = matches(rf"[^{CONTROL}]*", "a text without control characters")
HOST = matches(  # one colon would begin a port, two or more are those of IPv6
    rf"[^{CONTROL}\s/:]+|[^{CONTROL}\s/:]*:[^{CONTROL}\s/:]*:[^{CONTROL}\s/]*",
    "a host name or an address, without a port",
)
SENDER = matches(
    rf"[^\s{CONTROL}]([^{CONTROL}]*[^\s{CONTROL}])?",
    "a text that is not empty, without control characters, and without a space at its ends",
)
USERNAME = matches(rf"[^:{CONTROL}]*", "a name without colons and control characters")
KEYWORD = matches(rf"[^{CONTROL}\s]+", "one word")
JSON_PATH = matches(r"[^.]+(\.[^.]+)*", 'a path into the JSON reply such as "user.phone"')
REGION = Rule(
    'empty or the two capital letters of a country, such as "GB"', lambda text: text == "" or _is_region(text)
)
HOST_PATTERN = Rule(
    'a bare host in lower case, such as "*.smartico.ai", "api.smartico.ai" or "api.smartico.ai:8443"',
    _is_host_pattern,
)
SEGMENT = matches(
    r"[a-z0-9][a-z0-9_-]*", "a name of small letters, digits, _ and -: it is part of an address"
)
NETWORK = Rule('an address or a network, such as "10.0.0.0/8"', _is_network)

# Addresses may carry a password or a key: they are never shown.
URL = Rule(_URL, lambda text: split_url(text) is not None, show=False)
URL_OR_EMPTY = Rule(f"empty or {_URL}", lambda text: text == "" or split_url(text) is not None, show=False)
BASE_URL = Rule(f"{_URL}, query and fragment", _is_base_url, show=False)
DATABASE_URL = Rule(
    "sqlite:///bridge.db (beside the settings file), sqlite:////var/lib/bridge.db (absolute) "
    "or postgresql://user:password@host:5432/name",
    _is_database_url,
    show=False,
)

# Secrets, and what becomes a header. Spaces at the ends of a header are lost on the way, so they never match.
_FRAMING = "content-length|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect"
_HEADER_SIGNS = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
HEADER_NAME = matches(
    rf"(?!(?i:{_FRAMING})$){_HEADER_SIGNS}",
    "a header name of letters, digits and -, and none that frames the request, as Content-Length does",
)
HEADER_PASSED = matches(
    rf"(?!(?i:{_FRAMING}|host|content-type)$){_HEADER_SIGNS}",
    "a header name of letters, digits and -, and none that belongs to the request in which it came, as Host does",
)
HEADER_RECEIVED = matches(
    rf"(?!(?i:authorization)\s*:)[^\s{CONTROL}]([^{CONTROL}]*[^\s{CONTROL}])?",
    'a text that is not empty, has no control characters, no space at its ends and no "Authorization:" in front',
)
HEADER_SENT = matches(
    r"[!-~]([ -~]*[!-~])?",
    "a text that is not empty, of ASCII letters, digits and signs, without a space at its ends",
)
TOKEN = matches(
    r"[!#-&(-~]+",
    "the token alone: not empty, of ASCII letters, digits and signs, without spaces and quotation marks, and without "
    "Basic or Bearer in front",
)
API_KEY = matches(
    rf"([^\s{CONTROL}]([^{CONTROL}]*[^\s{CONTROL}])?)?",
    "a text without control characters, and without a space at its ends",
)
OPERATOR_TOKEN = matches(
    r"[!-~]{16,}", "at least 16 ASCII letters, digits and signs without spaces (bridge init makes one)"
)
PII_KEY = Rule(
    "empty or 32 bytes in base64, not in hex (openssl rand -base64 32 makes them)",
    lambda text: text == "" or _base64_size(text) == 32,
)
PUBLIC_KEY = Rule("empty or a public key in base64", lambda text: text == "" or _base64_size(text) > 0)

# Lists
NOT_EMPTY = Rule("at least one", lambda items: len(items) > 0, show=False)
