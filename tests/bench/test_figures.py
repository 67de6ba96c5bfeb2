"""The sums of the benchmark, and which of several runs is the headline."""

from __future__ import annotations

from typing import Any

from bridge.bench.figures import per_second, percentiles, ratio
from bridge.bench.measured import Measured
from bridge.bench.result import Comparison, Headlines, figures_of, headlines, median_run, ratios
from bridge.bench.table import compared


def measured(headline: float | None, lost: int = 0, figures: dict[str, Any] | None = None) -> Measured:
    return Measured(headline=headline, unit="messages/s", lost=lost, figures=figures or {})


def test_percentiles_are_milliseconds_of_nanoseconds() -> None:
    """A hundred times from 1 to 100 ms: half of them are below p50, and the slowest but one is p99."""
    found = percentiles([ms * 1_000_000 for ms in range(100, 0, -1)])
    assert found == {"p50": 51.0, "p95": 96.0, "p99": 100.0}
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}


def test_a_rate_over_no_time_is_none_that_could_be_believed() -> None:
    """Nothing is divided by zero, whatever was measured."""
    assert per_second(100, 0, 2_000_000_000) == 50.0
    assert per_second(100, 5, 5) == 0.0
    assert ratio(10.0, 4.0) == 2.5
    assert ratio(10.0, 0.0) is ratio(None, 4.0) is None


def test_the_median_run_is_the_headline_but_every_loss_counts() -> None:
    """A lucky run does not shine, and a run that lost something is not hidden behind the others."""
    runs = [measured(300.0), measured(100.0, lost=1), measured(200.0)]
    assert median_run(runs) == 2
    assert median_run(runs[:2]) == 1
    found = headlines({"sends": runs})
    assert (found.sends_per_second, found.lost) == (200.0, 1)


def test_what_was_not_run_is_null() -> None:
    """Readers find every name, also after --only."""
    nothing = headlines({})
    assert isinstance(nothing, Headlines)
    figures = (nothing.sends_per_second, nothing.callback_items_per_second, nothing.report_latency_ms)
    assert figures == (None, None, None)
    assert set(ratios(nothing, nothing).values()) == {None}


def test_both_databases_stand_beside_each_other() -> None:
    """A line for each figure that was taken, and how the second is to the first; what was not run is no line."""
    sends = {"service_cpu_us_per_message": 250, "database_cpu_us_per_message": None}
    on_server = {"service_cpu_us_per_message": 500, "database_cpu_us_per_message": 100}
    sqlite, postgres = (
        figures_of({"sends": [measured(rate, figures=figures)]}, ["sends", "reports"], [])
        for rate, figures in ((4000.0, sends), (1000.0, on_server))
    )
    lines = compared(
        Comparison(
            versions={}, machine={}, server={}, messages=1, instances=1, sqlite=sqlite, postgres=postgres,
            lost=0, duplicated=0, problems=[],
        )
    )  # fmt: skip
    assert lines == [
        ["sends", "messages/s", "4,000.0", "1,000.0", "0.25"],
        ["sends: processor time, service", "µs a message", "250", "500", "2.0"],
        ["sends: processor time, database", "µs a message", "", "100", ""],
        ["memory", "MB", "0.0", "0.0", ""],
        ["lost", "", "0", "0", ""],
        ["doubled", "", "0", "0", ""],
    ]


def test_figures_with_a_loss_are_not_fine() -> None:
    """Whatever else was measured."""
    fine, bad = (figures_of({"sends": [measured(1.0, lost=lost)]}, ["sends"], []) for lost in (0, 1))
    assert fine.ok
    assert not bad.ok
