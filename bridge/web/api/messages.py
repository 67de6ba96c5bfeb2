"""`/api/messages`: search, and the timeline of one message."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.exceptions import NotFoundException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Struct

from bridge.core.model import State, id_from_text, id_text
from bridge.flows.revealing import reveal
from bridge.flows.showing import MessageJson, MessageWithTimeline, message_json, message_with_timeline
from bridge.store.search import MessageFilter, find_messages, get_message
from bridge.web.access import operator_of, require_operator
from bridge.web.api.common import Limit, Page, moment, read_cursor, read_json_if_any, write_cursor
from bridge.web.api.contacts import ask_platform
from bridge.web.context import WebContext

__all__ = ["When", "may_narrow", "message_routes"]

AnyId = Annotated[
    str, QueryParameter(name="query", description="Any id, a phone number or an e-mail address")
]
When = Annotated[str | None, QueryParameter(description="RFC 3339, a date, or an age like 2h")]


class Why(Struct, frozen=True, forbid_unknown_fields=True):
    """Why somebody has to know; it goes into the audit trail."""

    reason: str = ""


class Revealed(Struct, frozen=True):
    """The phone number or e-mail address that the message went to; null where it is not known any more."""

    address: str | None


def may_narrow(message_state: str, *values: str) -> bool:
    """Whether these filters may be used: among the few messages that ended badly. Among all of them no index helps."""
    return not any(values) or message_state in (State.FAILED, State.REJECTED)


def message_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""

    @get("/api/messages", tags=["API"], summary="Search messages")
    async def search(
        request: Request[Any, Any, Any],
        text: AnyId = "",
        gateway: FromQuery[str] = "",
        message_state: Annotated[str, QueryParameter(name="state")] = "",
        since: When = None,
        until: When = None,
        channel: FromQuery[str] = "",
        provider: FromQuery[str] = "",
        error_code: FromQuery[str] = "",
        limit: Limit = 100,
        cursor: FromQuery[str | None] = None,
    ) -> Page[MessageJson]:
        operator_of(ctx, request)
        if not may_narrow(message_state, channel, provider, error_code):
            raise ValidationException(
                "channel, provider and error_code go with state=failed or state=rejected"
            )
        last = read_cursor(cursor, tuple[str])
        chosen = MessageFilter(
            text=text,
            gateway=gateway,
            state=message_state,
            since=moment(ctx, "since", since),
            until=moment(ctx, "until", until),
            before=id_from_text(last[0]) if last else None,
            limit=limit + 1,
            default_region=ctx.default_region,
            channel=channel,
            provider=provider,
            error_code=error_code,
        )
        rows = await ctx.store.search(lambda tx: find_messages(tx, chosen))
        shown = rows[:limit]
        more = write_cursor(id_text(shown[-1].id)) if len(rows) > limit else None
        return Page([message_json(row) for row in shown], more)

    @get("/api/messages/{ext_message_id:str}", tags=["API"], summary="One message with its timeline")
    async def one(request: Request[Any, Any, Any], ext_message_id: FromPath[str]) -> MessageWithTimeline:
        operator_of(ctx, request)
        message_id = id_from_text(ext_message_id)
        found = (
            await ctx.store.search(lambda tx: message_with_timeline(tx, message_id)) if message_id else None
        )
        if found is None:
            raise NotFoundException("no message has this ext_message_id")
        return found

    @post(
        "/api/messages/{ext_message_id:str}/reveal",
        status_code=200,
        tags=["API"],
        summary="The address in the clear, audited",
    )
    async def in_the_clear(request: Request[Any, Any, Any], ext_message_id: FromPath[str]) -> Revealed:
        operator = require_operator(ctx, request)
        message_id = id_from_text(ext_message_id)
        body = await read_json_if_any(ctx, request, Why)
        found = await ctx.store.search(lambda tx: get_message(tx, message_id)) if message_id else None
        if message_id is None or found is None:
            raise NotFoundException("no message has this ext_message_id")
        elsewhere = await ask_platform(ctx.platform, found.ext_user_id) if ctx.platform else None
        return Revealed(
            await ctx.store.write(
                lambda tx: reveal(tx, message_id, elsewhere, operator.name, body.reason, ctx.clock())
            )
        )

    return [search, one, in_the_clear]
