"""What a process answers while its database cannot be reached yet: that it lives, that it is not ready, and why."""

from __future__ import annotations

from typing import Any

from msgspec import json

from bridge.smartico import ErrorCode, Refusal, encode_refusal

__all__ = ["WaitingRoom"]

_JSON = [(b"content-type", b"application/json")]


class WaitingRoom:
    """An ASGI application. `reason` is what readyz says."""

    def __init__(self) -> None:
        self.reason = "starting"

    async def __call__(self, scope: dict[str, Any], _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, body = self._answer(scope["path"])
        headers = _JSON if status == 200 else [*_JSON, (b"retry-after", b"5")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str) -> tuple[int, bytes]:
        if path == "/healthz":
            return 200, json.encode({"status": "ok"})
        if path.startswith("/smartico/"):
            return 200, encode_refusal(Refusal(ErrorCode.OVERLOADED, "the bridge is starting, try later"))
        return 503, json.encode({"ready": False, "reason": self.reason})
