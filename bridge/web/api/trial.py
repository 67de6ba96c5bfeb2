"""`POST /api/gateways/{gateway}/test`: one message that an operator wants to see on its way, without Smartico."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from litestar import Request, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Struct

from bridge.core.model import MessageId, id_text
from bridge.flows.accepting import Gateway
from bridge.smartico import Refusal
from bridge.store import audit, messages
from bridge.store.tx import Tx
from bridge.web.access import require_operator
from bridge.web.api.common import read_json
from bridge.web.context import WebContext

__all__ = ["trial_routes"]

_TEXT = "A test message of the bridge."


class Trial(Struct, frozen=True, forbid_unknown_fields=True):
    """To whom, and what; e-mail has the text as its subject, too."""

    ext_user_id: str
    text: str = _TEXT


class Tried(Struct, frozen=True):
    """The message that was stored: its timeline tells the rest."""

    ext_message_id: str


def trial_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The route, bound to a service."""

    @post(
        "/api/gateways/{gateway:str}/test",
        status_code=200,
        tags=["API"],
        summary="Send a test message",
        description="It goes to the provider like any other, costs what any other costs, and is audited; Smartico is "
        "told nothing about it. What cannot be sent is 409 with the reason.",
    )
    async def test_message(request: Request[Any, Any, Any], gateway: FromPath[str]) -> Tried:
        operator = require_operator(ctx, request)
        door = ctx.gateways.get(gateway)
        if door is None:
            raise NotFoundException("no gateway has this name")
        wanted = await read_json(ctx, request, Trial)
        full = ctx.is_full(gateway)
        result = await ctx.accepting.accept(door.gateway, _asked(door.gateway, wanted), full=full, trial=True)
        if isinstance(result, Refusal):
            raise HTTPException(f"error_code {int(result.code)}: {result.message}", status_code=409)
        ctx.accepted(door.gateway)
        await ctx.store.write(
            partial(_note, message_id=result.message_id, actor=operator.name, now=ctx.clock())
        )
        return Tried(id_text(result.message_id))

    return [test_message]


def _asked(gateway: Gateway, wanted: Trial) -> bytes:
    """What Smartico would have posted."""
    uid, body = f"test-{uuid4()}", {"ext_user_id": wanted.ext_user_id, "body": wanted.text}
    if gateway.type == "email":
        return msgspec.json.encode({**body, "email_uid": uid, "subject": wanted.text})
    return msgspec.json.encode({**body, "im_uid": uid})


async def _note(tx: Tx, message_id: MessageId, actor: str, now: int) -> None:
    await messages.add_step(tx, message_id, now, "test", "", actor)
    await audit.add_audit(tx, now, actor, "message.test", {"message": id_text(message_id)})
