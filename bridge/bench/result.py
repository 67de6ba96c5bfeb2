"""All figures of a benchmark, under the names that scripts read: those of the contract first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from bridge.bench.figures import ratio
from bridge.bench.measured import Measured

__all__ = [
    "Comparison",
    "Figures",
    "Headlines",
    "Result",
    "Scenario",
    "figures_of",
    "headlines",
    "median_run",
    "ratios",
]

Runs = Mapping[str, Sequence[Measured]]


class Headlines(Struct, frozen=True, kw_only=True):
    """One figure a scenario: of several runs the median; None where it was not run."""

    sends_per_second: float | None
    callback_items_per_second: dict[str, float] | None
    callback_items_per_second_with_reports: dict[str, float] | None
    reports_per_second: float | None
    end_to_end_messages_per_second: float | None
    end_to_end_one_messages_per_second: float | None
    report_latency_ms: dict[str, float | None] | None
    inbox_lag_seconds: float | None
    lost: int
    duplicated: int
    peak_rss_mb: float | None


class Scenario(Struct, frozen=True):
    """Every run of a scenario, and which of them is the median."""

    median: int
    runs: Sequence[Measured]


class Figures(Headlines, frozen=True, kw_only=True):
    """All that was measured on one database. `problems`: what should not be, a sentence each."""

    problems: list[str]
    scenarios: dict[str, Scenario | None]

    @property
    def ok(self) -> bool:
        return not (self.lost or self.duplicated or self.problems)


class Result(Figures, frozen=True, kw_only=True):
    """What `bridge bench --json` prints."""

    versions: dict[str, str | None]
    machine: dict[str, Any]
    messages: int
    naive: dict[str, Any] | None = None
    ratios: dict[str, float | None] | None = None


class Comparison(Struct, frozen=True, kw_only=True):
    """What `bridge bench --database URL --json` prints: the same figures for both. `instances`: processes on
    PostgreSQL; `server`: the settings of the server on which the figures depend."""

    versions: dict[str, str | None]
    machine: dict[str, Any]
    server: dict[str, str]
    messages: int
    instances: int
    sqlite: Figures
    postgres: Figures
    lost: int
    duplicated: int
    problems: list[str]

    @property
    def ok(self) -> bool:
        return self.sqlite.ok and self.postgres.ok


def median_run(runs: Sequence[Measured]) -> int:
    """Which run is in the middle by its headline; of an even number the lower one."""
    order = sorted(range(len(runs)), key=lambda at: runs[at].headline or 0.0)
    return order[(len(order) - 1) // 2]


def headlines(all_runs: Runs) -> Headlines:
    """The figures that the contract names."""
    middle = {name: runs[median_run(runs)] for name, runs in all_runs.items() if runs}
    every = [run for runs in all_runs.values() for run in runs]
    callbacks = middle.get("callbacks")
    latency = middle.get("latency")
    return Headlines(
        sends_per_second=_headline(middle, "sends"),
        callback_items_per_second=_items(callbacks, "items_per_second"),
        callback_items_per_second_with_reports=_items(callbacks, "items_per_second_with_reports"),
        reports_per_second=_headline(middle, "reports"),
        end_to_end_messages_per_second=_headline(middle, "end_to_end"),
        end_to_end_one_messages_per_second=_headline(middle, "end_to_end_one"),
        report_latency_ms=latency.figures["200"]["report_latency_ms"] if latency else None,
        inbox_lag_seconds=_lag(callbacks),
        lost=sum(run.lost for run in every),
        duplicated=sum(run.duplicated for run in every),
        peak_rss_mb=max((run.peak_rss_mb for run in every), default=None),
    )


def figures_of(all_runs: Runs, names: Sequence[str], problems: list[str]) -> Figures:
    """The figures, and every run. `names`: of all scenarios, also of those that were not run."""
    return Figures(
        **structs.asdict(headlines(all_runs)),
        problems=problems,
        scenarios={
            name: Scenario(median_run(all_runs[name]), all_runs[name]) if all_runs.get(name) else None
            for name in names
        },
    )


def _headline(middle: Mapping[str, Measured], name: str) -> float | None:
    return middle[name].headline if name in middle else None


def _items(callbacks: Measured | None, figure: str) -> dict[str, float] | None:
    if callbacks is None:
        return None
    return {size: run[figure] for size, run in callbacks.figures.items() if size != "inbox"}


def _lag(callbacks: Measured | None) -> float | None:
    inbox = callbacks.figures.get("inbox") if callbacks else None
    return inbox["lag_seconds"] if inbox else None


def ratios(ours: Headlines, naive: Headlines) -> dict[str, float | None]:
    """How many times as fast the bridge is."""
    mine, other = ours.callback_items_per_second or {}, naive.callback_items_per_second or {}
    whole, other_whole = (each.callback_items_per_second_with_reports or {} for each in (ours, naive))
    return {
        "sends": ratio(ours.sends_per_second, naive.sends_per_second),
        "callback_items_100": ratio(mine.get("100"), other.get("100")),
        "callback_items_1": ratio(mine.get("1"), other.get("1")),
        "callback_items_100_with_reports": ratio(whole.get("100"), other_whole.get("100")),
        "reports": ratio(ours.reports_per_second, naive.reports_per_second),
        "end_to_end": ratio(ours.end_to_end_messages_per_second, naive.end_to_end_messages_per_second),
    }
