"""Small sums: percentiles, rates, medians. Pure."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["per_second", "percentiles", "ratio"]


def percentiles(times_ns: Sequence[int]) -> dict[str, float | None]:
    """p50, p95 and p99 in milliseconds; None where there is nothing."""
    ordered = sorted(times_ns)

    def at(share: float) -> float | None:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6, 2) if ordered else None

    return {"p50": at(0.50), "p95": at(0.95), "p99": at(0.99)}


def per_second(count: int, first_ns: int, last_ns: int) -> float:
    """How many a second, over a span of time; 0 where the span is empty."""
    return round(count * 1e9 / (last_ns - first_ns), 1) if last_ns > first_ns else 0.0


def ratio(one: float | None, other: float | None) -> float | None:
    """How many times `other` is in `one`; None where that cannot be said."""
    return round(one / other, 2) if one is not None and other else None
