"""The peers of the benchmark see what they are there to see: what is lost, and what comes twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bridge.bench import load
from bridge.bench.provider import Provider
from bridge.bench.scene import provider_uuid
from bridge.bench.smartico import Smartico
from bridge.bench.wire import Client, Handler, listen, request_bytes, response_bytes
from bridge.core.model import id_text

FIRST, SECOND, STRANGER = (id_text(provider_uuid(number)) for number in (1, 2, 3))


async def close(server: asyncio.Server) -> None:
    """Connections whose other end is gone need a moment to notice."""
    server.close()
    await asyncio.sleep(0.05)


def report(smartico: Smartico, message: str, status: str) -> None:
    target = f"/status?type=sms&ext_message_id={message}&status={status}&api_key=key"
    assert b'"error_code": 0' in smartico.handle("GET", target.encode(), b"")


async def test_a_report_that_never_came_is_lost_and_a_second_one_is_doubled(tmp_path: Path) -> None:
    """The verdict compares what was sent with what arrived, pair by pair."""
    smartico, ids = Smartico(), tmp_path / "ids.txt"
    ids.write_text(f"some-provider-id {FIRST}\n{SECOND}")
    for message, status in (
        (FIRST, "accepted"),
        (FIRST, "delivered"),
        (FIRST, "delivered"),
        (SECOND, "accepted"),
    ):
        report(smartico, message, status)
    report(smartico, STRANGER, "delivered")
    verdict = await smartico.verdict(str(ids), ["accepted", "delivered"])
    assert verdict == {"lost": 1, "duplicated": 1, "unexpected": 1, "examples": [f"{SECOND}delivered"]}


async def test_a_message_that_was_handed_over_twice_is_noticed() -> None:
    """The tag of a message tells the provider that it had it before."""
    provider = Provider()
    body = json.dumps([{"tags": ["a"]}, {"tags": ["b"]}]).encode()
    for _ in range(2):
        answer = provider.handle("POST", b"/api/v1/message", body).partition(b"\r\n\r\n")[2]
        assert [each["code"] for each in json.loads(answer)["items"]] == [201, 201]
    seen = await provider.seen()
    assert (seen["messages"], seen["duplicated"]) == (2, 2)


async def test_elements_of_one_message_stay_together_and_are_posted_until_they_are_kept() -> None:
    """However messages fall into batches, sent comes right before delivered; a 503 is no end."""
    bodies: list[list[dict[str, str]]] = []
    answers = iter([503])

    def bridge(_: str, __: bytes, body: bytes) -> bytes:
        status = next(answers, 200)
        if status == 200:
            bodies.append(json.loads(body))
        return response_bytes(status, b"{}")

    server = await listen(bridge)
    port = server.sockets[0].getsockname()[1]
    provider = Provider()
    await provider.reset(["sent", "delivered"])
    url = f"http://revicom:secret@127.0.0.1:{port}/callbacks/revicom"
    items = [{"tags": [str(number)], "callbackUrl": url} for number in range(70)]
    provider.handle("POST", b"/message", json.dumps(items).encode())
    async with asyncio.timeout(5):
        while sum(map(len, bodies)) < 140:
            await asyncio.sleep(0.01)
    await provider.reset([])
    await close(server)
    for body in bodies:
        assert len(body) <= 100
        for first, second in zip(body[::2], body[1::2], strict=True):
            assert first["message_uuid"] == second["message_uuid"]
            assert (first["status"], second["status"]) == ("sent", "delivered")


async def test_load_and_callbacks_are_spread_over_all_ports(tmp_path: Path) -> None:
    """As a load balancer does it: every instance gets some of the sends, and of the callbacks."""
    seen: dict[str, list[int]] = {"/smartico/sms": [0, 0], "/callbacks/revicom": [0, 0]}

    def door(number: int) -> Handler:
        def handle(_: str, target: bytes, __: bytes) -> bytes:
            seen[target.decode()][number] += 1
            return response_bytes(200, b'{"error_code": 0, "ext_message_id": "one"}')

        return handle

    servers = [await listen(door(number)) for number in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    ids = tmp_path / "ids.txt"
    sent = await load.sends(ports, 40, 4, "run", "http://127.0.0.1/status", 10, str(ids))
    assert sent["accepted"] == 40
    ids.write_text("\n".join(f"{id_text(provider_uuid(number))} name" for number in range(40)))
    posted = await load.callbacks(ports, "/callbacks/revicom", "", str(ids), 0, 40, 1, 4)
    assert posted["acknowledged"] == 40
    assert all(min(counts) > 0 and sum(counts) == 40 for counts in seen.values())
    for server in servers:
        await close(server)


async def test_a_callback_that_is_put_off_is_posted_again(tmp_path: Path) -> None:
    """503 is no loss: as a provider does, the load comes again, and says how often."""
    answers = iter([503, 503])
    server = await listen(lambda *_: response_bytes(next(answers, 200), b"{}"))
    ids, times = tmp_path / "ids.txt", tmp_path / "times.txt"
    ids.write_text("\n".join(f"{id_text(provider_uuid(number))} name{number}" for number in range(5)))
    port = server.sockets[0].getsockname()[1]
    posted = await load.paced([port], "/callbacks/revicom", "", str(ids), 0, 5, 1000, str(times))
    await close(server)
    assert (posted["elements"], posted["acknowledged"], posted["put_off"]) == (5, 5, 2)
    assert [line.split()[0] for line in times.read_text().splitlines()] == [f"name{n}" for n in range(5)]


async def test_the_provider_posts_to_all_ports() -> None:
    """One batch to each, where there is one for each."""
    seen = [0, 0]

    def door(number: int) -> Handler:
        def handle(_: str, __: bytes, ___: bytes) -> bytes:
            seen[number] += 1
            return response_bytes(200, b"{}")

        return handle

    servers = [await listen(door(number)) for number in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    provider = Provider()
    await provider.reset(["delivered"])
    await provider.spread(ports)
    url = f"http://127.0.0.1:{ports[0]}/callbacks/revicom"
    items = [{"tags": [str(number)], "callbackUrl": url} for number in range(200)]
    provider.handle("POST", b"/message", json.dumps(items).encode())
    async with asyncio.timeout(5):
        while sum(seen) < 2:
            await asyncio.sleep(0.01)
    await provider.reset([])
    for server in servers:
        await close(server)
    assert seen == [1, 1]


async def test_an_answer_in_pieces_is_put_together() -> None:
    """TCP may cut anywhere; the client waits for the whole answer, and says when it will not come."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in (b"HTTP/1.1 200 OK\r\nConte", b"nt-length: 4\r\n\r\nab", b"cd"):
            writer.write(piece)
            await asyncio.sleep(0.01)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = await Client.open("127.0.0.1", server.sockets[0].getsockname()[1])
    assert await client.exchange(request_bytes("GET", "/", "here")) == (200, b"abcd")
    with pytest.raises(ConnectionError):
        await client.exchange(request_bytes("GET", "/", "here"))
    assert client.closed
    await close(server)
