"""Exchanges on real sockets: every way in which one can end, and what must never happen on the way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request
from bridge.sim.smtp_certificate import make_certificate, server_context
from bridge.transport import MAX_ANSWER, ProviderTransport, ReportTransport, Transport
from bridge.transport.addresses import is_public

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server that keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.url = ""


@asynccontextmanager
async def listening(talk: Talk, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """A server on a free port that reads a request's head, then talks as told."""
    peer = Peer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                peer.requests.append(head)
                await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        peer.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield peer


def answer(head: bytes, body: bytes = b"") -> Talk:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    return talk


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)


@pytest.fixture(params=["provider", "report"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    """Both clients keep the same promises."""
    made: Transport
    made = ProviderTransport(4) if request.param == "provider" else ReportTransport(public_only=False)
    yield made
    await made.close()


async def test_an_answer_comes_back_whole(transport: Transport) -> None:
    """Status, headers in lower case, and body."""
    async with listening(answer(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n", b"wait")) as peer:
        outcome = await transport.exchange(Request("GET", peer.url + "/x", 2.0))
    assert isinstance(outcome, Reply)
    assert (outcome.status, outcome.body, outcome.headers["retry-after"]) == (429, b"wait", "7")


async def test_nobody_listens(transport: Transport) -> None:
    """A refused connection is certain: nothing arrived."""
    async with listening(silence) as peer:
        url = peer.url
    assert isinstance(await transport.exchange(Request("GET", url, 2.0)), NoConnection)


@pytest.mark.parametrize("kind", ["provider", "report"])
async def test_whom_both_clients_trust(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificates of the system, which SSL_CERT_FILE names; of another one they say that it is not valid."""

    async def ask(url: str) -> Outcome:
        made = ProviderTransport(4) if kind == "provider" else ReportTransport(public_only=False)
        try:
            return await made.exchange(Request("GET", url, 10.0))
        finally:
            await made.close()

    certificate, key = make_certificate(tmp_path)
    async with listening(answer(b"HTTP/1.1 200 OK\r\n"), tls=server_context(certificate, key)) as peer:
        assert await ask(peer.url) == NoConnection("the certificate of the peer is not valid")
        assert peer.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert isinstance(await ask(peer.url), Reply)


async def test_a_reset_is_doubt_and_the_request_is_not_repeated(transport: Transport) -> None:
    """A connection that is lost after the request was written is no certainty, and is not tried again by itself."""
    async with listening(reset) as peer:
        assert isinstance(await transport.exchange(Request("GET", peer.url, 2.0)), NoReply)
        assert len(peer.requests) == 1


async def test_a_lost_keep_alive_connection_is_not_repeated_either(transport: Transport) -> None:
    """The second request goes out on a kept connection that the peer cuts: one attempt, one doubt."""
    calls = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await (answer(b"HTTP/1.1 200 OK\r\n") if calls == 1 else reset)(reader, writer)

    async with listening(once) as peer:
        assert isinstance(await transport.exchange(Request("GET", peer.url, 2.0)), Reply)
        assert isinstance(await transport.exchange(Request("GET", peer.url, 2.0)), NoReply)
        assert len(peer.requests) == 2


async def test_silence_ends_with_the_time_out(transport: Transport) -> None:
    """A peer that never answers costs the time-out and no more."""
    async with listening(silence) as peer:
        assert await transport.exchange(Request("GET", peer.url, 0.8)) == NoReply("no answer in time")


async def test_a_slow_drip_ends_with_the_time_out(transport: Transport) -> None:
    """The time-out is for the whole exchange, not for each byte."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _each in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with listening(drip) as peer:
        assert await transport.exchange(Request("GET", peer.url, 0.8)) == NoReply("no answer in time")


async def test_a_giant_answer_is_not_read(transport: Transport) -> None:
    """No more than the limit is kept, and nothing of it is believed."""
    async with listening(answer(b"HTTP/1.1 200 OK\r\n", b"x" * (MAX_ANSWER + 1))) as peer:
        assert await transport.exchange(Request("GET", peer.url, 10.0)) == NoReply("the answer is too large")


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """A thousand bytes that would be a gigabyte stay a thousand bytes; what the status says still counts."""
    small = gzip.compress(gzip.compress(bytes(50_000_000)))
    transport = ProviderTransport(4)
    head = b"HTTP/1.1 429 Later\r\ncontent-encoding: gzip, gzip\r\n"
    async with listening(answer(head, small)) as peer:
        outcome = await transport.exchange(Request("GET", peer.url, 5.0))
        assert isinstance(outcome, Reply)
        assert (outcome.status, outcome.body) == (429, b"")
        assert b"accept-encoding: identity" in peer.requests[0].lower()
    await transport.close()


async def test_headers_that_are_no_ascii_leave_as_they_came() -> None:
    """Latin-1 as HTTP has it, anything else as UTF-8; what no header can hold is certainly not sent."""
    transport = ProviderTransport(4)
    async with listening(answer(b"HTTP/1.1 200 OK\r\n")) as peer:
        headers = {"X-Brand": "K\xf6ln", "X-Other": "\u0141\u00f3d\u017a"}
        assert isinstance(await transport.exchange(Request("GET", peer.url, 5.0, headers)), Reply)
        assert b"K\xf6ln" in peer.requests[0]
        assert "\u0141\u00f3d\u017a".encode() in peer.requests[0]
        for value in ("a\r\nb: c", "half \ud83d"):
            outcome = await transport.exchange(Request("GET", peer.url, 5.0, {"X-Brand": value}))
            assert isinstance(outcome, NoConnection), value
        assert len(peer.requests) == 1
    await transport.close()


async def test_a_cut_answer_is_doubt(transport: Transport) -> None:
    """Half an answer is no answer."""

    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with listening(half) as peer:
        assert isinstance(await transport.exchange(Request("GET", peer.url, 2.0)), NoReply)


async def test_garbage_is_doubt(transport: Transport) -> None:
    """What is no HTTP is no answer."""

    async def noise(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01garbage\r\n\r\n")
        await writer.drain()
        writer.close()

    async with listening(noise) as peer:
        assert isinstance(await transport.exchange(Request("GET", peer.url, 2.0)), NoReply)


async def test_redirects_are_not_followed(transport: Transport) -> None:
    """A redirect is handed back as it is; the place that it names is not called."""
    async with listening(answer(b"HTTP/1.1 200 OK\r\n")) as elsewhere:
        head = f"HTTP/1.1 302 Found\r\nlocation: {elsewhere.url}/\r\n".encode()
        async with listening(answer(head)) as peer:
            outcome = await transport.exchange(Request("GET", peer.url, 2.0))
        assert isinstance(outcome, Reply)
        assert outcome.status == 302
        assert not elsewhere.requests


async def test_a_report_url_leaves_byte_for_byte() -> None:
    """What a callback_url has in its query arrives unchanged, whatever its encoding."""
    transport = ReportTransport(public_only=False)
    async with listening(answer(b"HTTP/1.1 200 OK\r\n")) as peer:
        await transport.exchange(Request("GET", f"{peer.url}/a%2fb?x=%2F%7e+y&z=%C3%A9", 2.0))
    await transport.close()
    assert peer.requests[0].startswith(b"GET /a%2fb?x=%2F%7e+y&z=%C3%A9 HTTP/1.1\r\n")


async def test_reports_reach_no_private_address_by_name() -> None:
    """A name that resolves to this machine is not connected to when only public addresses may be called."""
    transport = ReportTransport(public_only=True)
    async with listening(answer(b"HTTP/1.1 200 OK\r\n")) as peer:
        url = peer.url.replace("127.0.0.1", "localhost")
        assert isinstance(await transport.exchange(Request("GET", url, 2.0)), NoConnection)
    await transport.close()
    assert not peer.requests


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("192.88.99.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("fe80::1%eth0", False),
    ],
)
def test_which_addresses_are_public(address: str, *, public: bool) -> None:
    """Private, local, mapped and translated addresses are not public."""
    assert is_public(address) is public


async def test_no_url_is_logged(transport: Transport, caplog: pytest.LogCaptureFixture) -> None:
    """Keys ride in URLs: at INFO nothing of them may reach the log, nor the reason of a failure."""
    caplog.set_level(logging.INFO)
    async with listening(reset) as peer:
        outcome = await transport.exchange(Request("GET", peer.url + "/?api_key=hush", 2.0))
    assert "hush" not in caplog.text
    assert "hush" not in repr(outcome)


async def test_no_connection_in_time_is_certainty() -> None:
    """A provider that drops connection attempts has taken nothing: it must not look like a lost answer."""
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # its queue is full: further attempts are dropped
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        transport = ProviderTransport(1)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/message"
        assert isinstance(await transport.exchange(Request("POST", url, 1.0)), NoConnection)
        await transport.close()
