"""`/api/communications`: the asset notifications of Smartico."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct

from bridge.core.model import first_id, id_from_text, id_text
from bridge.core.moments import format_time
from bridge.flows.showing import mask_json
from bridge.store import forwards
from bridge.store.communications import Campaign, campaigns
from bridge.store.forwards import COMMUNICATION, Shown
from bridge.store.search import CommunicationFilter, CommunicationRow, find_communications
from bridge.store.tx import Tx
from bridge.web.access import operator_of
from bridge.web.api.common import Limit, Page, moment, read_cursor, write_cursor
from bridge.web.api.messages import When
from bridge.web.context import WebContext

__all__ = ["CommunicationJson", "communication_json", "communication_routes", "find_with_forwards"]

Wanted = Annotated[
    str,
    QueryParameter(
        name="query", description="A login, an ext_message_id, or what the name of a campaign begins with"
    ),
]


class ForwardJson(Struct, frozen=True):
    """How far it is passed on: `state` is pending, done or dead."""

    state: str
    attempts: int
    next_attempt_at: str | None
    last_error: str | None


class CommunicationJson(Struct, frozen=True, kw_only=True):
    """One asset notification. `id` is its own (X-Bridge-Id where it is passed on); `body`: all other fields, masked."""

    id: str
    campaign_name: str
    login: str
    time: str | None
    received_at: str
    channel: str
    view_url: str
    ext_message_id: str | None
    body: dict[str, Any]
    forward: ForwardJson | None


class Campaigns(Struct, frozen=True):
    """Those with a notification in the time (the last 30 days, unless `since` says otherwise), the latest first."""

    items: list[Campaign]


def communication_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The route, bound to a service."""

    @get("/api/communications", tags=["API"], summary="Search asset notifications")
    async def search(
        request: Request[Any, Any, Any],
        text: Wanted = "",
        channel: FromQuery[str] = "",
        since: When = None,
        until: When = None,
        limit: Limit = 100,
        cursor: FromQuery[str | None] = None,
    ) -> Page[CommunicationJson]:
        operator_of(ctx, request)
        last = read_cursor(cursor, tuple[str])
        chosen = CommunicationFilter(
            text=text,
            channel=channel,
            since=moment(ctx, "since", since),
            until=moment(ctx, "until", until),
            before=id_from_text(last[0]) if last else None,
            limit=limit + 1,
        )
        rows, passed_on = await ctx.store.search(lambda tx: find_with_forwards(tx, chosen))
        shown = rows[:limit]
        more = write_cursor(id_text(shown[-1].id)) if len(rows) > limit else None
        return Page([communication_json(row, passed_on.get(id_text(row.id))) for row in shown], more)

    @get("/api/communications/campaigns", tags=["API"], summary="Asset notifications by campaign")
    async def by_campaign(
        request: Request[Any, Any, Any], since: When = "30d", until: When = None, limit: Limit = 100
    ) -> Campaigns:
        operator_of(ctx, request)
        start, end = moment(ctx, "since", since) or 0, moment(ctx, "until", until) or ctx.clock() + 60_000
        return Campaigns(
            await ctx.store.search(lambda tx: campaigns(tx, first_id(start), first_id(end), limit))
        )

    return [search, by_campaign]


async def find_with_forwards(
    tx: Tx, chosen: CommunicationFilter
) -> tuple[list[CommunicationRow], dict[str, Shown]]:
    rows = await find_communications(tx, chosen)
    return rows, await forwards.of_sources(tx, COMMUNICATION, [id_text(row.id) for row in rows])


def communication_json(row: CommunicationRow, forward: Shown | None) -> CommunicationJson:
    return CommunicationJson(
        id=id_text(row.id),
        campaign_name=row.campaign_name,
        login=row.login,
        time=None if row.sent_at is None else format_time(row.sent_at),
        received_at=format_time(row.received_at),
        channel=row.channel,
        view_url=row.view_url,
        ext_message_id=id_text(row.message_id) if row.message_id else None,
        body=mask_json(msgspec.json.decode(row.body)),
        forward=_forward_json(forward) if forward else None,
    )


def _forward_json(forward: Shown) -> ForwardJson:
    due_at = forward.due_at
    return ForwardJson(
        forward.state,
        forward.attempts,
        None if due_at is None else format_time(due_at),
        forward.last_error,
    )
