"""The figures of a benchmark for people: one line a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.bench.figures import ratio
from bridge.bench.measured import Measured
from bridge.bench.result import Comparison, Figures, Result

__all__ = ["COLUMNS", "COMPARED", "compared", "table"]

COLUMNS = (
    "scenario",
    "result",
    "unit",
    "lost",
    "duplicated",
    "peak MB",
    "CPU s: service + others",
    "details",
)
_LONG = ("search", "growth", "memory", "backlog")  # they have no figure with a name of their own
COMPARED = ("figure", "unit", "SQLite", "PostgreSQL", "PostgreSQL / SQLite")


def table(result: Result) -> list[list[str]]:
    """The median run of each scenario that was run, in the columns of `COLUMNS`; then the ratios."""
    rows = [
        _row(name, scenario.runs[scenario.median])
        for name, scenario in result.scenarios.items()
        if scenario is not None
    ]
    if result.ratios:
        shown = "  ".join(f"{name} ×{each:,}" for name, each in result.ratios.items() if each is not None)
        rows.append(["than naive", "", "", "", "", "", "", shown])
    return rows


def _row(name: str, run: Measured) -> list[str]:
    others = sum(seconds for process, seconds in run.cpu_seconds.items() if process != "service")
    return [
        name,
        "" if run.headline is None else f"{run.headline:,.1f}",
        run.unit,
        f"{run.lost:,}",
        f"{run.duplicated:,}",
        f"{run.peak_rss_mb:,.0f}",
        f"{run.cpu_seconds.get('service', 0.0):.1f} + {others:.1f}",
        "  ".join(_details(name, run.figures)),
    ]


def _details(name: str, figures: Mapping[str, Any]) -> list[str]:
    match name:
        case "callbacks":
            return _callbacks(figures)
        case "latency":
            return [f"{rate}/s {_ms(each['report_latency_ms'])}" for rate, each in figures.items()]
        case "reports" | "backlog":
            return [f"{figures['reports']:,} in {figures['seconds']} s"]
        case "search":
            return [f"{kind} {_ms(each['latency_ms'])}" for kind, each in figures["searches"].items()]
        case "growth":
            return [f"{int(size):,}: {_cost(each)}" for size, each in figures.items()]
        case "memory":
            return [f"{key} {figures[key]}" for key in ("first_minute_mb", "last_minute_mb", "max_mb")]
        case _:
            return [
                f"{figures['messages']:,} messages",
                _cost(figures),
                f"send {_ms(figures['send_latency_ms'])}",
            ]


def _callbacks(figures: Mapping[str, Any]) -> list[str]:
    shown = [
        f"by {size} {each['items_per_second']:,.0f}" for size, each in figures.items() if size != "inbox"
    ]
    if "inbox" in figures:
        shown.append(f"inbox behind {figures['inbox']['lag_seconds']} s")
    return shown


def _cost(figures: Mapping[str, Any]) -> str:
    return f"{figures['service_cpu_us_per_message']} µs CPU a message"


def _ms(percentiles: Mapping[str, float | None]) -> str:
    """p50, p95 and p99."""
    return "/".join(str(each) for each in percentiles.values()) + " ms"


def compared(result: Comparison) -> list[list[str]]:
    """A line for each figure that one of both has, in the columns of `COMPARED`."""
    one, other = dict(_lines(result.sqlite)), dict(_lines(result.postgres))
    names = [name for name in {**one, **other} if (one.get(name), other.get(name)) != (None, None)]
    return [[*name, *_pair(one.get(name), other.get(name))] for name in names]


def _lines(figures: Figures) -> Iterator[tuple[tuple[str, str], float | None]]:
    """The figures by name and unit."""
    yield ("sends", "messages/s"), figures.sends_per_second
    for size, rate in (figures.callback_items_per_second or {}).items():
        yield (f"callbacks of {size}", "elements/s"), rate
    for size, rate in (figures.callback_items_per_second_with_reports or {}).items():
        yield (f"callbacks of {size}, and their reports", "elements/s"), rate
    yield ("reports", "reports/s"), figures.reports_per_second
    yield ("end to end", "messages/s"), figures.end_to_end_messages_per_second
    yield ("end to end, one report", "messages/s"), figures.end_to_end_one_messages_per_second
    for share, took in (figures.report_latency_ms or {}).items():
        yield (f"callback to report at 200/s, {share}", "ms"), took
    yield ("inbox behind", "s"), figures.inbox_lag_seconds
    for name, scenario in figures.scenarios.items():
        if scenario is not None:
            yield from _costs(name, scenario.runs[scenario.median])
    yield ("memory", "MB"), figures.peak_rss_mb
    yield ("lost", ""), figures.lost
    yield ("doubled", ""), figures.duplicated


def _costs(name: str, run: Measured) -> Iterator[tuple[tuple[str, str], float | None]]:
    if name in _LONG:
        yield (name, run.unit), run.headline
    for who in ("service", "database"):
        yield (f"{name}: processor time, {who}", "µs a message"), run.figures.get(f"{who}_cpu_us_per_message")


def _pair(one: float | None, other: float | None) -> list[str]:
    share = ratio(other, one)
    return [
        *("" if each is None else f"{each:,}" for each in (one, other)),
        "" if share is None else f"{share:,}",
    ]
