"""`POST /smartico/{gateway}`: Smartico sends one message.

The raw bytes go to `bridge.smartico`, never through Litestar's own decoding: broken UTF-8 and deep nesting would end
in 500 there. Before the body is looked at the HTTP status says what is wrong; after that it is always 200.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import structlog
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Struct

from bridge.core.model import id_text
from bridge.flows.accepting import Stored
from bridge.smartico import ErrorCode, Refusal, encode_accepted, encode_refusal
from bridge.web.access import BodyTooLarge, client_allowed, knows, read_body
from bridge.web.context import GatewayDoor, WebContext

__all__ = ["SendAnswer", "send_routes"]

_log = structlog.get_logger()


class SendAnswer(Struct, omit_defaults=True):
    """`error_code` 0 with `ext_message_id`, or a code above 0 with `error_message`."""

    error_code: int
    ext_message_id: str | None = None
    error_message: str | None = None


def send_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The route, bound to a service."""

    @post(
        "/smartico/{gateway:str}",
        status_code=200,
        tags=["Smartico"],
        summary="Send one message",
        responses={200: ResponseSpec(SendAnswer, description="Taken, or refused: error_code says which")},
    )
    async def send(request: Request[Any, Any, Any], gateway: FromPath[str]) -> Response[bytes]:
        started = perf_counter()
        answer = await _answer(ctx, request, gateway)
        ctx.metrics.request_seconds.observe(perf_counter() - started)
        return answer

    return [send]


async def _answer(ctx: WebContext, request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    door = ctx.gateways.get(name)
    if door is None:
        return _refuse(404, "no gateway has this name")
    if not client_allowed(request, ctx.send_allowed, ctx.trusted_proxies):
        return _refuse(403, "this address may not send")
    if not knows(request.headers.get("authorization"), door.authorization):
        return _refuse(401, "the Authorization header is missing or wrong")
    try:
        raw = await read_body(request, ctx.max_body_bytes)
    except BodyTooLarge:
        return _refuse(413, f"the body is larger than {ctx.max_body_bytes} bytes")
    result = await _accept(ctx, door, raw)
    ctx.metrics.requests.labels(name, int(result.code) if isinstance(result, Refusal) else 0).inc()
    return _json(200, _encode(result))


async def _accept(ctx: WebContext, door: GatewayDoor, raw: bytes) -> Stored | Refusal:
    if ctx.lifespan.draining:
        return Refusal(ErrorCode.OVERLOADED, "the bridge is stopping, try again")
    try:
        result = await ctx.accepting.accept(door.gateway, raw, full=ctx.is_full(door.gateway.name))
    except Exception:
        _log.exception("a request could not be accepted", gateway=door.gateway.name)
        return Refusal(ErrorCode.INTERNAL, "internal error")
    if isinstance(result, Stored) and result.new:
        ctx.accepted(door.gateway)
        _log.info("accepted", ext_message_id=id_text(result.message_id), gateway=door.gateway.name)
    elif isinstance(result, Refusal):
        _log.info("refused", gateway=door.gateway.name, error_code=int(result.code))
    return result


def _encode(result: Stored | Refusal) -> bytes:
    if isinstance(result, Refusal):
        return encode_refusal(result)
    return encode_accepted(id_text(result.message_id))


def _refuse(status: int, sentence: str) -> Response[bytes]:
    return _json(status, encode_refusal(Refusal(ErrorCode.INVALID, sentence)))


def _json(status: int, body: bytes) -> Response[bytes]:
    return Response(body, status_code=status, media_type="application/json")
