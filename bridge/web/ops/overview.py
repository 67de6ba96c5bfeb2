"""The overview and the costs: what the statistics say, drawn, with the numbers beside the drawing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Sequence

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from msgspec import Struct

from bridge.core.model import Millis, State
from bridge.core.moments import format_time
from bridge.flows.stats import GroupJson, StatsJson, recent
from bridge.flows.status import Status
from bridge.store.stats import Dimension, TooManyRows
from bridge.web.api.export import export_stream
from bridge.web.context import WebContext
from bridge.web.ops.charts import Bar, bars, line, share
from bridge.web.ops.visit import HEADERS, Answer, Refused, Visit, html, page

__all__ = ["overview_pages"]

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_RANGES = {"6h": 6 * _HOUR_MS, "24h": _DAY_MS, "7d": 7 * _DAY_MS, "30d": 30 * _DAY_MS}
_LIVE_EVERY = 2.0  # seconds
_LIVE_FOR = 600.0  # seconds; then the browser connects anew, and has to be signed in still
_GOING = ("queued", "unknown", "submitted", "sent")
_BAD = ("failed", "rejected")


def overview_pages(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""
    return [
        page(ctx, "/ops", _overview),
        page(ctx, "/ops/costs", _costs),
        page(ctx, "/ops/live", _live),
        page(ctx, "/ops/export/{name:str}", _export),
    ]


async def _stats(visit: Visit, since: Millis, until: Millis | None, *by: Dimension) -> StatsJson:
    try:
        return await visit.ctx.stats.get(since, until, by)
    except TooManyRows:
        raise Refused(400, "That is too much for one page", "Choose a shorter time.") from None


async def _overview(visit: Visit) -> Answer:
    chosen = visit.query("range") if visit.query("range") in _RANGES else "24h"
    length = _RANGES[chosen]
    since = recent(visit.now, length)
    step = Dimension.HOUR if length <= 2 * _DAY_MS else Dimension.DAY
    status = await visit.ctx.status()
    by_time = await _stats(visit, since, None, step, Dimension.PROVIDER)
    by_channel = await _stats(visit, since, None, Dimension.CHANNEL, Dimension.PROVIDER)
    tells = frozenset(
        name for name, table in visit.ctx.rules.mappings.items() if State.DELIVERED in table.rows.values()
    )
    columns = _columns(by_time, since, visit.now, step, tells)
    sentence = f"{by_time.total.messages:,} messages since {by_time.since[:16]} UTC."
    handed, rate = _rate(by_channel.items, tells)
    return html(
        visit,
        "overview.html",
        ranges=list(_RANGES),
        chosen=chosen,
        stats=by_time,
        total=by_time.total,
        handed=handed,
        rate=rate,
        tells=tells,
        silent=sorted({item.key["provider"] for item in by_channel.items} - tells),
        groups=by_channel.items,
        columns=columns,
        traffic=bars("Messages by what became of them", sentence, [each.bar for each in columns]),
        rates=line("Delivery rate", sentence, [(each.label, each.rate) for each in columns]),
        share=share,
        status=status,
        now_counts=_counts(status),
        step=step.value,
    )


class _Column(Struct, frozen=True):
    """An hour or a day."""

    at: str
    label: str
    good: int
    going: int
    bad: int
    rate: float | None

    @property
    def bar(self) -> Bar:
        return Bar(self.label, [("good", self.good), ("going", self.going), ("bad", self.bad)])


def _columns(
    stats: StatsJson, since: Millis, now: Millis, step: Dimension, tells: Collection[str]
) -> list[_Column]:
    """One for every hour or day, also for those in which nothing was sent."""
    size, known = (_HOUR_MS, 13) if step is Dimension.HOUR else (_DAY_MS, 10)  # how much of a time names it
    found: dict[str, list[GroupJson]] = {}
    for item in stats.items:
        found.setdefault(item.key[step.value][:known], []).append(item)
    columns: list[_Column] = []
    for start in range(since // size * size, now + 1, size):
        at = format_time(start)
        items = found.get(at[:known], [])
        states = Counter[str]()
        for item in items:
            states.update(item.states)
        columns.append(
            _Column(
                at,
                at[5:10] if step is Dimension.DAY else f"{at[11:13]}:00",
                sum(item.delivered for item in items),
                sum(states[each] for each in _GOING),
                sum(states[each] for each in _BAD),
                _rate(items, tells)[1],
            )
        )
    return columns


def _rate(items: Sequence[GroupJson], tells: Collection[str]) -> tuple[int, float | None]:
    """How many were handed over to providers that tell of deliveries, and the part of them that was delivered."""
    counted = [item for item in items if item.key["provider"] in tells]
    handed = sum(item.handed for item in counted)
    return handed, sum(item.delivered for item in counted) / handed if handed else None


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


async def _costs(visit: Visit) -> Answer:
    chosen = visit.query("range") if visit.query("range") in _RANGES else "30d"
    since = visit.moment("since") or recent(visit.now, _RANGES[chosen])
    stats = await _stats(
        visit, since, visit.moment("until"), Dimension.DAY, Dimension.GATEWAY, Dimension.SENDER
    )
    return html(visit, "costs.html", stats=stats, ranges=list(_RANGES), chosen=chosen)


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


async def _export(visit: Visit, name: str) -> Answer:
    """What `/api/export` gives, for who is signed in."""
    return await export_stream(visit.ctx, name, visit.query("since") or None, visit.query("until") or None)
