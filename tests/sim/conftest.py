"""What the tests of the simulators share: waiting, a client, and a server that records requests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import msgspec
import pytest
from aiohttp import web

from tests.servers import serving


class Eventually(Protocol):
    """Waits until the condition holds; fails the test when it does not in time."""

    async def __call__(self, condition: Callable[[], object], seconds: float = 5.0) -> None: ...


@dataclass(frozen=True, slots=True)
class Received:
    """One request that the recorder got."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    query: str = ""

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.raw)


class Recorder:
    """A server that records what it gets. It answers with what waits in `answers`, else with `answer`."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[tuple[int, bytes]] = deque()
        self.answer: Callable[[Received], tuple[int, bytes]] = lambda _: (200, b"")
        self.url = ""

    @property
    def elements(self) -> list[Any]:
        """All elements of all arrays that came."""
        return [element for received in self.received for element in received.json]

    def with_login(self, login: str) -> str:
        """A callback address here, with login:password in it."""
        return self.url.replace("http://", f"http://{login}@") + "/callbacks/revicom"

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.read()
        received = Received(request.method, request.path, dict(request.headers), raw, request.query_string)
        self.received.append(received)
        status, body = self.answers.popleft() if self.answers else self.answer(received)
        return web.Response(status=status, body=body, content_type="application/json")


@pytest.fixture
def eventually() -> Eventually:
    async def wait(condition: Callable[[], object], seconds: float = 5.0) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not condition():
            assert loop.time() < end, f"did not happen within {seconds} s"
            await asyncio.sleep(0.005)

    return wait


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", recorder.handle)
    async with serving(app) as recorder.url:
        yield recorder
