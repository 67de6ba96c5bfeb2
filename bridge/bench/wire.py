"""HTTP/1.1 as cheap as Python can do it, for load and peers on loopback: both ends are ours, so nothing is negotiated.

Answers and requests must have a Content-Length (or no body). What breaks that is a ConnectionError, never a guess.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

__all__ = ["Answer", "Client", "Handler", "listen", "request_bytes", "response_bytes"]

Answer = tuple[int, bytes]
Handler = Callable[[str, bytes, bytes], bytes]  # method, target, body → a whole response

_HEAD_END = b"\r\n\r\n"


def request_bytes(method: str, target: str, host: str, body: bytes = b"", headers: str = "") -> bytes:
    """A whole request. `headers`: further lines, each ending in CRLF."""
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def response_bytes(status: int, body: bytes, content_type: str = "application/json") -> bytes:
    """A whole response."""
    head = f"HTTP/1.1 {status} -\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def _content_length(head: bytes) -> int | None:
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        return None
    end = lower.find(b"\r\n", at + 2)
    return int(lower[at + 17 : end if end >= 0 else len(lower)])


class Client(asyncio.Protocol):
    """One connection; one exchange at a time. `await Client.open(host, port)`, then `exchange`."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(cls, host, port)
        return client

    def exchange(self, request: bytes) -> asyncio.Future[Answer]:
        """Sends a whole request; status and body of the answer. ConnectionError where the peer closes."""
        waiting = self._waiting = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            waiting.set_exception(ConnectionResetError("the connection is closed"))
        else:
            self._transport.write(request)
        return waiting

    @property
    def closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the peer closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer = data if not self._buffer else self._buffer + data
        while self._waiting is not None and (end := self._buffer.find(_HEAD_END)) >= 0:
            head = self._buffer[:end]
            length = _content_length(head)
            if length is None:
                assert self._transport is not None
                self._transport.abort()
                return
            if len(self._buffer) < end + 4 + length:
                return
            status, body = int(head[9:12]), self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            if status >= 200:
                waiting, self._waiting = self._waiting, None
                if not waiting.done():
                    waiting.set_result((status, body))


class _Served(asyncio.Protocol):
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer = data if not self._buffer else self._buffer + data
        while (end := self._buffer.find(_HEAD_END)) >= 0:
            head = self._buffer[:end]
            length = _content_length(head) or 0
            if len(self._buffer) < end + 4 + length:
                return
            method, target, _ = head[: head.find(b"\r\n")].split(b" ", 2)
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._transport.write(self._handler(method.decode(), target, body))


async def listen(handler: Handler, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
    """Serves `handler`, which must not block. The port taken is `server.sockets[0].getsockname()[1]`."""
    return await asyncio.get_running_loop().create_server(lambda: _Served(handler), host, port, backlog=1024)
