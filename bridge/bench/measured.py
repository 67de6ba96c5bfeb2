"""What one run of one scenario came to."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

__all__ = ["Measured", "told"]


class Measured(Struct, frozen=True, kw_only=True):
    """`headline`: the figure of the scenario, by which the median of several runs is chosen. `cpu_seconds`: what each
    process used while it was measured; `problems`: sentences about what should not be, besides lost and doubled."""

    headline: float | None
    unit: str
    figures: dict[str, Any] = {}
    lost: int = 0
    duplicated: int = 0
    peak_rss_mb: float = 0.0
    cpu_seconds: dict[str, float] = {}
    problems: list[str] = []


def told(*counts: tuple[int, str]) -> list[str]:
    """A sentence for each count that is not 0."""
    return [f"{count:,} {what}." for count, what in counts if count]
