"""What every simulator shares: a real listening socket, the addresses under `/_sim/`, and ways to break a
connection.

`GET /_sim/summary` and `GET /_sim/messages` show the ledger, `GET` and `PUT /_sim/faults` the faults. These
addresses belong to the simulator alone; no peer has them.
"""

import asyncio
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic, Self

import msgspec
from aiohttp import web

from bridge.sim.faults import Dice, F

_MAX_BODY = 256 * 1024 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)


class Load:
    """Counts the requests being served, and remembers the most at one time. Use as `with load:`."""

    def __init__(self) -> None:
        self.now = 0
        self.highest = 0

    def __enter__(self) -> None:
        self.now += 1
        self.highest = max(self.highest, self.now)

    def __exit__(self, *_: object) -> None:
        self.now -= 1


class Simulator(Generic[F]):
    """One simulated peer on its own socket: `async with` starts and stops it. Port 0: any free one."""

    def __init__(self, host: str, port: int, seed: int, faults: F) -> None:
        self.load = Load()
        self.dice = Dice(faults, seed)
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The base address, without a slash at its end."""
        return f"http://{self._host}:{self._port}"

    @property
    def faults(self) -> F:
        """The faults in force; assign a new value, or change its fields, at any time."""
        return self.dice.faults

    @faults.setter
    def faults(self, faults: F) -> None:
        self.dice.faults = faults

    def routes(self) -> list[web.RouteDef]:
        """The addresses of the peer."""
        raise NotImplementedError

    def summary(self) -> dict[str, Any]:
        """Counts of everything so far."""
        raise NotImplementedError

    def messages(self) -> Sequence[Any]:
        """Every message so far, as values that go into JSON."""
        raise NotImplementedError

    async def opened(self) -> None:
        """Called once the simulator listens."""

    async def closing(self) -> None:
        """Called before the simulator stops listening."""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_MAX_BODY)
        app.add_routes(self.routes())
        app.add_routes(self._control_routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        self._port = self._runner.addresses[0][1]
        await self.opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.closing()
        if self._runner is not None:
            await self._runner.cleanup()

    def _control_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/summary", self._get_summary),
            web.get("/_sim/messages", self._get_messages),
            web.get("/_sim/faults", self._get_faults),
            web.put("/_sim/faults", self._put_faults),
        ]

    async def _get_summary(self, _: web.Request) -> web.Response:
        return json_answer(self.summary())

    async def _get_messages(self, _: web.Request) -> web.Response:
        return json_answer(self.messages())

    async def _get_faults(self, _: web.Request) -> web.Response:
        return json_answer(self.faults)

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            self.faults = msgspec.json.decode(await request.read(), type=type(self.faults))
        except msgspec.DecodeError as error:
            return json_answer({"error": str(error)}, 400)
        return json_answer(self.faults)


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer whose body is the value as JSON."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def reset_connection(request: web.Request) -> web.Response:
    """Cut the connection with a TCP reset. The response returned reaches nobody."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        request.transport.abort()
    return web.Response()


async def hold_connection(request: web.Request, seconds: float) -> web.Response:
    """Keep the client waiting, then close without an answer. The response returned reaches nobody."""
    await asyncio.sleep(seconds)
    return reset_connection(request)


def retry_later(retry_after_seconds: float | None) -> dict[str, str]:
    """The headers of a 429 or 503: Retry-After in whole seconds, when asked for."""
    return {} if retry_after_seconds is None else {"Retry-After": f"{retry_after_seconds:g}"}
