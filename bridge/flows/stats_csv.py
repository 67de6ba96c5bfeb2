"""Statistics as CSV: a row for each group, in the form of the exports. Pure."""

from __future__ import annotations

from bridge.core.model import State
from bridge.flows.export_formats import CsvFormat
from bridge.flows.stats import StatsJson

__all__ = ["stats_csv"]

_TIMES = ("p50", "p90", "p99")


def stats_csv(stats: StatsJson) -> bytes:
    """A column for each word of `by`, for each count, and two for each currency. Times are in milliseconds."""
    currencies = list(stats.total.cost)
    lines = CsvFormat(
        [
            *stats.by,
            "messages",
            *(state.value for state in State),
            "handed",
            "delivered_or_read",
            "delivery_rate",
            *(f"time_to_delivery_ms_{name}" for name in _TIMES),
            "parts",
            *(f"{what}_{currency}" for currency in currencies for what in ("cost", "cost_per_delivered")),
        ]
    )
    rows = [
        (
            *item.key.values(),
            item.messages,
            *item.states.values(),
            item.handed,
            item.delivered,
            item.delivery_rate,
            *(getattr(item.time_to_delivery_ms, name) for name in _TIMES),
            item.parts,
            *(
                value
                for currency in currencies
                for value in (
                    (item.cost[currency].amount, item.cost[currency].per_delivered)
                    if currency in item.cost
                    else (None, None)
                )
            ),
        )
        for item in stats.items
    ]
    return lines.head() + lines.lines(rows)
