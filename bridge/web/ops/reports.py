"""The page of status reports: by cause, newest first, by filter; and the replay of dead ones after a preview."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import structlog
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from markupsafe import Markup
from msgspec.structs import replace

from bridge.core.model import id_from_text, id_text
from bridge.core.moments import format_time
from bridge.flows.review import Actor, Replayed, ReplayFilter, choose_reports, replay_reports
from bridge.flows.showing import report_json
from bridge.store.search import ReportFilter, list_reports, report_causes
from bridge.web.api.common import RowNumber, read_cursor, write_cursor
from bridge.web.api.reports import cause_json, read_report_id
from bridge.web.context import WebContext
from bridge.web.ops.visit import HEADERS, Answer, Refused, Visit, html, page, shell

__all__ = ["report_pages"]

_log = structlog.get_logger()
_ROWS = 50
_FIRST = 10  # of those that a replay will be about, on its preview
_STATES = ("dead", "pending", "done")
_FILTERS = ("gateway", "error", "cause", "lane", "since")


def report_pages(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""
    return [
        page(ctx, "/ops/reports", _list),
        page(ctx, "/ops/reports/replay", _replay, method="POST"),
    ]


async def _list(visit: Visit) -> Answer:
    ctx = visit.ctx
    state = visit.query("state") if visit.query("state") in _STATES else "dead"
    asked = {name: visit.query(name) for name in _FILTERS}
    asked["cause"] = visit.request.query_params.get("cause", "").replace("\0", "")  # it may end with a space
    by = ReplayFilter(state, **asked)
    chosen = _read(visit, by)
    last = read_cursor(visit.query("cursor"), tuple[str, RowNumber])
    before = (id_from_text(last[0]) or b"", last[1]) if last else None
    part = replace(chosen, before=before, limit=_ROWS + 1)
    rows = await ctx.store.search(lambda tx: list_reports(tx, part))
    grouped = state != "done" and not (by.cause or by.lane)
    found = (
        await ctx.store.search(lambda tx: report_causes(tx, state, chosen.since, by.gateway, by.error))
        if grouped
        else []
    )
    shown = rows[:_ROWS]
    return html(
        visit,
        "reports.html",
        chosen=state,
        filtered=_told(asked),
        fields=_fields(chosen),
        causes=[cause_json(each, by) for each in found],
        items=[report_json(row) for row in shown],
        next=write_cursor(id_text(shown[-1].message_id), shown[-1].seq) if len(rows) > _ROWS else None,
        gateways=sorted(ctx.rules.gateways),
    )


async def _replay(visit: Visit) -> Answer:
    """A preview with the number and the first of them, and after it is confirmed the replay, with its progress."""
    visit.require_change()
    chosen, fields, what = _chosen(visit)
    actor = Actor(visit.actor.operator.name, visit.fields.get("reason", "").strip())
    if visit.fields.get("confirmed") == "yes":
        return _with_progress(visit, chosen, actor)
    store = visit.ctx.store
    counted = await replay_reports(store, chosen, actor, visit.now, dry_run=True)
    first = await store.search(lambda tx: list_reports(tx, replace(chosen, limit=_FIRST)))
    items = [report_json(row) for row in first]
    return html(visit, "replay.html", matched=counted.matched, what=what, fields=fields, items=items)


def _chosen(visit: Visit) -> tuple[ReportFilter, dict[str, str], str]:
    """What a form asks to be replayed; the fields that ask for just that again; and a sentence about it."""
    if "id" in visit.fields:
        text = visit.fields["id"]
        key = read_report_id(text)
        if key is None:
            raise Refused(400, "That is no report", "Go back, load the page again, and repeat what you did.")
        what = f"It is “{key[1]}” of {id_text(key[0])}."
        return ReportFilter(state="dead", keys=[key]), {"id": text}, what
    asked = {name: visit.fields.get(name, "") for name in _FILTERS}
    chosen = _read(visit, ReplayFilter("dead", **asked))
    told = _told(asked)
    return chosen, _fields(chosen), f"Those with {told}." if told else "These are all dead ones."


def _read(visit: Visit, by: ReplayFilter) -> ReportFilter:
    """The filter for the store. Raises Refused where “since” is no time."""
    chosen = choose_reports(by, visit.now)
    if chosen is None:
        raise Refused(400, "“Since” is no time", "Write 2026-11-21T08:00:00Z, 2026-11-21, or an age like 2h.")
    return chosen


def _told(asked: Mapping[str, str]) -> str:
    """A filter in words; empty where nothing is filtered."""
    return ", ".join(f"{name} “{value}”" for name, value in asked.items() if value)


def _fields(chosen: ReportFilter) -> dict[str, str]:
    """The fields of a form that asks for these. The time is exact: an age would move on until somebody clicks."""
    since = "" if chosen.since is None else format_time(chosen.since)
    values = {name: since if name == "since" else getattr(chosen, name) for name in _FILTERS}
    return {name: value for name, value in values.items() if value}


def _with_progress(visit: Visit, chosen: ReportFilter, actor: Actor) -> Answer:
    """A page that grows while the work goes on: no script is needed, and any instance can do it."""
    told: asyncio.Queue[Replayed | Exception] = asyncio.Queue()

    async def work() -> None:
        try:
            done = await replay_reports(
                visit.ctx.store, chosen, actor, visit.now, dry_run=False, progress=told.put_nowait
            )
            told.put_nowait(done)
        except Exception as error:  # noqa: BLE001 - it is told on the page
            _log.error("a replay stopped", error=type(error).__name__)
            told.put_nowait(error)
        finally:
            visit.ctx.replayed()

    async def lines(task: asyncio.Task[None]) -> AsyncGenerator[bytes, None]:
        before, after = shell(visit, "Replaying")
        yield before
        while not (task.done() and told.empty()):
            now = await told.get()
            if isinstance(now, Exception):
                sentence = getattr(now, "sentence", "something went wrong, it is in the log.")
                yield (
                    Markup("<p class=problem>It stopped: {} What was replayed goes out.</p>")
                    .format(sentence)
                    .encode()
                )
                break
            yield f"<p>{now.replayed:,} of {now.matched:,}</p>\n".encode()
        yield b"<p><strong>Done.</strong> They are in the outbox now, and go out in their order.</p>"
        yield b'<p><a href="/ops/reports?state=pending">See what is owed</a></p>'
        yield after

    task = asyncio.create_task(work(), name="replay")  # it goes on when the visitor leaves
    return Stream(lines(task), media_type="text/html; charset=utf-8", headers=HEADERS)
