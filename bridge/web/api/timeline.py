"""`/api/timeline`: what happened with one user."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.exceptions import ServiceUnavailableException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from msgspec import Struct

from bridge.flows.timeline import timeline_of_user
from bridge.store.contacts import Contact
from bridge.web.access import operator_of
from bridge.web.api.common import Limit
from bridge.web.api.contacts import ask_platform
from bridge.web.context import WebContext

__all__ = ["timeline_routes"]


class Timeline(Struct):
    """What happened with one user, newest first: `at`, `kind`, and what belongs to the kind."""

    items: list[dict[str, Any]]


def timeline_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The route, bound to a service."""

    @get("/api/timeline", tags=["API"], summary="What happened with one user")
    async def timeline(
        request: Request[Any, Any, Any], ext_user_id: FromQuery[str], limit: Limit = 100
    ) -> Timeline:
        operator_of(ctx, request)
        elsewhere = await _elsewhere(ctx, ext_user_id)
        return Timeline(
            await ctx.store.search(lambda tx: timeline_of_user(tx, ext_user_id, elsewhere, limit))
        )

    return [timeline]


async def _elsewhere(ctx: WebContext, ext_user_id: str) -> Contact | None:
    """What the operator's platform says of the user; while it is away, there is less to tell."""
    try:
        return await ask_platform(ctx.platform, ext_user_id) if ctx.platform else None
    except ServiceUnavailableException:
        return None
