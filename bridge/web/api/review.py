"""`/api/review`: what only a person can settle."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from bridge.flows.review import Actor, Replayed, dismiss, replay
from bridge.flows.showing import ReviewJson, review_json
from bridge.store.review import ReviewItem, get_review, list_reviews
from bridge.web.access import operator_of, require_operator
from bridge.web.api.common import Limit, Page, read_json_if_any, read_numbered
from bridge.web.context import WebContext

__all__ = ["Decision", "Dismissed", "review_routes"]


class Decision(Struct, frozen=True, forbid_unknown_fields=True):
    """Why. `resend`: of an unknown send, hand it over again instead of looking it up again."""

    reason: str = ""
    resend: bool = False


class Dismissed(Struct):
    """Whether the item was open until now."""

    dismissed: bool


def review_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""

    @get("/api/review", tags=["API"], summary="Open review items, grouped by cause")
    async def items(
        request: Request[Any, Any, Any], limit: Limit = 100, cursor: FromQuery[str | None] = None
    ) -> Page[ReviewJson]:
        operator_of(ctx, request)
        found, rest = await read_numbered(ctx.store, list_reviews, cursor, limit)
        return Page([review_json(each) for each in found], rest)

    @get("/api/review/{review_id:int}", tags=["API"], summary="One review item")
    async def one(request: Request[Any, Any, Any], review_id: FromPath[int]) -> ReviewJson:
        operator_of(ctx, request)
        return review_json(await _item(ctx, review_id))

    @post("/api/review/{review_id:int}/replay", status_code=200, tags=["API"], summary="Run it again")
    async def run_again(request: Request[Any, Any, Any], review_id: FromPath[int]) -> Replayed:
        operator = require_operator(ctx, request)
        decision = await read_json_if_any(ctx, request, Decision)
        item = await _item(ctx, review_id)
        actor = Actor(operator.name, decision.reason)
        try:
            return await replay(ctx.store, ctx.rules, item, actor, ctx.clock(), resend=decision.resend)
        finally:
            ctx.replayed()  # also when it failed half way

    @post(
        "/api/review/{review_id:int}/dismiss", status_code=200, tags=["API"], summary="Close it with a note"
    )
    async def close(request: Request[Any, Any, Any], review_id: FromPath[int]) -> Dismissed:
        operator = require_operator(ctx, request)
        decision = await read_json_if_any(ctx, request, Decision)
        item = await _item(ctx, review_id)
        actor = Actor(operator.name, decision.reason)
        return Dismissed(await dismiss(ctx.store, item, actor, ctx.clock()))

    return [items, one, run_again, close]


async def _item(ctx: WebContext, review_id: int) -> ReviewItem:
    found = await ctx.store.search(lambda tx: get_review(tx, review_id))
    if found is None:
        raise NotFoundException("no review item has this id")
    return found
