"""`/api/stats`: counts, delivery rate, time to delivery and cost of the messages of a time."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.exceptions import ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from bridge.core.model import Millis
from bridge.flows.stats import StatsJson, recent
from bridge.flows.stats_csv import stats_csv
from bridge.store.stats import Dimension, TooManyRows
from bridge.web.access import operator_of
from bridge.web.api.common import moment
from bridge.web.api.export import download_headers
from bridge.web.api.messages import When
from bridge.web.context import WebContext

__all__ = ["read_by", "read_range", "stats_routes"]

By = Annotated[
    str,
    QueryParameter(
        description=f"What to group by, one or several, separated by commas: {', '.join(Dimension)}; empty: no groups"
    ),
]
_DAY_MS = 86_400_000
_UNITS = "smhd"  # what an age ends in


def stats_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The route, bound to a service."""

    @get(
        "/api/stats",
        tags=["API"],
        summary="What became of the messages of a time",
        description="Without `since`: the last 24 hours. A time given as an age (24h) begins at a round minute or "
        "hour, and the answer may be some seconds old: `since`, `until` and `computed_at` say what it is about.",
    )
    async def stats(
        request: Request[Any, Any, Any],
        since: When = None,
        until: When = None,
        by: By = "",
    ) -> StatsJson:
        operator_of(ctx, request)
        return await _counted(ctx, since, until, by)

    @get(
        "/api/stats.csv",
        tags=["API"],
        summary="The same, as CSV",
        description="A line for each group; the currencies are columns. Times are in milliseconds.",
        responses={200: ResponseSpec(bytes, description="A header and the groups", media_type="text/csv")},
    )
    async def as_csv(
        request: Request[Any, Any, Any],
        since: When = None,
        until: When = None,
        by: By = "",
    ) -> Response[bytes]:
        operator_of(ctx, request)
        return Response(
            stats_csv(await _counted(ctx, since, until, by)),
            media_type="text/csv",
            headers=download_headers("bridge-stats.csv"),
        )

    return [stats, as_csv]


async def _counted(ctx: WebContext, since: str | None, until: str | None, by: str) -> StatsJson:
    chosen = read_by(by)
    start, end = read_range(ctx, since, until)
    try:
        return await ctx.stats.get(start, end, chosen)
    except TooManyRows:
        raise ValidationException(
            "by makes more groups than one answer holds: ask for a shorter time or fewer words"
        ) from None


def read_by(text: str) -> list[Dimension]:
    """The words of `by`. Raises 400 for one that is none."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in list(Dimension)]
    if unknown:
        raise ValidationException(f"by: {unknown[0][:40]!r} is none of {', '.join(Dimension)}")
    return [Dimension(word) for word in words]


def read_range(ctx: WebContext, since: str | None, until: str | None) -> tuple[Millis, Millis | None]:
    """The bounds of a time; ages become round times, and no end means now. Raises 400."""
    now = ctx.clock()
    end = moment(ctx, "until", until)
    if end is not None and _is_age(until):
        end = recent(now, now - end)
    start = moment(ctx, "since", since)
    if start is None:
        start = recent(now, _DAY_MS) if end is None else end - _DAY_MS
    elif _is_age(since):
        start = recent(now, now - start)
    start, end = max(0, start), None if end is None else max(0, end)  # nothing was accepted before 1970
    if end is not None and end < start:
        raise ValidationException("until is before since")
    return start, end


def _is_age(text: str | None) -> bool:
    return (text or "").strip()[-1:] in tuple(_UNITS)
