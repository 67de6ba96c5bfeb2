"""The gate through which peers are reached, and behind which they can be away."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from bench.soak.gate import Gate


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says what it hears."""
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def test_a_shut_gate_cuts_and_refuses_and_an_open_one_is_where_it_was() -> None:
    """What was connected ends, what comes is refused, and afterwards all is as before, on the same port."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    behind = server.sockets[0].getsockname()[1]
    async with server, Gate([behind]) as gate:
        port = int(gate.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"one")
        assert await reader.read(100) == b"one"
        await gate.shut()
        with suppress(ConnectionError):
            assert not await reader.read(100)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await gate.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"two")
        assert await reader.read(100) == b"two"
        writer.close()
