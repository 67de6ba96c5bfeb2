"""The page of what only a person can settle: the sample, what to do in words, and the decision."""

from __future__ import annotations

from urllib.parse import urlencode

from litestar.handlers import HTTPRouteHandler

from bridge.flows.review import Actor, dismiss, replay
from bridge.flows.showing import review_json
from bridge.store.review import get_review, list_reviews
from bridge.web.api.common import read_numbered
from bridge.web.context import WebContext
from bridge.web.ops.visit import Answer, Refused, Visit, html, page, redirect
from bridge.web.ops.words import REVIEW

__all__ = ["review_pages"]

_ROWS = 20
_DONE = {
    "replayed": "{0} of {1} were run again. What could not be settled is still here.",
    "dismissed": "The item was dismissed.",
    "gone": "Somebody else was quicker: the item was closed already.",
}


def review_pages(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""
    return [
        page(ctx, "/ops/review", _list),
        page(ctx, "/ops/review/{review_id:int}", _decide, method="POST"),
    ]


async def _list(visit: Visit) -> Answer:
    shown, rest = await read_numbered(visit.ctx.store, list_reviews, visit.query("cursor"), _ROWS)
    notice = _DONE.get(visit.query("done"), "")
    numbers = (visit.number("replayed", 0, 10**9), visit.number("matched", 0, 10**9))
    return html(
        visit,
        "review.html",
        items=[(review_json(each), REVIEW[each.kind]) for each in shown],
        next=rest,
        notice=notice.format(*numbers),
    )


async def _decide(visit: Visit, review_id: str) -> Answer:
    visit.require_change()
    ctx, number = visit.ctx, int(review_id)
    item = await ctx.store.search(lambda tx: get_review(tx, number))
    if item is None:
        raise Refused(404, "No review item has this id", "It may have been settled and pruned.")
    actor = Actor(visit.actor.operator.name, visit.fields.get("reason", "").strip())
    match visit.fields.get("do"):
        case "dismiss":
            done = await dismiss(ctx.store, item, actor, visit.now)
            return _told(done="dismissed" if done else "gone")
        case "replay" | "resend" as choice:
            try:
                result = await replay(ctx.store, ctx.rules, item, actor, visit.now, resend=choice == "resend")
            finally:
                ctx.replayed()  # also when it failed half way
            return _told(done="replayed", replayed=result.replayed, matched=result.matched)
        case _:
            raise Refused(400, "Nothing was chosen", "Go back, and choose what to do.")


def _told(**values: object) -> Answer:
    return redirect(f"/ops/review?{urlencode(values)}")
