"""The figures of a benchmark for people: one line a scenario."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.bench.measured import Measured
from bridge.bench.result import Result

__all__ = ["COLUMNS", "table"]

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
