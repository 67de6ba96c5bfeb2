"""One HTTP call at the level of ASGI, for the two addresses that are called thousands of times a second.

Litestar's request and response objects cost more than the rest of such a call (docs/performance.md); routing and
errors stay with Litestar.
"""

from __future__ import annotations

from typing import cast

from litestar.types import HTTPScope, Receive, Scope, Send

from bridge.web.access import BodyTooLarge

__all__ = ["Call", "ClientWentAway"]

_JSON = (b"content-type", b"application/json")


class ClientWentAway(Exception):
    """Nobody waits for the answer any more."""


class Call:
    """A call, and its one answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = cast("HTTPScope", scope)
        self._receive = receive
        self._send = send

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def name(self) -> str:
        """The one segment that follows in the path after the address that the handler is mounted at; else empty."""
        begins, _, rest = self.scope["path"].partition("/")
        name = rest.removesuffix("/")
        return "" if begins or "/" in name else name

    def header(self, name: bytes) -> str | None:
        """The first header of this name, in lower case."""
        for key, value in self.scope["headers"]:
            if key == name:
                return value.decode("latin-1")
        return None

    def headers(self) -> dict[str, str]:
        """All headers, by name in lower case; of several with one name the last."""
        return {key.decode("latin-1"): value.decode("latin-1") for key, value in self.scope["headers"]}

    async def body(self, limit: int) -> bytes:
        """The raw body. Raises BodyTooLarge without reading on."""
        declared = self.header(b"content-length") or ""
        if declared.isdigit() and int(declared) > limit:
            raise BodyTooLarge
        body = bytearray()
        more = True
        while more:
            event = await self._receive()
            if event["type"] != "http.request":
                raise ClientWentAway
            body += event.get("body", b"")  # both may be left out (ASGI)
            if len(body) > limit:
                raise BodyTooLarge
            more = event.get("more_body", False)
        return bytes(body)

    async def answer(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        """Answers with JSON."""
        length = (b"content-length", str(len(body)).encode())
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]}
        )
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
