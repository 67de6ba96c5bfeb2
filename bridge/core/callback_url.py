"""Which addresses may be called back: an allow-list of hosts, applied to a text that a stranger wrote.

The address is taken apart strictly, so that no two readers can disagree about its host: only printable ASCII, no user
and no password, no backslash, no host that is written in an unusual way. Nothing is resolved here; that a name does
not point into one's own network is checked where connections are made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

__all__ = ["NotAllowed", "find_destination"]

_LONGEST = 2000  # characters
_THIS_MACHINE = frozenset({"localhost", "0.0.0.0", "[::1]", "[::]"})
_DEFAULT_PORTS: Mapping[str, int] = {"https": 443, "http": 80}

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\]"
_ADDRESS = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?(?:[/?#][!-\[\]-~]*)?",
    re.IGNORECASE | re.ASCII,  # without ASCII, the Kelvin sign is a k
)
_PORT = re.compile(r"(.*):([0-9]+)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class NotAllowed(Struct, frozen=True):
    """Why an address may not be called: the end of a sentence that begins with its name."""

    reason: str


def find_destination(url: str, hosts: Iterable[str], *, allow_insecure: bool) -> str | NotAllowed:
    """The `host` or `host:port` that `url` leads to: lower case, without the port that goes without saying.

    `hosts`: `host`, `host:port`, or `*.domain` for every subdomain, not for the domain itself; without a port any port
    is meant. Numeric addresses must be listed as such. `allow_insecure` allows http, and this machine itself.
    """
    if len(url) > _LONGEST:
        return NotAllowed(f"is longer than {_LONGEST} characters")
    address = _ADDRESS.fullmatch(url)
    if address is None:
        return NotAllowed("is no plain https address")
    scheme, host = address["scheme"].lower(), address["host"].lower()
    port = int(address["port"] or _DEFAULT_PORTS[scheme])
    if not 1 <= port <= 65535:
        return NotAllowed("has an impossible port")
    if not allow_insecure and (scheme != "https" or _is_this_machine(host)):
        return NotAllowed("must be https, and must not lead to this machine")
    if not any(_matches(pattern.lower(), host, port) for pattern in hosts):
        return NotAllowed("names a host that is not in callback_hosts")
    return host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"


def _matches(pattern: str, host: str, port: int) -> bool:
    with_port = _PORT.fullmatch(pattern)
    if with_port is not None and int(with_port[2]) != port:
        return False
    name = pattern if with_port is None else with_port[1]
    if name.startswith("*."):
        return host.endswith(name[1:]) and not _is_numeric(host)
    return host == name


def _is_numeric(host: str) -> bool:
    """Whether a resolver may take it for an IP address: "127.1" and "0x7f000001" are among them."""
    return host.startswith("[") or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _is_this_machine(host: str) -> bool:
    return host in _THIS_MACHINE or host.endswith(".localhost") or host.startswith("127.")
