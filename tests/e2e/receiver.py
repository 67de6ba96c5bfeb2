"""The operator's own API, to which things are passed on, and Smartico that tells of the assets that it sent."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aiohttp import web

from tests.servers import NO_TLS, serving

__all__ = ["PATH", "SECRET", "SETTINGS", "Receiver", "receiving", "tell", "tell_all"]

SECRET = {"Authorization": "secret-of-communications"}
PATH = "/smartico/communications"
SETTINGS = """
[communications]
authorization = ["secret-of-communications"]
forward_url = "{url}/communications?tenant=7"
forward_headers = {{ X-Api-Key = "key-of-the-receiver" }}
"""


class Receiver:
    """The operator's own API: keeps what it gets, and answers `status`, or now and then 500."""

    def __init__(self, faults: float = 0.0) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []  # X-Bridge-Id and body, as they came
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self.url = ""
        self._faults = faults
        self._draw = random.Random(3)

    async def take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.requests.append((str(request.rel_url), dict(request.headers), raw))
        if self._draw.random() < self._faults:
            return web.Response(status=500)
        if self.status < 300:
            self.got.append((request.headers["X-Bridge-Id"], json.loads(raw)))
        return web.Response(status=self.status)

    def first_arrivals(self, login: str) -> list[int]:
        """The numbers of a user's notifications in the order in which they came for the first time."""
        numbers = [body["number"] for _, body in self.got if body["login"] == login]
        return list(dict.fromkeys(numbers))


@asynccontextmanager
async def receiving(faults: float = 0.0) -> AsyncIterator[Receiver]:
    receiver = Receiver(faults)
    app = web.Application()
    app.router.add_post("/communications", receiver.take)
    async with serving(app) as receiver.url:
        yield receiver


async def tell(url: str, fields: dict[str, Any]) -> None:
    """Tells it until it is answered with error_code 0, as Smartico would."""
    while True:
        try:
            async with httpx.AsyncClient(timeout=5, verify=NO_TLS) as client:
                answer = await client.post(f"{url}{PATH}", json=fields, headers=SECRET)
            if answer.json() == {"error_code": 0}:
                return
        except httpx.HTTPError:
            pass  # it was killed, or is not there yet
        await asyncio.sleep(0.05)


async def tell_all(url: str, login: str, count: int) -> None:
    """One user's notifications, one after the other."""
    for number in range(count):
        fields = {"login": login, "time": 1664115803000 + number, "number": number, "channel": "Push"}
        await tell(url, fields)
