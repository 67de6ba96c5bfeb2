"""The page of asset notifications, by campaign and one by one; and the audit trail."""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from bridge.core.model import first_id, id_from_text, id_text
from bridge.store.audit import audit_lines
from bridge.store.communications import campaigns
from bridge.store.search import CommunicationFilter
from bridge.web.api.audit import audit_json
from bridge.web.api.common import read_cursor, read_numbered, write_cursor
from bridge.web.api.communications import communication_json, find_with_forwards
from bridge.web.context import WebContext
from bridge.web.ops.visit import Answer, Visit, html, page

__all__ = ["communication_pages"]

_ROWS = 50
_CAMPAIGNS = 20
_MONTH_MS = 30 * 86_400_000


def communication_pages(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""
    return [page(ctx, "/ops/communications", _list), page(ctx, "/ops/audit", _audit)]


async def _list(visit: Visit) -> Answer:
    ctx = visit.ctx
    last = read_cursor(visit.query("cursor"), tuple[str])
    since, until = visit.moment("since"), visit.moment("until")
    chosen = CommunicationFilter(
        text=visit.query("query"),
        channel=visit.query("channel"),
        since=since,
        until=until,
        before=id_from_text(last[0]) if last else None,
        limit=_ROWS + 1,
    )
    rows, passed_on = await ctx.store.search(lambda tx: find_with_forwards(tx, chosen))
    shown = rows[:_ROWS]
    start, end = first_id(since or visit.now - _MONTH_MS), first_id(until or visit.now + 60_000)
    first_page = not visit.query("cursor") and not visit.query("query")
    found = await ctx.store.search(lambda tx: campaigns(tx, start, end, _CAMPAIGNS)) if first_page else []
    return html(
        visit,
        "communications.html",
        items=[communication_json(row, passed_on.get(id_text(row.id))) for row in shown],
        next=write_cursor(id_text(shown[-1].id)) if len(rows) > _ROWS else None,
        campaigns=found,
        campaigns_of="of that time" if since or until else "of the last 30 days",
    )


async def _audit(visit: Visit) -> Answer:
    lines, rest = await read_numbered(visit.ctx.store, audit_lines, visit.query("cursor"), _ROWS)
    return html(visit, "audit.html", items=[audit_json(line) for line in lines], next=rest)
