"""A gate on loopback before one or several programs: it hands connections to them in turn, and can be shut.

Shut, it is a peer that is away: what was connected is cut, in the middle of whatever it was, and new connections are
refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

__all__ = ["Gate"]


class Gate:
    """Listens while it is entered, and always on the same port; `ports` are those behind it."""

    def __init__(self, ports: Sequence[int] = ()) -> None:
        self.ports = ports
        self._port = 0
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Gate:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shut()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, backlog=1024)
            self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """To the next one that takes the connection; where none does, it is closed."""
        self._writers.add(writer)
        try:
            for _ in self.ports:
                self._turn += 1
                with suppress(OSError):
                    port = self.ports[self._turn % len(self.ports)]
                    there, back = await asyncio.open_connection("127.0.0.1", port)
                    await self._both_ways(reader, writer, there, back)
                    return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        """Until one side is done: then both are."""
        self._writers.add(back)
        ways = [asyncio.create_task(_pour(*way)) for way in ((reader, back), (there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._writers.discard(back)
            back.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
