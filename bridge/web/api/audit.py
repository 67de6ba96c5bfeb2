"""`/api/audit`: who did what, when and why."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from msgspec import Struct

from bridge.core.moments import format_time
from bridge.store.audit import AuditLine, audit_lines
from bridge.web.access import operator_of
from bridge.web.api.common import Limit, Page, read_numbered
from bridge.web.context import WebContext

__all__ = ["AuditJson", "audit_json", "audit_routes"]


class AuditJson(Struct, frozen=True):
    """One thing that somebody did. `detail`: what belongs to the action."""

    at: str
    actor: str
    action: str
    reason: str
    detail: dict[str, Any]


def audit_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The route, bound to a service."""

    @get("/api/audit", tags=["API"], summary="Who did what, when and why")
    async def lines(
        request: Request[Any, Any, Any], limit: Limit = 100, cursor: FromQuery[str | None] = None
    ) -> Page[AuditJson]:
        operator_of(ctx, request)
        found, rest = await read_numbered(ctx.store, audit_lines, cursor, limit)
        return Page([audit_json(each) for each in found], rest)

    return [lines]


def audit_json(line: AuditLine) -> AuditJson:
    detail = {name: value for name, value in line.detail.items() if name != "reason"}
    return AuditJson(
        format_time(line.at), line.actor, line.action, str(line.detail.get("reason", "")), detail
    )
