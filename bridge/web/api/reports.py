"""`/api/reports`: the status reports owed to Smartico, and the replay of dead ones."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.exceptions import ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct

from bridge.core.model import MessageId, Status, id_from_text, id_text
from bridge.core.moments import format_time
from bridge.flows.review import Actor, Replayed, replay_reports
from bridge.flows.showing import ReportJson, report_json
from bridge.store.search import ReportCause, ReportFilter, list_reports, report_causes
from bridge.web.access import operator_of, require_operator
from bridge.web.api.common import Limit, Page, moment, read_cursor, read_json, write_cursor
from bridge.web.context import WebContext

__all__ = [
    "CauseJson",
    "Causes",
    "ReplayFilter",
    "ReplayRequest",
    "cause_json",
    "read_report_id",
    "report_routes",
]

STATES = ("", "pending", "done", "dead")


class ReplayFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead reports. Only dead ones are ever replayed; `error` is part of the last error.

    `cause` and `lane` are exact, as `GET /api/reports/causes` gives them.
    """

    state: str = "dead"
    since: str = ""
    gateway: str = ""
    error: str = ""
    cause: str = ""
    lane: str = ""


class CauseJson(Struct, frozen=True):
    """The reports of one lane that failed for one cause: an error without what varies from report to report.

    `filter` is what `POST /api/reports/replay` takes for exactly these; null where they are not dead.
    """

    cause: str
    gateway: str
    host: str
    lane: str
    count: int
    first_owed_at: str
    last_owed_at: str
    sample: str
    filter: ReplayFilter | None


class Causes(Struct, frozen=True):
    """All of them, those of the latest reports first; `total` reports stand behind them."""

    items: list[CauseJson]
    total: int


class ReplayRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Single reports by id, or a filter; never both."""

    ids: list[str] | None = None
    filter: ReplayFilter | None = None
    dry_run: bool = False
    reason: str = ""


def read_report_id(text: str) -> tuple[MessageId, Status] | None:
    """The message and the status in the id of a report; None where it is no such id."""
    id_part, _, status = text.rpartition(":")
    message_id = id_from_text(id_part)
    if message_id is None or status not in Status.__members__.values():
        return None
    return message_id, Status(status)


def report_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""

    @get("/api/reports", tags=["API"], summary="The status reports owed to Smartico")
    async def reports(
        request: Request[Any, Any, Any],
        report_state: Annotated[str, QueryParameter(name="state", description="pending, done or dead")] = "",
        gateway: FromQuery[str] = "",
        limit: Limit = 100,
        cursor: FromQuery[str | None] = None,
    ) -> Page[ReportJson]:
        operator_of(ctx, request)
        if report_state not in STATES:
            raise ValidationException("state is one of pending, done, dead")
        last = read_cursor(cursor, tuple[str, int])
        before = (id_from_text(last[0]) or b"", last[1]) if last else None
        chosen = ReportFilter(state=report_state, gateway=gateway, before=before, limit=limit + 1)
        rows = await ctx.store.search(lambda tx: list_reports(tx, chosen))
        shown = rows[:limit]
        more = write_cursor(id_text(shown[-1].message_id), shown[-1].seq) if len(rows) > limit else None
        return Page([report_json(row) for row in shown], more)

    @get("/api/reports/causes", tags=["API"], summary="Why reports are dead, or pending again, with counts")
    async def causes(
        request: Request[Any, Any, Any],
        report_state: Annotated[str, QueryParameter(name="state", description="dead or pending")] = "dead",
        since: FromQuery[str | None] = None,
        gateway: FromQuery[str] = "",
    ) -> Causes:
        operator_of(ctx, request)
        if report_state not in {"dead", "pending"}:
            raise ValidationException("state is one of dead, pending")
        at = moment(ctx, "since", since)
        found = await ctx.store.search(lambda tx: report_causes(tx, report_state, at, gateway))
        shown = [cause_json(each, report_state, "" if at is None else format_time(at)) for each in found]
        return Causes(shown, sum(each.count for each in found))

    @post("/api/reports/replay", status_code=200, tags=["API"], summary="Replay dead status reports")
    async def replay(request: Request[Any, Any, Any]) -> Replayed:
        operator = require_operator(ctx, request)
        wanted = await read_json(ctx, request, ReplayRequest)
        chosen = _chosen(ctx, wanted)
        actor = Actor(operator.name, wanted.reason)
        try:
            return await replay_reports(ctx.store, chosen, actor, ctx.clock(), dry_run=wanted.dry_run)
        finally:
            ctx.replayed()  # also when it failed half way: what was revived must go

    return [reports, causes, replay]


def cause_json(found: ReportCause, state: str, since: str) -> CauseJson:
    gateway, _, host = found.lane.partition("@")
    same = ReplayFilter(since=since, cause=found.cause, lane=found.lane) if state == "dead" else None
    return CauseJson(
        cause=found.cause,
        gateway=gateway,
        host=host,
        lane=found.lane,
        count=found.count,
        first_owed_at=format_time(found.first_owed_at),
        last_owed_at=format_time(found.last_owed_at),
        sample=found.sample,
        filter=same,
    )


def _chosen(ctx: WebContext, wanted: ReplayRequest) -> ReportFilter:
    if (wanted.ids is None) == (wanted.filter is None):
        raise ValidationException("give either ids or filter")
    if wanted.ids is not None:
        return ReportFilter(state="dead", keys=[_key(text) for text in wanted.ids])
    assert wanted.filter is not None
    if wanted.filter.state != "dead":
        raise ValidationException("filter.state: only dead reports can be replayed")
    since = moment(ctx, "filter.since", wanted.filter.since)
    by = wanted.filter
    return ReportFilter("dead", since, by.gateway, by.error, cause=by.cause, lane=by.lane)


def _key(text: str) -> tuple[MessageId, Status]:
    key = read_report_id(text)
    if key is None:
        raise ValidationException("ids: an id looks like <ext_message_id>:<status>")
    return key
