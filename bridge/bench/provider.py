"""A process that plays the provider: takes every message, and posts what becomes of it, in batches.

`python -m bridge.bench.provider`, see `child`. The elements of one message stay together and in order, so that no
status can become superfluous. What is not answered with 200 is posted again.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from random import getrandbits
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct, structs

from bridge.bench.child import Command, run_child
from bridge.bench.files import write_lines
from bridge.bench.scene import callback_request, element
from bridge.bench.wire import Client, listen, response_bytes

_BATCH = 100  # elements in one callback
_GATHER = 0.02  # seconds until an incomplete batch leaves
_CONNECTIONS = 8  # callbacks at a time
_REPEAT = 0.2  # seconds until a callback that failed is posted again


class _Item(Struct, rename="camel"):
    tags: list[str] = []
    callback_url: str = ""


_items = msgspec.json.Decoder(list[_Item])


class _Address(Struct, frozen=True):
    """Where callbacks go: taken from the `callbackUrl` of a message."""

    host: str
    port: int
    path: str
    authorization: str

    @classmethod
    def parse(cls, url: str) -> _Address:
        parts = urlsplit(url)
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        basic = f"Authorization: Basic {b64encode(pair.encode()).decode()}\r\n" if parts.username else ""
        return cls(parts.hostname or "", parts.port or 80, parts.path, basic)


class Provider:
    """Takes messages and posts `events` for each."""

    def __init__(self) -> None:
        self._ports: list[int] = []
        self._workers: list[asyncio.Task[None]] = []
        self._clear([])

    def _clear(self, events: list[str]) -> None:
        self._events = events
        self._uuids: list[str] = []
        self._handed: dict[str, int] = {}
        self._due: list[bytes] = []
        self._queue: asyncio.Queue[list[bytes]] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._requests = self._repeated = 0

    # --- messages ---

    def handle(self, method: str, _: bytes, body: bytes) -> bytes:
        if method != "POST":
            return response_bytes(404, b"{}")
        items = _items.decode(body if body.lstrip()[:1] == b"[" else b"[" + body + b"]")
        self._requests += 1
        answers = [f'{{"messageUuid":"{self._take(item)}","code":201}}' for item in items]
        if self._events and items:
            self._open(items[0].callback_url)
            self._plan()
        return response_bytes(200, f'{{"errors":false,"items":[{",".join(answers)}]}}'.encode())

    def _take(self, item: _Item) -> str:
        digits = f"{getrandbits(128):032x}"
        uuid = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
        self._uuids.append(uuid)
        name = item.tags[0] if item.tags else uuid
        self._handed[name] = self._handed.get(name, 0) + 1
        self._due += [element(uuid, event) for event in self._events]
        return uuid

    # --- callbacks ---

    def _open(self, url: str) -> None:
        """All callbacks of one run go to one address, or in turn to the instances behind it."""
        if not self._workers:
            address = _Address.parse(url)
            ports = self._ports or [address.port]
            addresses = [structs.replace(address, port=port) for port in ports]
            loop = asyncio.get_running_loop()
            self._workers = [
                loop.create_task(self._work(addresses[number % len(addresses)]))
                for number in range(_CONNECTIONS)
            ]

    def _plan(self) -> None:
        size = _BATCH - _BATCH % len(self._events)
        while len(self._due) >= size:
            self._queue.put_nowait(self._due[:size])
            self._due = self._due[size:]
        if self._due and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._due:
            self._queue.put_nowait(self._due)
            self._due = []

    async def _work(self, address: _Address) -> None:
        """Posts one batch after the other, each until it was kept."""
        client = Client()
        host = f"{address.host}:{address.port}"
        try:
            while True:
                elements = await self._queue.get()
                request = callback_request(address.path, host, address.authorization, elements)
                while True:
                    if client.closed:
                        client = await _connect(address)
                    if await _is_kept(client, request):
                        break
                    self._repeated += 1
                    await asyncio.sleep(_REPEAT)
        finally:
            client.close()

    # --- orders ---

    async def listen(self, port: int) -> int:
        """Opens the door; gives the port."""
        server = await listen(self.handle, port=port)
        taken: int = server.sockets[0].getsockname()[1]
        return taken

    async def reset(self, events: list[str]) -> None:
        """Forgets everything; from now on each message gets these events."""
        if self._timer is not None:
            self._timer.cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers = []
        self._clear(events)

    async def spread(self, ports: list[int]) -> None:
        """From now on each connection goes to the next of these ports, as a load balancer would do it."""
        self._ports = ports

    async def seen(self) -> dict[str, int]:
        """Different messages taken, how many came again, requests, and callbacks posted again."""
        return {
            "messages": len(self._handed),
            "duplicated": sum(self._handed.values()) - len(self._handed),
            "requests": self._requests,
            "repeated": self._repeated,
        }

    async def uuids(self, path: str) -> str:
        """Writes the ids that were given out, a line each; gives the last."""
        write_lines(path, self._uuids)
        return self._uuids[-1] if self._uuids else ""


async def _connect(address: _Address) -> Client:
    while True:
        try:
            return await Client.open(address.host, address.port)
        except OSError:
            await asyncio.sleep(_REPEAT)


async def _is_kept(client: Client, request: bytes) -> bool:
    try:
        return (await client.exchange(request))[0] == 200
    except OSError:
        return False


async def _commands() -> Mapping[str, Command]:
    peer = Provider()
    return {
        "listen": peer.listen,
        "reset": peer.reset,
        "spread": peer.spread,
        "seen": peer.seen,
        "uuids": peer.uuids,
    }


if __name__ == "__main__":
    run_child(_commands)
