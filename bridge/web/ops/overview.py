"""The overview: what waits now, how peers are, and what became of the messages of a time; and the costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from bridge.core.model import State
from bridge.flows.status import Status
from bridge.store.stats import Dimension
from bridge.web.context import WebContext
from bridge.web.ops.charts import share
from bridge.web.ops.deliveries import Deliveries
from bridge.web.ops.figures import RANGES, Looked, cost_charts, look
from bridge.web.ops.visit import HEADERS, Answer, Visit, html, page

__all__ = ["overview_pages"]

_LIVE_EVERY = 2.0  # seconds
_LIVE_FOR = 600.0  # seconds; then the browser connects anew, and has to be signed in still
_AGAIN = "2"  # seconds until a page asks anew for figures that are being counted for the first time


def overview_pages(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""
    return [
        page(ctx, "/ops", _overview),
        page(ctx, "/ops/costs", _costs),
        page(ctx, "/ops/live", _live),
    ]


async def _overview(visit: Visit) -> Answer:
    mappings = visit.ctx.rules.mappings
    tells = frozenset(name for name, table in mappings.items() if State.DELIVERED in table.rows.values())
    looked = await look(visit, "24h", Dimension.CHANNEL, Dimension.PROVIDER, Dimension.ERROR)
    found, step = looked.found, looked.step
    status = await visit.ctx.status()
    return _shown(
        visit,
        "overview.html",
        looked,
        seen=Deliveries(found, step, mappings, tells) if found else None,
        charts=cost_charts(found, step, looked.sentence) if found else [],
        tells=tells,
        share=share,
        status=status,
        now_counts=_counts(status),
    )


async def _costs(visit: Visit) -> Answer:
    looked = await look(visit, "30d", Dimension.GATEWAY, Dimension.SENDER, daily=True)
    found = looked.found
    return _shown(
        visit,
        "costs.html",
        looked,
        stats=found.by(Dimension.DAY, Dimension.GATEWAY, Dimension.SENDER) if found else None,
        charts=cost_charts(found, looked.step, looked.sentence) if found else [],
    )


def _shown(visit: Visit, template: str, looked: Looked, **values: Any) -> Answer:
    answer = html(visit, template, looked=looked, ranges=list(RANGES), **values)
    if looked.found is None:
        answer.headers["Refresh"] = _AGAIN
    return answer


def _counts(status: Status) -> dict[str, int]:
    """What the live numbers are called on the page."""
    counts = status.counts
    return {
        "sends.waiting": sum(
            phases.get("queued", 0) + phases.get("handed", 0) for phases in counts.sends.values()
        ),
        "sends.doubt": sum(
            phases.get("lookup", 0) + phases.get("review", 0) for phases in counts.sends.values()
        ),
        "inbox.waiting": counts.inbox_waiting,
        "reports.pending": counts.reports.pending,
        "reports.retrying": counts.reports.retrying,
        "reports.dead": counts.reports.dead,
        "review.open": sum(counts.review.values()),
    }


async def _live(visit: Visit) -> Answer:
    """Server-sent events with the counts of this moment."""

    async def events() -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        end = loop.time() + _LIVE_FOR
        while loop.time() < end and not visit.ctx.lifespan.draining:
            counts = _counts(await visit.ctx.status())
            yield b"data: " + msgspec.json.encode(counts) + b"\n\n"
            await asyncio.sleep(_LIVE_EVERY)

    return Stream(events(), media_type="text/event-stream", headers=HEADERS)
