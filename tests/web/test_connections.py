"""What a connection may cost: clients that are slow, silent, endless or deaf are cut, and the others are served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from bridge.web.connections import Limits
from bridge.web.server import WebServer, bind

SMALL = Limits(connections=10, request_seconds=0.5, unread_seconds=0.5, head_bytes=10_000, headers=50)
GET = b"GET / HTTP/1.1\r\nhost: bridge\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: bridge\r\ncontent-length: 100\r\n\r\n"
CUT_WITHIN = 5.0  # seconds, on a busy machine: the bound and a look of the server's, each a second at most


class App:
    """Reads a request and answers with the length of its body; or with more than anybody reads, or once told so."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.waiting = 0
        self.gone = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.gone += 1
                return
            body += event["body"]
            more = event["more_body"]
        if scope["path"] == "/hold":
            self.waiting += 1
            await self.held.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        pieces = 10_000 if scope["path"] == "/much" else 0
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
        await send({"type": "http.response.body", "body": str(len(body)).encode()})


class Line:
    """A connection, spoken to by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        """Of the next answer, which is read to its end."""
        async with asyncio.timeout(CUT_WITHIN):
            head = await self.reader.readuntil(b"\r\n\r\n")
            if b"chunked" in head:
                await self.reader.readuntil(b"\r\n0\r\n\r\n")
        return int(head.split()[1])

    async def ended(self) -> bytes:
        """What comes until the server closes; fails if it does not."""
        async with asyncio.timeout(CUT_WITHIN):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""
            finally:
                self.writer.close()


class Running:
    """A server with its application."""

    def __init__(self, app: App, server: WebServer, port: int) -> None:
        self.app = app
        self.server = server
        self.port = port

    async def connect(self) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", self.port))

    async def serves(self) -> bool:
        line = await self.connect()
        await line.say(GET)
        status = await line.status()
        line.writer.close()
        return status == 200

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(CUT_WITHIN):
            while len(self.server.server_state.connections) != count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(limits: Limits) -> AsyncIterator[Running]:
    app = App()
    listening = bind("127.0.0.1", 0)
    server = WebServer(app, "127.0.0.1", 0, limits)  # type: ignore[arg-type]  # any application will do
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield Running(app, server, listening.getsockname()[1])
    finally:
        app.held.set()
        server.stop_within(0.5)
        await task
        listening.close()


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving(SMALL) as opened:
        yield opened


async def test_requests_one_after_the_other(running: Running) -> None:
    """A connection is kept for many requests, also when they come slowly, in pieces or two at once."""
    line = await running.connect()
    for piece in (
        GET,
        GET[:10],
        GET[10:],
        POST,
        b"x" * 100,
        b"\r\n" + GET + GET[:20],
        GET[20:] + POST + b"x" * 100,
    ):
        await line.say(piece)
        await asyncio.sleep(0.05)
    assert [await line.status() for _ in range(6)] == [200] * 6
    line.writer.close()


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (b"GET / HT", b""),
        (GET[:-2], b""),
        (GET[:-2], b"x: y\r\n"),
        (POST, b""),
        (POST, b"x"),
        (POST + b"x" * 99, b""),
    ],
)
async def test_a_request_that_never_becomes_whole(running: Running, begin: bytes, more: bytes) -> None:
    """Silent or a little at a time: after the time for a request the connection is cut, without an answer."""
    line = await running.connect()
    await line.say(begin)

    async def trickle() -> None:
        while more:
            await line.say(more)
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    assert await running.serves()
    assert await line.ended() == b""
    trickling.cancel()
    await asyncio.gather(trickling, return_exceptions=True)
    await running.until_open(0)
    assert running.app.gone == (1 if begin.startswith(b"POST") else 0)


async def test_a_second_request_that_never_becomes_whole(running: Running) -> None:
    """The time for a request begins anew with each of them."""
    line = await running.connect()
    await line.say(GET)
    assert await line.status() == 200
    await line.say(GET[:12])
    assert await line.ended() == b""


@pytest.mark.parametrize(
    "make",
    [
        lambda: GET[:-2] + b"".join(b"x-%d: y\r\n" % number for number in range(10_000)) + b"\r\n",
        lambda: GET[:-2] + b"x: y\r\n" * 60 + b"\r\n",
        lambda: GET[:-2] + b"x: " + b"y" * 1_000_000,
        lambda: b"GET /" + b"y" * 1_000_000,
    ],
    ids=["ten thousand headers", "sixty short headers", "a header without end", "an address without end"],
)
async def test_a_head_that_is_too_large(running: Running, make: Callable[[], bytes]) -> None:
    """431 or nothing, and the connection is closed, however much more there is to come."""
    line = await running.connect()
    try:
        await line.say(make())
    except ConnectionError:
        pass  # it was closed while we wrote
    answer = await line.ended()
    assert answer.startswith(b"HTTP/1.1 431 ") or not answer
    assert await running.serves()
    await running.until_open(0)


def test_a_large_head_in_one_piece() -> None:
    """uvloop reads 256 KiB at once: what came in one piece counts as well."""

    async def run() -> None:
        async with serving(SMALL) as running:
            line = await running.connect()
            await line.say(GET[:-2] + b"x: y\r\n" * 10_000)
            assert (await line.ended()).startswith(b"HTTP/1.1 431 ")

    uvloop.run(run())


async def test_no_http_at_all(running: Running) -> None:
    """400 and the end."""
    line = await running.connect()
    await line.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert (await line.ended()).startswith(b"HTTP/1.1 400 ")


async def test_an_answer_that_nobody_reads(running: Running) -> None:
    """It is cut, and the rest is never made."""
    line = await running.connect()
    line.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await line.say(GET.replace(b"/ ", b"/much "))
    await running.until_open(1)
    await running.until_open(0)
    line.writer.close()


async def test_more_connections_than_there_may_be(running: Running) -> None:
    """Those that wait for their client the longest make room; whoever asks is served."""
    silent = [await running.connect() for _ in range(30)]
    assert await running.serves()
    assert len(running.server.server_state.connections) <= SMALL.connections
    assert await silent[0].ended() == b""
    for line in silent:
        line.writer.close()


async def test_all_are_being_served() -> None:
    """Only where no connection is idle a new one is refused: 503 with Retry-After; then all get their answers."""
    patient = Limits(connections=10, request_seconds=30, unread_seconds=30)
    async with serving(patient) as running:
        busy = [await running.connect() for _ in range(10)]
        for line in busy:
            await line.say(GET.replace(b"/ ", b"/hold "))
        while running.app.waiting < 10:
            await asyncio.sleep(0.01)
        refused = await (await running.connect()).ended()
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in refused
        running.app.held.set()
        assert [await line.status() for line in busy] == [200] * 10
        assert await running.serves()
        for line in busy:
            line.writer.close()
