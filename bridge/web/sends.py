"""`POST /smartico/{gateway}`: Smartico sends one message.

The raw bytes go to `bridge.smartico`, never through Litestar's own decoding: broken UTF-8 and deep nesting would end
in 500 there. Before the body is looked at the HTTP status says what is wrong; after that it is always 200.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

import structlog
from litestar import asgi
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from bridge.core.model import id_text
from bridge.flows.accepting import Stored
from bridge.smartico import ErrorCode, Refusal, encode_accepted, encode_refusal
from bridge.web.access import BodyTooLarge, client_allowed, knows
from bridge.web.communications import NAME, take_notification
from bridge.web.context import GatewayDoor, WebContext
from bridge.web.raw import Call, ClientWentAway

__all__ = ["send_routes"]

_log = structlog.get_logger()


def send_routes(ctx: WebContext) -> list[ASGIRouteHandler]:
    """The route, bound to a service. `bridge.web.openapi` describes it."""

    @asgi("/smartico", is_mount=True, copy_scope=False)
    async def send(scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        call = Call(scope, receive, send)
        if call.name == NAME:
            await take_notification(ctx, call)
            return
        if call.method != "POST":
            raise MethodNotAllowedException(headers={"Allow": "POST"})
        try:
            status, body = await _answer(ctx, call)
        except ClientWentAway:
            return
        await call.answer(status, body)
        if status != 200:
            ctx.metrics.refused.labels(call.name if call.name in ctx.gateways else "", status).inc()
        ctx.metrics.request_seconds.observe(perf_counter() - started)

    return [send]


async def _answer(ctx: WebContext, call: Call) -> tuple[int, bytes]:
    name = call.name
    door = ctx.gateways.get(name)
    if door is None:
        return _refuse(404, "no gateway has this name")
    if not client_allowed(call.scope, ctx.send_allowed, ctx.trusted_proxies):
        return _refuse(403, "this address may not send")
    if not knows(call.header(b"authorization"), door.authorization):
        return _refuse(401, "the Authorization header is missing or wrong")
    try:
        raw = await call.body(ctx.max_body_bytes)
    except BodyTooLarge:
        return _refuse(413, f"the body is larger than {ctx.max_body_bytes} bytes")
    result = await _accept(ctx, door, raw, call.headers() if door.gateway.pass_headers else None)
    ctx.metrics.requests_of(name, int(result.code) if isinstance(result, Refusal) else 0).inc()
    return 200, _encode(result)


async def _accept(
    ctx: WebContext, door: GatewayDoor, raw: bytes, headers: Mapping[str, str] | None
) -> Stored | Refusal:
    if ctx.lifespan.draining:
        return Refusal(ErrorCode.OVERLOADED, "the bridge is stopping, try again")
    try:
        result = await ctx.accepting.accept(
            door.gateway, raw, full=ctx.is_full(door.gateway.name), headers=headers
        )
    except Exception:
        _log.exception("a request could not be accepted", gateway=door.gateway.name)
        return Refusal(ErrorCode.INTERNAL, "internal error")
    if isinstance(result, Stored) and result.new:
        ctx.accepted(door.gateway)
    elif isinstance(result, Refusal) and result.code is not ErrorCode.INTERNAL:  # told already
        _log.info("refused", gateway=door.gateway.name, error_code=int(result.code))
    return result


def _encode(result: Stored | Refusal) -> bytes:
    if isinstance(result, Refusal):
        return encode_refusal(result)
    return encode_accepted(id_text(result.message_id))


def _refuse(status: int, sentence: str) -> tuple[int, bytes]:
    return status, encode_refusal(Refusal(ErrorCode.INVALID, sentence))
