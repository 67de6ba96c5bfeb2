"""`/api/reports`: the status reports owed to Smartico, and the replay of dead ones."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.exceptions import ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct
from msgspec.structs import replace

from bridge.core.model import MessageId, Status, id_from_text, id_text
from bridge.core.moments import format_time
from bridge.flows.review import Actor, Replayed, ReplayFilter, choose_reports, replay_reports
from bridge.flows.showing import ReportJson, report_json
from bridge.store.search import ReportCause, ReportFilter, list_reports, report_causes
from bridge.web.access import operator_of, require_operator
from bridge.web.api.common import Limit, Page, RowNumber, moment, read_cursor, read_json, write_cursor
from bridge.web.context import WebContext

__all__ = [
    "CauseJson",
    "Causes",
    "ReplayRequest",
    "cause_json",
    "causes_json",
    "read_report_id",
    "report_routes",
]

STATES = ("", "pending", "done", "dead")

Since = Annotated[str, QueryParameter(description="Owed since then: RFC 3339, a date, or an age like 2h")]
Part = Annotated[str, QueryParameter(description="Part of the last error")]
Exactly = Annotated[str, QueryParameter(description="Exactly this one, as /api/reports/causes gives it")]


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
        since: Since = "",
        gateway: FromQuery[str] = "",
        error: Part = "",
        cause: Exactly = "",
        lane: Exactly = "",
        limit: Limit = 100,
        cursor: FromQuery[str | None] = None,
    ) -> Page[ReportJson]:
        operator_of(ctx, request)
        if report_state not in STATES:
            raise ValidationException("state is one of pending, done, dead")
        last = read_cursor(cursor, tuple[str, RowNumber])
        before = (id_from_text(last[0]) or b"", last[1]) if last else None
        by = ReplayFilter(report_state, since, gateway, error, cause, lane)
        chosen = replace(_read(ctx, "since", by), before=before, limit=limit + 1)
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
        return causes_json(found, ReplayFilter(report_state, "" if at is None else format_time(at)))

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


def causes_json(found: list[ReportCause], by: ReplayFilter) -> Causes:
    """All groups, and how many reports they are; `by` is what they were looked for with."""
    return Causes([cause_json(each, by) for each in found], sum(each.count for each in found))


def cause_json(found: ReportCause, by: ReplayFilter) -> CauseJson:
    """A group, with the filter that leads to exactly its reports."""
    gateway, _, host = found.lane.partition("@")
    dead = by.state == "dead" and found.cause  # an empty cause would choose the whole lane
    return CauseJson(
        cause=found.cause,
        gateway=gateway,
        host=host,
        lane=found.lane,
        count=found.count,
        first_owed_at=format_time(found.first_owed_at),
        last_owed_at=format_time(found.last_owed_at),
        sample=found.sample,
        filter=replace(by, cause=found.cause, lane=found.lane) if dead else None,
    )


def _chosen(ctx: WebContext, wanted: ReplayRequest) -> ReportFilter:
    if (wanted.ids is None) == (wanted.filter is None):
        raise ValidationException("give either ids or filter")
    if wanted.ids is not None:
        return ReportFilter(state="dead", keys=[_key(text) for text in wanted.ids])
    assert wanted.filter is not None
    if wanted.filter.state != "dead":
        raise ValidationException("filter.state: only dead reports can be replayed")
    return _read(ctx, "filter.since", wanted.filter)


def _read(ctx: WebContext, name: str, by: ReplayFilter) -> ReportFilter:
    """The filter for the store. Raises 400 where `since` is no time; there it is called `name`."""
    chosen = choose_reports(by, ctx.clock())
    if chosen is None:
        raise ValidationException(
            f"{name} is no time: write 2026-11-21T08:00:00Z, 2026-11-21, or an age like 2h"
        )
    return chosen


def _key(text: str) -> tuple[MessageId, Status]:
    key = read_report_id(text)
    if key is None:
        raise ValidationException("ids: an id looks like <ext_message_id>:<status>")
    return key
