"""`POST /callbacks/{provider}`: a provider posts a batch of events.

2xx only after what came is durably stored; 503 when it could not be, so that the provider repeats it.
"""

from __future__ import annotations

from typing import Any

import structlog
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Struct, json

from bridge.errors import StoreError
from bridge.flows import callbacks
from bridge.providers.protocol import CallbackUnreadable
from bridge.web.access import BodyTooLarge, client_allowed, read_body
from bridge.web.context import WebContext

__all__ = ["CallbackAnswer", "callback_routes"]

_log = structlog.get_logger()
_RETRY_AFTER = {"Retry-After": "5"}


class CallbackAnswer(Struct, omit_defaults=True):
    """What became of a callback body: that it was kept, or why not."""

    kept: bool
    error: str | None = None


def callback_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The route, bound to a service."""

    @post(
        "/callbacks/{provider:str}",
        status_code=200,
        tags=["Provider"],
        summary="Take a batch of events",
        responses={200: ResponseSpec(CallbackAnswer, description="The batch is durably stored")},
    )
    async def callback(request: Request[Any, Any, Any], provider: FromPath[str]) -> Response[bytes]:
        answer = await _answer(ctx, request, provider)
        ctx.metrics.callbacks.labels(provider if provider in ctx.providers else "", answer.status_code).inc()
        return answer

    return [callback]


async def _answer(ctx: WebContext, request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    door = ctx.providers.get(name)
    if door is None:
        return _refuse(404, "no provider has this name")
    if not client_allowed(request, door.allowed, ctx.trusted_proxies):
        return _refuse(403, "this address may not post callbacks")
    provider = ctx.rules.providers[name]
    headers = {key.lower(): value for key, value in request.headers.items()}
    if not provider.verify_callback(headers, b""):
        return _refuse(401, "wrong credentials", {"WWW-Authenticate": 'Basic realm="bridge"'})
    if ctx.lifespan.draining or ctx.waiting_elements() >= ctx.max_inbox:
        return _refuse(503, "not now", _RETRY_AFTER)
    try:
        body = await read_body(request, ctx.max_body_bytes)
    except BodyTooLarge:
        return _refuse(413, f"the body is larger than {ctx.max_body_bytes} bytes")
    return await _keep(ctx, name, body)


async def _keep(ctx: WebContext, name: str, body: bytes) -> Response[bytes]:
    try:
        kept = await callbacks.receive(ctx.store, ctx.rules, name, body, ctx.clock())
    except StoreError as error:
        _log.error(
            "a callback could not be stored; the provider will repeat it", provider=name, error=error.sentence
        )
        return _refuse(503, "the callback could not be stored", _RETRY_AFTER)
    if isinstance(kept, CallbackUnreadable):
        _log.warning("an unreadable callback was kept for review", provider=name, reason=kept.reason)
        return _refuse(400, kept.reason)
    if kept:
        ctx.callback_kept(kept)
    return _json(200, CallbackAnswer(kept=True))


def _refuse(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response[bytes]:
    return _json(status, CallbackAnswer(kept=False, error=sentence), headers)


def _json(status: int, answer: CallbackAnswer, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(json.encode(answer), status_code=status, media_type="application/json", headers=headers)
