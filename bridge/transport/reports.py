"""Status reports: GETs, thousands a second, over few connections that are kept.

A client of our own on asyncio and httptools, for this one purpose: a general one needs five times the processor time
for such a request (docs/performance.md). It follows no redirect, repeats nothing by itself, keeps no cookies, reads no
proxy from the environment.
"""

from __future__ import annotations

import asyncio
import re
import ssl

from bridge.core.exchange import NoConnection, Outcome, Reply, Request
from bridge.transport.addresses import Addresses
from bridge.transport.connection import Connection
from bridge.transport.protocol import CONNECT_WITHIN, USER_AGENT
from bridge.transport.tls import certificate_trouble, trusting_context

__all__ = ["ReportTransport"]

# As narrow as what `core.callback_url` lets in: no user, no sign that another reader may take for the end of the host.
_URL = re.compile(
    r"(https?)://((?:\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?)((?:[/?#][!-~]*)?)",
    re.IGNORECASE | re.ASCII,
)
_TICK = 0.1  # seconds between looks at what takes too long
_IDLE = 15.0  # seconds that a connection is kept for the next report
_KEEP_ALIVE = re.compile(r"timeout=(\d{1,6})")


class _Origin:
    """Where requests go, and the connections that wait there for the next one."""

    def __init__(self, scheme: str, authority: str, port: str | None) -> None:
        self.tls = scheme == "https"
        self.port = int(port or (443 if self.tls else 80))
        self.host = (authority[: -len(port) - 1] if port else authority).strip("[]")
        self.head = (
            f" HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n\r\n".encode()
        )
        self.idle: list[Connection] = []
        self.answered = ""  # the address that took the last connection

    def take(self, now: float) -> Connection | None:
        """The connection that was used last: it is the least likely to be closed by the peer."""
        while self.idle:
            connection = self.idle.pop()
            if connection.open and now < connection.idle_until:
                return connection
            connection.abort("it waited too long")
        return None


class ReportTransport:
    """`public_only`: names that resolve to anything but public addresses are not called.

    How many requests may be under way is decided by who sends them.
    """

    def __init__(self, *, public_only: bool) -> None:
        self._addresses = Addresses(public_only=public_only)
        self._origins: dict[str, _Origin] = {}
        self._busy: set[Connection] = set()
        self._ticking: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None

    async def exchange(self, request: Request) -> Outcome:
        parts = _URL.fullmatch(request.url)
        if parts is None or not 1 <= int(parts[3] or 80) <= 65535:
            return NoConnection("the address is not valid")
        scheme, authority, port, target = parts.groups()
        origin = self._origin(scheme.lower(), authority.lower(), port)
        loop = asyncio.get_running_loop()
        now = loop.time()
        connection = origin.take(now) or await self._connect(origin, request.timeout)
        if isinstance(connection, NoConnection):
            return connection
        if not target.startswith("/"):
            target = f"/{target}"
        message = f"{request.method} {target.partition('#')[0]}".encode("ascii") + origin.head
        return await self._on(connection, origin, message, now + request.timeout)

    async def _on(self, connection: Connection, origin: _Origin, message: bytes, deadline: float) -> Outcome:
        connection.deadline = deadline
        self._busy.add(connection)
        if self._ticking is None:
            self._tick()
        try:
            outcome = await connection.exchange(message)
        finally:
            self._busy.discard(connection)
        if isinstance(outcome, Reply) and connection.open:
            connection.idle_until = asyncio.get_running_loop().time() + _idle_time(outcome)
            origin.idle.append(connection)
        return outcome

    async def close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        for connection in self._busy.union(*(origin.idle for origin in self._origins.values())):
            connection.abort("the bridge is stopping")

    def _origin(self, scheme: str, authority: str, port: str | None) -> _Origin:
        key = f"{scheme}://{authority}"
        if key not in self._origins:
            self._origins[key] = _Origin(scheme, authority, port)
        return self._origins[key]

    # --- connecting ---

    async def _connect(self, origin: _Origin, timeout: float) -> Connection | NoConnection:
        """A new connection. Until it is there, nothing of the request has left: whatever happens is certainty."""
        try:
            return await self._connect_to_any(origin, min(CONNECT_WITHIN, timeout / 2))
        except TimeoutError:
            return NoConnection("no connection could be made in time")
        except OSError as error:
            said = str(error) if error.errno is None else ""  # a sentence of `Addresses`
            return NoConnection(certificate_trouble(error) or said or "no connection could be made")

    async def _connect_to_any(self, origin: _Origin, within: float) -> Connection:
        """The first address that answers, beginning with the one that did last. Each has its share of the time."""
        async with asyncio.timeout(within):
            found = await self._addresses.of(origin.host, origin.port)
        addresses = sorted(found, key=lambda each: each != origin.answered)
        failure: OSError = OSError("the name has no address")
        for address in addresses:
            try:
                async with asyncio.timeout(within / len(addresses)):
                    connection = await self._connect_to(origin, address)
            except OSError as error:  # a TimeoutError is one
                failure = error
            else:
                origin.answered = address
                return connection
        raise failure

    async def _connect_to(self, origin: _Origin, address: str) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection,
            address,
            origin.port,
            ssl=self._context() if origin.tls else None,
            server_hostname=origin.host if origin.tls else None,
        )
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = trusting_context()
        return self._tls

    # --- time ---

    def _tick(self) -> None:
        """One timer for all: looks for exchanges that take too long, and for connections that nobody needs."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [each for each in self._busy if now >= each.deadline]:
            connection.abort("no answer in time")
        for origin in self._origins.values():
            for connection in [each for each in origin.idle if now >= each.idle_until or not each.open]:
                origin.idle.remove(connection)
                connection.abort("it waited too long")
        anything = self._busy or any(origin.idle for origin in self._origins.values())
        self._ticking = loop.call_later(_TICK, self._tick) if anything else None


def _idle_time(reply: Reply) -> float:
    """A little less than the peer says that it keeps a connection, where it says so."""
    told = _KEEP_ALIVE.search(reply.headers.get("keep-alive", ""))
    return min(_IDLE, int(told[1]) - 1.0) if told else _IDLE
