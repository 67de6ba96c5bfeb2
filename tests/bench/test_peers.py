"""The peers of the benchmark see what they are there to see: what is lost, and what comes twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bridge.bench.provider import Provider
from bridge.bench.scene import provider_uuid
from bridge.bench.smartico import Smartico
from bridge.bench.wire import Client, listen, request_bytes, response_bytes
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
