"""What one connection to us may cost. uvicorn bounds neither the time of a request nor its head, nor their number.

Who sends a request byte by byte, opens connections and says nothing, never stops writing headers or never reads its
answer gets so far and no further, and takes nothing from the others meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import resource
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["BoundedProtocol", "Limits", "drop_overdue"]

_BUSY = b"503 Service Unavailable"
_LARGE_HEAD = b"431 Request Header Fields Too Large"
_INVALID = b"400 Bad Request"
_MOST_CONNECTIONS = 2000


def _affordable() -> int:
    """Half of the files that this process may open: the other half is for the database and for our own calls."""
    return max(16, min(_MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))


class Limits(Struct, frozen=True):
    """`connections` at a time; seconds for a whole request to come (from the connection, or from its first byte) and
    for an answer that nobody reads; bytes and number of headers."""

    connections: int = _affordable()
    request_seconds: float = 30.0
    unread_seconds: float = 60.0
    head_bytes: int = 64 * 1024
    headers: int = 200


class _HeadTooLargeError(Exception):
    """Told to the parser, which stops."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `due` is the time of the loop by which something has to happen, or it is cut."""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits = limits
        self.due = math.inf
        self._reading = True  # a request that is not whole, or the first one of the connection
        self._in_head = True
        self._head_bytes = 0

    @property
    def waits_for_client(self) -> bool:
        """Whether nothing is being done for it: not even its request is there."""
        cycle: RequestResponseCycle | None = self.cycle
        return self._reading or cycle is None or cycle.response_complete

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self.connections) >= self.limits.connections and not _make_room(self.connections):
            self.transport = transport  # type: ignore[assignment]
            self._refuse(_BUSY, b"retry-after: 5\r\n")
            return
        super().connection_made(transport)  # type: ignore[arg-type]
        self._begin()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._reading:
            self._begin()
        super().data_received(data)
        self._head_bytes += len(data) if self._in_head else 0  # the piece in which it began counts, too
        if self._in_head and self._head_bytes > self.limits.head_bytes and not self.transport.is_closing():
            self._refuse(_LARGE_HEAD)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.due = self.loop.time() + self.limits.unread_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self.due = math.inf

    # --- what httptools calls ---

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        if len(self.headers) > self.limits.headers:
            raise _HeadTooLargeError
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._reading = False
        self.due = math.inf
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the client is told no more than the status
        too_many = self._in_head and len(self.headers or ()) > self.limits.headers
        self._refuse(_LARGE_HEAD if too_many else _INVALID)

    # ---

    def _begin(self) -> None:
        """A request is awaited from now on."""
        self._reading = self._in_head = True
        self._head_bytes = 0
        self.due = self.loop.time() + self.limits.request_seconds

    def _refuse(self, status: bytes, headers: bytes = b"") -> None:
        """Said without a request: whoever understands HTTP understands this."""
        self.transport.write(
            b"HTTP/1.1 %b\r\n%bconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, headers)
        )
        self.transport.close()

    def check(self, now: float) -> None:
        """Cuts the connection if its time is over; what is closed for us, but not for the client, has some more."""
        if now >= self.due:
            self.transport.abort()
        elif self.due == math.inf and self.transport.is_closing():
            self.due = now + self.limits.unread_seconds


def drop_overdue(connections: Iterable[Any], now: float) -> None:
    """Cuts what took too long."""
    for connection in list(connections):
        connection.check(now)


def _make_room(connections: Iterable[Any]) -> bool:
    """Cuts the connection that has waited for its client the longest; False: all are being served."""
    idle = [each for each in connections if each.waits_for_client]
    if not idle:
        return False
    oldest = min(idle, key=lambda each: each.due)
    oldest.connections.discard(oldest)
    oldest.transport.abort()
    return True
