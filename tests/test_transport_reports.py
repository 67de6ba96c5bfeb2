"""The client of status reports, on real sockets: connections that are kept, answers of every form, addresses that
are no addresses, encryption, and what is left open afterwards."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request
from bridge.transport import MAX_ANSWER, ReportTransport

Talk = Callable[["Peer", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """A server that counts its connections, keeps what it was asked, and talks as told after each request."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.requests: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []  # of the connections that are open
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(head)
                await self._talk(self, reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.writers.remove(writer)
            writer.close()


@asynccontextmanager
async def listening(
    talk: Talk, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """A server on a free port."""
    peer = Peer(talk)
    server = await asyncio.start_server(peer.serve, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    peer.url = f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        yield peer
    finally:
        server.close()
        for writer in list(peer.writers):
            writer.transport.abort()
        await until(lambda: not peer.writers)


def says(*pieces: bytes, close: bool = False) -> Talk:
    """Answers with these bytes, each piece in a segment of its own."""

    async def talk(_: Peer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.01)
        if close:
            writer.close()

    return talk


async def silence(_: Peer, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    if not await reader.read(1):
        raise ConnectionResetError


async def until(condition: Callable[[], bool], within: float = 15.0) -> None:
    """Waits for what must become true."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def transport() -> AsyncIterator[ReportTransport]:
    made = ReportTransport(public_only=False)
    yield made
    await made.close()


async def get(transport: ReportTransport, url: str, timeout: float = 2.0) -> Outcome:
    return await transport.exchange(Request("GET", url, timeout))


async def body(transport: ReportTransport, url: str) -> bytes:
    outcome = await get(transport, url)
    assert isinstance(outcome, Reply), outcome
    return outcome.body


# --- connections that are kept ---


async def test_a_connection_is_used_again(transport: ReportTransport) -> None:
    """Reports in a row, to whatever path, go over one connection; the second request is as whole as the first."""
    async with listening(says(OK)) as peer:
        for number in range(20):
            assert await body(transport, f"{peer.url}/{number}?status=delivered#part") == b"ok"
        assert (peer.connections, len(peer.requests)) == (1, 20)
        assert peer.requests[19].startswith(b"GET /19?status=delivered HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_requests_beside_each_other_have_connections_of_their_own(transport: ReportTransport) -> None:
    """Nothing is pipelined; as many connections as were needed at once are kept, and no more are made."""
    started = asyncio.Event()

    async def together(peer: Peer, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(peer.requests) >= 5:
            started.set()
        await started.wait()
        writer.write(OK)

    async with listening(together) as peer:
        for _ in range(2):
            assert await asyncio.gather(*(body(transport, peer.url) for _ in range(5))) == [b"ok"] * 5
        assert (peer.connections, len(peer.requests)) == (5, 10)


async def test_answers_are_not_mixed_up(transport: ReportTransport) -> None:
    """Of 200 requests, 20 at a time, each gets the answer to its own."""

    async def echo(peer: Peer, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = peer.requests[-1].split()[1]
        await asyncio.sleep(0.001 * (hash(path) % 4))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(path), path))

    async def one(number: int) -> bytes:
        async with slots:
            return await body(transport, f"{peer.url}/{number}")

    slots = asyncio.Semaphore(20)
    async with listening(echo) as peer:
        answers = await asyncio.gather(*(one(number) for number in range(200)))
        assert answers == [b"/%d" % number for number in range(200)]
        assert peer.connections <= 20


async def test_a_connection_that_the_peer_closed_is_not_used(transport: ReportTransport) -> None:
    """When the peer closes an idle connection the next report gets a new one, and is no doubt."""
    async with listening(says(OK)) as peer:
        assert await body(transport, peer.url) == b"ok"
        peer.writers[0].close()
        await until(lambda: not peer.writers)
        await asyncio.sleep(0.02)  # the end has left, and now it has to be read
        assert await body(transport, peer.url) == b"ok"
        assert peer.connections == 2


@pytest.mark.parametrize("header", [b"Connection: close", b"connection: Close", b"Keep-Alive: timeout=1"])
async def test_what_the_peer_will_not_keep(transport: ReportTransport, header: bytes) -> None:
    """A connection that the peer closes, or is about to, is not used for another report, and is let go."""
    async with listening(says(b"HTTP/1.1 200 OK\r\n%s\r\ncontent-length: 2\r\n\r\nok" % header)) as peer:
        assert await body(transport, peer.url) == b"ok"
        assert await body(transport, peer.url) == b"ok"
        assert peer.connections == 2
        await until(lambda: not peer.writers)


async def test_an_old_peer_keeps_nothing(transport: ReportTransport) -> None:
    """An answer in HTTP/1.0 ends with its connection, unless it says otherwise."""
    async with listening(says(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")) as peer:
        assert [await body(transport, peer.url) for _ in range(2)] == [b"ok"] * 2
        assert peer.connections == 2


async def test_a_peer_that_keeps_for_long(transport: ReportTransport) -> None:
    """`Keep-Alive: timeout=60` leaves the connection in use."""
    async with listening(says(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60, max=99\r\n" + OK[17:])) as peer:
        assert [await body(transport, peer.url) for _ in range(3)] == [b"ok"] * 3
        assert peer.connections == 1


async def test_unsolicited_bytes_end_an_idle_connection(transport: ReportTransport) -> None:
    """Whatever a peer says without being asked is the answer to nothing: the next report has its own connection."""
    async with listening(says(OK)) as peer:
        assert await body(transport, peer.url) == b"ok"
        peer.writers[0].write(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nnot you")
        await until(lambda: not peer.writers)
        assert await body(transport, peer.url) == b"ok"
        assert peer.connections == 2


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nnot you", id="answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\n", id="head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: ", id="half-head"),
        pytest.param(b"HTTP/1.1 2", id="half-line"),
        pytest.param(b"rubbish", id="rubbish"),
    ],
)
async def test_bytes_behind_an_answer_are_no_part_of_the_next(
    transport: ReportTransport, more: bytes
) -> None:
    """What a peer sends in one go behind its answer belongs to no request: the next answer is that of its own."""
    first = OK + more

    async def talk(peer: Peer, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first if len(peer.requests) == 1 else OK.replace(b"ok", b"me"))

    async with listening(talk) as peer:
        assert await body(transport, peer.url) == b"ok"
        assert await get(transport, peer.url, 0.5) == Reply(200, b"me", {"content-length": "2"})
        assert peer.connections == 2


async def test_two_hosts_share_nothing(transport: ReportTransport) -> None:
    """Each host gets its own connection and name, and one that is silent holds up no other."""
    async with listening(says(OK)) as one, listening(silence) as deaf:
        waiting = asyncio.create_task(get(transport, deaf.url, 0.4))
        await until(lambda: bool(deaf.requests))
        for _ in range(3):
            assert await body(transport, one.url) == b"ok"
        assert (one.connections, deaf.connections, waiting.done()) == (1, 1, False)
        assert await waiting == NoReply("no answer in time")
        assert deaf.url.removeprefix("http://").encode() in deaf.requests[0]


# --- answers ---


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([OK], (200, b"ok")),
        ([OK[:9], OK[9:30], OK[30:-1], OK[-1:]], (200, b"ok")),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"], (200, b"ok")),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r", b"\nk\r\n0\r\nT: t\r\n\r\n"],
            (200, b"ok"),
        ),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], (204, b"")),
        ([b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"], (204, b"")),
        ([b"HTTP/1.1 304 Not Modified\r\n\r\n"], (304, b"")),
        ([b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n"], (503, b"")),
        ([b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"], (200, b"ok")),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], (200, b"ok")),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], (200, b"ok")),
        ([b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK], (200, b"ok")),
    ],
    ids=[
        "plain", "in pieces", "chunked", "chunks in pieces", "204", "204 with a length", "304", "503", "no reason",
        "100", "100 in one piece", "103 and 100",
    ],
)  # fmt: skip
async def test_forms_of_an_answer(
    transport: ReportTransport, pieces: list[bytes], expected: tuple[int, bytes]
) -> None:
    """Each is read whole, and the connection is good for another."""
    async with listening(says(*pieces)) as peer:
        for _ in range(2):
            outcome = await get(transport, peer.url)
            assert isinstance(outcome, Reply), outcome
            assert (outcome.status, outcome.body) == expected
        assert peer.connections == 1


async def test_interim_headers_are_not_those_of_the_answer(transport: ReportTransport) -> None:
    """What came with an interim answer is forgotten."""
    interim = b"HTTP/1.1 103 Early Hints\r\nretry-after: 9\r\n\r\n"
    async with listening(says(interim, OK)) as peer:
        assert await get(transport, peer.url) == Reply(200, b"ok", {"content-length": "2"})


async def test_interim_answers_without_end(transport: ReportTransport) -> None:
    """Together they may be as large as a head, and no larger: long before the time is over it is enough."""
    async with listening(says(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)) as peer:
        assert await get(transport, peer.url, 30.0) == NoReply("the answer is too large")


async def test_an_answer_that_ends_with_its_connection(transport: ReportTransport) -> None:
    """Without a length the end of the connection is the end of the answer, which may be empty."""
    async with listening(says(b"HTTP/1.1 200 OK\r\n\r\n", b"as much ", b"as came", close=True)) as peer:
        assert await body(transport, peer.url) == b"as much as came"
        assert await body(transport, peer.url) == b"as much as came"
        assert peer.connections == 2
    async with listening(says(b"HTTP/1.1 200 OK\r\n\r\n", close=True)) as peer:
        assert await body(transport, peer.url) == b""


@pytest.mark.parametrize(
    "piece",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "no last chunk", "interim only"],
)
async def test_a_cut_answer_is_doubt(transport: ReportTransport, piece: bytes) -> None:
    """A connection that ends before the answer is whole leaves nothing to believe."""
    async with listening(says(piece, close=True)) as peer:
        outcome = await get(transport, peer.url)
        assert outcome == NoReply("the connection was closed before the answer was whole")
        assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "piece",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_doubt_at_once(transport: ReportTransport, piece: bytes) -> None:
    """It is not waited out, it raises nothing, and its connection is not used again."""
    async with listening(says(piece)) as peer:
        started = time.monotonic()
        assert isinstance(await get(transport, peer.url, 3.0), NoReply)
        assert time.monotonic() - started < 2.5
        await until(lambda: not peer.writers)


async def test_a_head_over_the_bound(transport: ReportTransport) -> None:
    """Headers without end, in one or in many, are not read on; those within the bound are."""

    async def flood(_: Peer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"x-more: " + b"y" * 1000 + b"\r\n")
            await writer.drain()

    async with listening(flood) as peer:
        assert await get(transport, peer.url) == NoReply("the answer is too large")
        await until(lambda: not peer.writers)
    async with listening(says(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 30_000 + b"\r\n" + OK[17:])) as peer:
        assert await body(transport, peer.url) == b"ok"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_bound(transport: ReportTransport, *, chunked: bool) -> None:
    """A body that does not end is given up soon after the limit, however it is framed."""
    written = 0

    async def flood(_: Peer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        frame = b"transfer-encoding: chunked" if chunked else b"content-length: 99999999999"
        writer.write(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" % frame)
        piece = (b"4000\r\n%s\r\n" if chunked else b"%s") % (b"x" * 0x4000)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            written += len(piece)

    async with listening(flood) as peer:
        assert await get(transport, peer.url, 5.0) == NoReply("the answer is too large")
        await until(lambda: not peer.writers)
    assert written < 4 * MAX_ANSWER


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_body_of_some_size_is_read_whole(transport: ReportTransport, *, at_once: bool) -> None:
    """A body below the limit arrives whole, whether it comes in one segment with its head or after it."""
    large = b"x" * 200_000
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(large)
    async with listening(says(head + large) if at_once else says(head, large)) as peer:
        assert await body(transport, peer.url) == large


@pytest.mark.parametrize(
    "piece", [b"x: " + b"y" * 1000 + b"\r\n", b"y" * 1000], ids=["trailers", "extension"]
)
async def test_what_stands_beside_a_body_is_bounded_too(transport: ReportTransport, piece: bytes) -> None:
    """Trailers without end, or a chunk's extension without end, are given up like any answer that is too large."""
    written = 0

    async def flood(_: Peer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0" + (b"\r\n" if b":" in piece else b";")
        )
        while not writer.is_closing() and written < 4 * MAX_ANSWER:
            writer.write(piece * 100)
            await writer.drain()
            written += len(piece) * 100
        await asyncio.sleep(0.1)

    async with listening(flood) as peer:
        assert await get(transport, peer.url, 0.4) == NoReply("the answer is too large")


# --- addresses ---


@pytest.mark.parametrize(
    "url",
    [
        "{url}/a b",
        "{url}/a\nHost: evil",
        "{url}/a\r\nX: y",
        "{url}/a\tb",
        "{url}/\x00",
        "{url}/ä",
        "{url} /",
        " {url}/",
        "{url}/\n",
        "http://user@{host}/",
        "http://user:password@{host}/",
        "http://{name}:0{port}0/",
        "http://{name}:",
        "ftp://{host}/",
        "file:///etc/passwd",
        "//{host}/",
        "http:///{host}/",
        "http://",
        "",
        "http://[::1/",
        f"http://{'a' * 300}.example/",
        "http://a..b:{port}/",
    ],
)
async def test_invalid_addresses_are_never_sent(transport: ReportTransport, url: str) -> None:
    """What is no plain address is refused with a sentence, and no server hears anything of it."""
    await never_sent(transport, url)


@pytest.mark.parametrize(
    "url",
    [
        "http://{host}@evil.example/",
        "http://{host}:x@evil.example/",
        "http://{host}\\@evil.example/",
        "http://{name}:{port}evil/",
        "http://{name}:{port}:80/",
        "http://{name}\x00.example:{port}/",
    ],
)
async def test_addresses_that_two_readers_read_in_two_ways(transport: ReportTransport, url: str) -> None:
    """User info that looks like a host, and what follows a port without a slash, are no addresses either."""
    await never_sent(transport, url)


async def test_a_port_that_cannot_be(transport: ReportTransport) -> None:
    """It is no address, and no exception either."""
    await never_sent(transport, "http://127.0.0.1:99999/")


async def never_sent(transport: ReportTransport, url: str) -> None:
    async with listening(says(OK)) as peer:
        host = peer.url.removeprefix("http://")
        name, _, port = host.partition(":")
        outcome = await get(transport, url.format(url=peer.url, host=host, name=name, port=port), 1.0)
        assert isinstance(outcome, NoConnection)
        assert outcome.reason
        assert (peer.requests, peer.connections) == ([], 0)


async def test_a_name_that_cannot_be_resolved(transport: ReportTransport) -> None:
    """It is certain that nothing left, and the sentence says why without the name."""
    outcome = await get(transport, "http://nobody.invalid/?api_key=hush", 5.0)
    assert outcome == NoConnection("the name could not be resolved")


@pytest.mark.parametrize(
    "written", ["http://{host}", "http://{host}?a=b", "HTTP://{host}/?a=b", "http://{host}/#x"]
)
async def test_ways_to_write_an_address(transport: ReportTransport, written: str) -> None:
    """A path that goes without saying, capitals in the scheme and a fragment change nothing."""
    async with listening(says(OK)) as peer:
        assert await body(transport, written.format(host=peer.url.removeprefix("http://"))) == b"ok"
        assert peer.requests[0].split()[1] in {b"/", b"/?a=b"}


async def test_a_name_is_said_in_the_request(transport: ReportTransport) -> None:
    """`localhost` leads to this machine, is what the Host header says, and is one origin in any case."""
    async with listening(says(OK)) as peer:
        url = peer.url.replace("127.0.0.1", "LocalHost")
        assert await body(transport, url) == b"ok"
        assert await body(transport, url.lower()) == b"ok"
        assert b"\r\nHost: localhost:" in peer.requests[0]
        assert peer.connections == 1


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
async def test_a_numeric_address_in_brackets(transport: ReportTransport) -> None:
    """An IPv6 literal is connected to, and stays in its brackets in the Host header."""
    async with listening(says(OK), host="::1") as peer:
        assert await body(transport, peer.url) == b"ok"
        assert b"\r\nHost: [::1]:" in peer.requests[0]


# --- encryption ---


@contextmanager
def certificate(folder: Path, name: str) -> Iterator[tuple[ssl.SSLContext, Path]]:
    """A server's context with a certificate that it signed itself, and the file of that certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, secret)
    yield context, chain


async def test_a_certificate_that_nobody_vouches_for(transport: ReportTransport, tmp_path: Path) -> None:
    """A self-signed certificate is refused with a sentence, before anything of the request has left."""
    with certificate(tmp_path, "127.0.0.1") as (context, _):
        async with listening(says(OK), tls=context) as peer:
            assert await get(transport, peer.url) == NoConnection("the certificate of the peer is not valid")
            assert peer.requests == []


async def test_an_encrypted_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a certificate that the system trusts reports go through TLS, and over one connection."""
    with certificate(tmp_path, "127.0.0.1") as (context, chain):
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
        transport = ReportTransport(public_only=False)
        async with listening(says(OK), tls=context) as peer:
            assert [await body(transport, peer.url) for _ in range(3)] == [b"ok"] * 3
            assert peer.connections == 1
            await transport.close()
            await until(lambda: not peer.writers)


async def test_a_certificate_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trusted certificate for another name is refused."""
    with certificate(tmp_path, "other.example") as (context, chain):
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
        transport = ReportTransport(public_only=False)
        async with listening(says(OK), tls=context) as peer:
            assert await get(transport, peer.url) == NoConnection("the certificate of the peer is not valid")
            assert peer.requests == []
        await transport.close()


async def test_a_plain_server_spoken_to_with_https(transport: ReportTransport) -> None:
    """No encryption, no report: nothing of it leaves in the clear."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    heard: list[bytes] = []
    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/?api_key=hush"
        assert await get(transport, url) == NoConnection("no encrypted connection could be made")
    assert b"hush" not in b"".join(heard)


async def test_a_server_that_never_shakes_hands(transport: ReportTransport) -> None:
    """TLS that is not answered is no connection, within half the time that was given."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await get(transport, url, 0.6) == NoConnection("no connection could be made in time")


# --- time, and what is left open ---


@pytest.mark.parametrize("asked", [0.6, 1.2])
async def test_the_time_out_is_kept(transport: ReportTransport, asked: float) -> None:
    """Silence ends soon after what was asked, never before; on a new connection and on a kept one."""
    spoken = 0

    async def then_silence(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(peer.requests) > 1:
            await silence(peer, reader, writer)
        writer.write(OK)

    async with listening(silence) as deaf, listening(then_silence) as peer:
        assert await body(transport, peer.url) == b"ok"
        for url in (deaf.url, peer.url):
            started = time.monotonic()
            assert await get(transport, url, asked) == NoReply("no answer in time")
            spoken += 1
            assert asked - 0.01 <= time.monotonic() - started <= asked + 1.0
    assert spoken == 2


async def test_many_time_outs_at_once(transport: ReportTransport) -> None:
    """Fifty requests to a silent peer, each with its own time, end at their times, and their connections with them."""
    loop = asyncio.get_running_loop()

    async def one(asked: float) -> float:
        started = loop.time()
        assert await get(transport, deaf.url, asked) == NoReply("no answer in time")
        return loop.time() - started - asked

    async with listening(silence) as deaf:
        late = await asyncio.gather(*(one(2.0 + number / 200) for number in range(50)))
        assert min(late) >= -0.01
        assert max(late) <= 1.0
        await until(lambda: not deaf.writers)


async def test_a_cancelled_exchange_closes_its_connection(transport: ReportTransport) -> None:
    """Nobody else gets a connection on which an answer is still to come."""
    async with listening(silence) as peer:
        task = asyncio.create_task(get(transport, peer.url, 30.0))
        await until(lambda: bool(peer.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not peer.writers)


async def test_cancelled_while_connecting(transport: ReportTransport) -> None:
    """A connection that is being made when it is not wanted any more is not left behind."""
    gone = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        try:
            while await reader.read(1000):
                pass
        except OSError:
            pass
        gone.set()
        writer.close()

    arrived = asyncio.Event()
    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        task = asyncio.create_task(get(transport, url, 30.0))
        await asyncio.wait_for(arrived.wait(), 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 3)


async def test_nothing_is_left_open() -> None:
    """`close` ends idle connections and those under way, and the exchanges on them are doubt."""
    transport = ReportTransport(public_only=False)
    async with listening(says(OK)) as one, listening(says(OK)) as two, listening(silence) as deaf:
        await asyncio.gather(*(body(transport, peer.url) for peer in (one, one, two)))
        waiting = [asyncio.create_task(get(transport, deaf.url, 30.0)) for _ in range(3)]
        await until(lambda: len(deaf.requests) == 3)
        assert one.writers
        assert two.writers
        await transport.close()
        assert await asyncio.gather(*waiting) == [NoReply("the bridge is stopping")] * 3
        await until(lambda: not (one.writers or two.writers or deaf.writers))


async def test_close_without_use() -> None:
    """A client that was never used, or is closed twice, closes like any other."""
    transport = ReportTransport(public_only=False)
    await transport.close()
    await transport.close()
