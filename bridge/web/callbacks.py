"""`POST /callbacks/{provider}`: a provider posts a batch of events.

2xx only after what came is durably stored; 503 when it could not be, so that the provider repeats it.
"""

from __future__ import annotations

import asyncio

import structlog
from litestar import asgi
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send
from msgspec import json

from bridge.errors import StoreBusyError, StoreError
from bridge.log import Seldom
from bridge.providers.protocol import CallbackUnreadable
from bridge.web.access import BodyTooLarge, client_allowed
from bridge.web.context import WebContext
from bridge.web.raw import Call, ClientWentAway

__all__ = ["callback_routes"]

_log = structlog.get_logger()
_Answer = tuple[int, bytes, *tuple[tuple[bytes, bytes], ...]]  # status, body, headers
_RETRY_AFTER = (b"retry-after", b"5")
_FAILED = Seldom()
_KEPT = json.encode({"kept": True})
_MOST_UNVERIFIED = 64  # bodies that are read before it is known whose they are


def callback_routes(ctx: WebContext) -> list[ASGIRouteHandler]:
    """The route, bound to a service. `bridge.web.openapi` describes it."""

    unverified = asyncio.Semaphore(_MOST_UNVERIFIED)

    @asgi("/callbacks", is_mount=True, copy_scope=False)
    async def callback(scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        if call.method != "POST":
            raise MethodNotAllowedException(headers={"Allow": "POST"})
        name = call.name
        try:
            status, body, *headers = await _answer(ctx, call, name, unverified)
        except ClientWentAway:
            return
        await call.answer(status, body, *headers)
        ctx.metrics.callbacks_of(name if name in ctx.providers else "", status).inc()

    return [callback]


async def _answer(ctx: WebContext, call: Call, name: str, unverified: asyncio.Semaphore) -> _Answer:
    door = ctx.providers.get(name)
    if door is None:
        return _refuse(404, "no provider has this name")
    if not client_allowed(call.scope, door.allowed, ctx.trusted_proxies):
        return _refuse(403, "this address may not post callbacks")
    provider = ctx.rules.providers[name]
    headers = call.headers()
    known = all(headers.get(name) for name in provider.signs)
    if not known or not (provider.signs or provider.verify_callback(headers, b"")):
        return _WRONG
    if ctx.lifespan.draining or ctx.waiting_elements() >= ctx.max_inbox:
        return _refuse(503, "not now", _RETRY_AFTER)
    if not provider.signs:
        body = await _body(ctx, call)
    elif unverified.locked():
        return _refuse(503, "not now", _RETRY_AFTER)
    else:
        async with unverified:
            body = await _body(ctx, call)
    if body is None:
        return _refuse(413, f"the body is larger than {ctx.max_body_bytes} bytes")
    if provider.signs and not provider.verify_callback(headers, body):
        return _WRONG
    return await _keep(ctx, name, body)


async def _body(ctx: WebContext, call: Call) -> bytes | None:
    """The whole body; None where it is too large."""
    try:
        return await call.body(ctx.max_body_bytes)
    except BodyTooLarge:
        return None


async def _keep(ctx: WebContext, name: str, body: bytes) -> _Answer:
    try:
        kept = await ctx.receiving.receive(name, body, ctx.clock())
    except StoreBusyError:
        return _refuse(503, "not now", _RETRY_AFTER)
    except StoreError as error:
        if times := _FAILED.count():
            _log.error(
                "a callback could not be stored; the provider will repeat it",
                provider=name,
                error=error.sentence,
                times=times,
            )
        return _refuse(503, "the callback could not be stored", _RETRY_AFTER)
    if isinstance(kept, CallbackUnreadable):
        _log.warning("an unreadable callback was kept for review", provider=name, reason=kept.reason)
        return _refuse(400, kept.reason)
    if kept:
        ctx.callback_kept(kept)
    return 200, _KEPT


def _refuse(status: int, sentence: str, *headers: tuple[bytes, bytes]) -> _Answer:
    return status, json.encode({"kept": False, "error": sentence}), *headers


_WRONG = _refuse(401, "wrong credentials", (b"www-authenticate", b'Basic realm="bridge"'))
