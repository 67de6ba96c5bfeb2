"""`/smartico/communications`: Smartico tells that an asset was sent, by POST or GET.

It lies within the address of the gateways, none of which may have this name. Before anything is read the HTTP status
says what is wrong; after that it is always 200.
"""

from __future__ import annotations

import structlog
from litestar.exceptions import MethodNotAllowedException

from bridge.errors import StoreBusyError, StoreError
from bridge.notifications import Unreadable, read_notification
from bridge.smartico import ErrorCode, Refusal, encode_refusal
from bridge.web.access import BodyTooLarge, knows
from bridge.web.context import CommunicationsDoor, WebContext
from bridge.web.raw import Call, ClientWentAway

__all__ = ["NAME", "take_notification"]

NAME = "communications"
_log = structlog.get_logger()
_KEPT = b'{"error_code":0}'


async def take_notification(ctx: WebContext, call: Call) -> None:
    """One notification, and the answer to it."""
    if call.method not in ("GET", "POST"):
        raise MethodNotAllowedException(headers={"Allow": "GET, POST"})
    try:
        status, body = await _answer(ctx, call)
    except ClientWentAway:
        return
    await call.answer(status, body)
    if status != 200:
        ctx.metrics.refused.labels(NAME, status).inc()


async def _answer(ctx: WebContext, call: Call) -> tuple[int, bytes]:
    door = ctx.communications
    if door is None:
        return _refuse(404, "asset notifications are not taken here")
    if not knows(call.header(b"authorization"), door.authorization):
        return _refuse(401, "the Authorization header is missing or wrong")
    try:
        raw = await call.body(ctx.max_body_bytes) if call.method == "POST" else b""
    except BodyTooLarge:
        return _refuse(413, f"the body is larger than {ctx.max_body_bytes} bytes")
    refusal = await _keep(ctx, door, call, raw)
    ctx.metrics.requests_of(NAME, int(refusal.code) if refusal else 0).inc()
    return 200, encode_refusal(refusal) if refusal else _KEPT


async def _keep(ctx: WebContext, door: CommunicationsDoor, call: Call, raw: bytes) -> Refusal | None:
    if ctx.lifespan.draining:
        return Refusal(ErrorCode.OVERLOADED, "the bridge is stopping, try again")
    query: bytes = call.scope["query_string"]
    read = read_notification(call.header(b"content-type") or "", query, raw)
    if isinstance(read, Unreadable):
        _log.info("refused", gateway=NAME, error_code=int(ErrorCode.INVALID))
        return Refusal(ErrorCode.INVALID, read.reason)
    try:
        if await door.noting.note(read):
            ctx.noted()
    except StoreBusyError:
        return Refusal(ErrorCode.OVERLOADED, "the bridge is overloaded, try later")
    except StoreError as error:
        _log.error("a notification could not be stored", error=error.sentence)
        return Refusal(ErrorCode.INTERNAL, "internal error: the notification could not be stored, try again")
    except Exception:
        _log.exception("a notification could not be kept")
        return Refusal(ErrorCode.INTERNAL, "internal error")
    return None


def _refuse(status: int, sentence: str) -> tuple[int, bytes]:
    return status, encode_refusal(Refusal(ErrorCode.INVALID, sentence))
