"""The statistics that a page shows: chosen by its address, by minute, hour or day, and as CSV; the charts of costs."""

from __future__ import annotations

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from markupsafe import Markup
from msgspec import Struct

from bridge.core.model import Millis
from bridge.core.moments import format_time
from bridge.flows.stats import Counted
from bridge.flows.stats_csv import stats_csv
from bridge.store.stats import Dimension, TooManyRows
from bridge.web.api.export import download_headers, export_stream
from bridge.web.api.stats import read_by
from bridge.web.context import WebContext
from bridge.web.ops.charts import Bar, bars
from bridge.web.ops.visit import HEADERS, Answer, Refused, Visit, page

__all__ = ["RANGES", "Columns", "CostChart", "Looked", "cost_charts", "figure_pages", "look"]

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
RANGES = {"1h": _HOUR_MS, "6h": 6 * _HOUR_MS, "24h": _DAY_MS, "7d": 7 * _DAY_MS, "30d": 30 * _DAY_MS}
_SIZES = {Dimension.MINUTE: 60_000, Dimension.HOUR: _HOUR_MS, Dimension.DAY: _DAY_MS}
_STEPS = {"1h": Dimension.MINUTE, "6h": Dimension.HOUR, "24h": Dimension.HOUR}  # the others: days
_FILTERS = (Dimension.CHANNEL, Dimension.PROVIDER)
_PATIENCE = 0.05  # seconds that a page waits for new figures; then it shows older ones
_FIRST_PATIENCE = 1.0  # the same where there are no older ones; then it says so


def figure_pages(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The downloads, bound to a service."""
    return [page(ctx, "/ops/stats.csv", _csv), page(ctx, "/ops/export/{name:str}", _export)]


class Looked(Struct, frozen=True):
    """What there is for a page. `found` is None while it is counted for the first time; `coming`: newer ones are."""

    range: str
    step: Dimension
    found: Counted | None
    coming: bool
    now: Millis

    @property
    def sentence(self) -> str:
        """What the figures are about, for who does not see a chart."""
        if self.found is None:
            return ""
        return f"{self.found.total.messages:,} messages since {format_time(self.found.since)[:16]} UTC."


async def look(
    visit: Visit, fallback: str, *by: Dimension, daily: bool = False, wait: bool = False
) -> Looked:
    """The figures of the time, channel and provider that the address names, by these dimensions and its times."""
    chosen = visit.query("range") if visit.query("range") in RANGES else fallback
    length = RANGES[chosen]
    step = Dimension.DAY if daily else _STEPS.get(chosen, Dimension.DAY)
    filters = {each: visit.query(each.value) for each in _FILTERS if visit.query(each.value)}
    try:
        found, coming = await visit.ctx.stats.glance(
            length, _SIZES[step], (step, *by, *filters), _PATIENCE, None if wait else _FIRST_PATIENCE
        )
    except TooManyRows:
        raise Refused(400, "That is too much for one page", "Choose a shorter time.") from None
    for dimension, value in filters.items():
        found = found.only(dimension, value) if found else None
    return Looked(chosen, step, found, coming, visit.now)


class Columns:
    """The minutes, hours or days of what was counted, from first to last, also those in which nothing was sent."""

    def __init__(self, found: Counted, step: Dimension) -> None:
        size = _SIZES[step]
        starts = range(found.since // size * size, found.until, size)
        self.starts = [format_time(start) for start in starts]
        self.ends = [format_time(start + size) for start in starts]
        self._known = {Dimension.MINUTE: 16, Dimension.HOUR: 13}.get(step, 10)  # how much of a time names it
        self.labels = [at[5:10] if step is Dimension.DAY else at[11:16] for at in self.starts]
        self._places = {at[: self._known]: place for place, at in enumerate(self.starts)}

    def __len__(self) -> int:
        return len(self.starts)

    def place(self, at: str) -> int:
        """Which one it is, by the key of a group."""
        return self._places[at[: self._known]]


class CostChart(Struct, frozen=True):
    """What a currency was charged by hour or day. `rows`: the same as text, label and amount."""

    currency: str
    drawn: Markup
    rows: list[tuple[str, str]]


def cost_charts(found: Counted, step: Dimension, sentence: str) -> list[CostChart]:
    """One for each currency, in their order."""
    columns = Columns(found, step)
    by_time = found.by(step)
    charts: list[CostChart] = []
    for currency in by_time.total.cost:
        amounts = ["0"] * len(columns)
        for item in by_time.items:
            if currency in item.cost:
                amounts[columns.place(item.key[step.value])] = item.cost[currency].amount
        rows = list(zip(columns.labels, amounts, strict=True))
        parts = [Bar(label, [("", float(amount))]) for label, amount in rows]
        charts.append(CostChart(currency, bars(f"Cost in {currency}", sentence, parts, digits=2), rows))
    return charts


async def _csv(visit: Visit) -> Answer:
    """The figures behind a chart: of the time and the filters that its page has, by what the chart shows."""
    by = read_by(visit.query("by"))
    looked = await look(visit, "24h", *by, daily=Dimension.DAY in by, wait=True)
    assert looked.found is not None
    headers = HEADERS | download_headers("bridge-stats.csv")
    return Response(stats_csv(looked.found.by(*dict.fromkeys(by))), media_type="text/csv", headers=headers)


async def _export(visit: Visit, name: str) -> Answer:
    """What `/api/export` gives, for who is signed in."""
    return await export_stream(visit.ctx, name, visit.query("since") or None, visit.query("until") or None)
