"""Names become addresses, kept for a short while; where only public ones may be called, others are left out.

The check is made on the very address that is then connected to, so that a DNS answer that changes in between gains
nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

__all__ = ["Addresses", "is_public"]

_KEPT = 10.0  # seconds
_MOST = 1000  # names


class Addresses:
    """Resolves names. `public_only` leaves out what is not on the public internet."""

    def __init__(self, *, public_only: bool) -> None:
        self._public_only = public_only
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}

    async def of(self, host: str, port: int) -> list[str]:
        """The addresses of a host, at least one. A numeric host is its own. Raises OSError with the reason."""
        if _is_numeric(host):
            return [host]
        loop = asyncio.get_running_loop()
        until, found = self._known.get((host, port), (0.0, []))
        if loop.time() >= until:
            found = await self._resolve(host, port)
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[host, port] = (loop.time() + _KEPT, found)
        return found

    async def _resolve(self, host: str, port: int) -> list[str]:
        try:
            rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise OSError("the name could not be resolved") from error
        found = list(dict.fromkeys(str(row[4][0]) for row in rows))
        allowed = [each for each in found if not self._public_only or is_public(each)]
        if not allowed:
            raise OSError("the name resolves to an address that is not public")
        return allowed


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


# What `ipaddress.is_global` of Python 3.11 gets wrong, or what carries another address inside.
_NEVER = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/23",
        "3fff::/20",
    )
]
_UNICAST = ipaddress.ip_network("2000::/3")  # the only part of IPv6 that is given out


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    if any(parsed in network for network in _NEVER if network.version == parsed.version):
        return False
    if parsed.version == 6 and parsed not in _UNICAST:
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved
