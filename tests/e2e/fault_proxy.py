"""A TCP proxy between the bridge and a peer. It does what networks and broken peers do, for as long as it is told to.

It looks at bytes only, whatever the protocol: what a client sends in one piece counts as a request, what comes back as
its answer. What is lost is lost on purpose; nothing is ever held back and delivered after the fault has ended.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

__all__ = ["FAULTS", "Fault", "FaultProxy"]

_PIECE = 64 * 1024  # bytes read at a time
_MOST_OPEN = 1000  # connections; more are closed at once
_MOST_POURED = 64 * 1024 * 1024  # bytes of an endless answer: enough to be endless for whoever has a bound
_SHAKE_HANDS = 5.0  # seconds for a TLS handshake
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong. Several at once are possible.

    `latency`: seconds before each piece, either way; `cut_request`, `cut_answer`: so many bytes pass, then the
    connection is cut, by a reset where `reset` says so; `swallow`: what either side sends disappears, and nothing is
    ever closed; `drip`: seconds between the single bytes of an answer; `instead` is answered, and the request goes
    nowhere; `endless` follows, again and again; `tls`: the peer speaks plain text, or its certificate is nobody's.
    """

    latency: float = 0.0
    cut_request: int | None = None
    cut_answer: int | None = None
    reset: bool = False
    swallow: bool = False
    drip: float = 0.0
    instead: bytes = b""
    endless: bytes = b""
    tls: Literal["", "plain", "self-signed"] = ""


_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

# What is done to peers that speak HTTP; most of it can be done to any.
FAULTS = {
    "latency": Fault(latency=0.2),
    "cut in the request": Fault(cut_request=40),
    "cut before the answer": Fault(cut_answer=0),
    "cut in the head of the answer": Fault(cut_answer=30),
    "cut in the last byte of the answer": Fault(cut_answer=-1),
    "reset in the request": Fault(cut_request=40, reset=True),
    "reset before the answer": Fault(cut_answer=0, reset=True),
    "half-open": Fault(swallow=True),
    "slow drip": Fault(drip=0.05),
    "garbage": Fault(instead=bytes(range(256)) * 4),
    "endless body": Fault(instead=_OK + b"\r\n", endless=b'{"error_code": 0} ' * 1000),
    "endless chunks": Fault(
        instead=_OK + b"Transfer-Encoding: chunked\r\n\r\n", endless=b"1;" + b"x" * 500 + b"\r\n[\r\n"
    ),
    "endless header": Fault(instead=_OK + b"X-Long: ", endless=b"x" * 10_000),
    "endless headers": Fault(instead=_OK, endless=b"X-Many: x\r\n" * 1000),
    "endless interim answers": Fault(endless=b"HTTP/1.1 100 Continue\r\n\r\n" * 400),
    "giant content-length": Fault(
        instead=_OK + b"Content-Length: 4611686018427387904\r\n\r\n", endless=b" " * 10_000
    ),
    "plain text for TLS": Fault(tls="plain"),
    "a certificate of nobody": Fault(tls="self-signed"),
}


@dataclass
class _Line:
    """One connection to the peer, and what is wrong with it at the moment."""

    client: asyncio.StreamWriter
    peer: asyncio.StreamWriter | None = None
    fault: Fault = field(default_factory=Fault)

    def end(self) -> None:
        for writer in (self.client, self.peer):
            if writer is not None:
                writer.close()

    def cut(self, *, reset: bool) -> None:
        """At once, whatever waits to be written."""
        if reset:
            connection = self.client.get_extra_info("socket")
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.client.transport.abort()
        self.end()


class FaultProxy:
    """Listens on `port` while it is entered, and passes everything on to `peer`, a port of this machine.

    `fault` may be changed at any time, also for connections that are open; `chance` is the share of requests (or
    handshakes) that it hits, drawn with `seed`. `hits` counts those, `poured` the bytes of endless answers. With `tls`
    (its certificate) clients speak TLS with the proxy; with `starttls` they begin as PostgreSQL does.
    """

    def __init__(
        self,
        peer: int,
        *,
        seed: int = 1,
        tls: ssl.SSLContext | None = None,
        nobody: ssl.SSLContext | None = None,
        starttls: bool = False,
    ) -> None:
        self.peer = peer
        self.fault = Fault()
        self.chance = 1.0
        self.hits = 0
        self.poured = 0
        self.port = 0
        self._tls = tls
        self._nobody = nobody
        self._starttls = starttls
        self._draw = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: list[_Line] = []

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heal(self) -> None:
        """Nothing goes wrong any more; connections that are half-open stay so until somebody gives them up."""
        self.fault = Fault()

    def cut_all(self, *, reset: bool = False) -> None:
        """Cuts every connection, wherever it is at the moment."""
        for line in list(self._lines):
            line.cut(reset=reset)

    # --- one connection ---

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= _MOST_OPEN:
            writer.close()
            return
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(writer)
        self._lines.append(line)
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                if self._tls is None or await self._secure(reader, writer):
                    await self._pass_on(line, reader)
        finally:
            self._lines.remove(line)
            line.end()

    def _pick(self) -> Fault:
        """What goes wrong with the next request."""
        fault = self.fault
        if fault == Fault() or self._draw.random() >= self.chance:
            return Fault()
        self.hits += 1
        return fault

    async def _secure(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """The handshake, where there is one; False: nothing can follow."""
        fault = self._pick() if self.fault.tls else Fault()
        if self._starttls:
            await reader.readexactly(8)  # SSLRequest
            writer.write(b"N" if fault.tls == "plain" else b"S")
        elif fault.tls == "plain":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        if fault.tls == "plain":
            return False
        context = self._nobody if fault.tls == "self-signed" else self._tls
        assert context is not None
        await writer.start_tls(context, ssl_handshake_timeout=_SHAKE_HANDS)
        return True

    async def _pass_on(self, line: _Line, reader: asyncio.StreamReader) -> None:
        there, line.peer = await asyncio.open_connection("127.0.0.1", self.peer)
        ways = [
            asyncio.create_task(self._requests(line, reader)),
            asyncio.create_task(self._answers(line, there)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self, line: _Line, reader: asyncio.StreamReader) -> None:
        """Until the client is done, or the connection is cut."""
        assert line.peer is not None
        while data := await reader.read(_PIECE):
            fault = line.fault = self._pick()
            if fault.swallow:
                await _swallow(reader)
                return
            if fault.instead or fault.endless:
                await self._answer_instead(line, fault)
                return
            await asyncio.sleep(fault.latency)
            if fault.cut_request is not None:
                line.peer.write(data[: fault.cut_request])
                await line.peer.drain()
                line.cut(reset=fault.reset)
                return
            line.peer.write(data)
            await line.peer.drain()

    async def _answer_instead(self, line: _Line, fault: Fault) -> None:
        line.client.write(fault.instead)
        await line.client.drain()
        end = self.poured + _MOST_POURED
        while fault.endless and self.poured < end:
            line.client.write(fault.endless)
            await line.client.drain()
            self.poured += len(fault.endless)
            await asyncio.sleep(0)  # where the client reads quickly, the drain suspends nobody

    async def _answers(self, line: _Line, there: asyncio.StreamReader) -> None:
        """Until the peer is done, or the connection is cut."""
        while data := await there.read(_PIECE):
            fault = line.fault
            if fault.swallow:
                await _swallow(there)
                await asyncio.Event().wait()  # the client learns nothing, not even that the peer is gone
            await asyncio.sleep(fault.latency)
            if fault.cut_answer is not None:
                line.client.write(data[: fault.cut_answer])
                await line.client.drain()
                line.cut(reset=fault.reset)
                return
            if fault.drip:
                await _drip(line.client, data, fault.drip)
            else:
                line.client.write(data)
                await line.client.drain()


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(_PIECE):
        pass


async def _drip(writer: asyncio.StreamWriter, data: bytes, pause: float) -> None:
    for number in range(len(data)):
        writer.write(data[number : number + 1])
        await writer.drain()
        await asyncio.sleep(pause)
