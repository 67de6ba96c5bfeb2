"""What became of the messages of a time, as the overview tells it: by hour or day, by channel and provider, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from markupsafe import Markup
from msgspec import Struct

from bridge.core.mapping import ProviderMapping
from bridge.flows.stats import Counted, GroupJson
from bridge.store.stats import Dimension
from bridge.web.ops.charts import MOST_SERIES, Bar, Series, bars, durations, lines, shares
from bridge.web.ops.figures import Columns
from bridge.web.ops.words import duration

__all__ = ["Column", "Deliveries", "Failure"]

_MOST_FAILURES = 12
_GOING = ("queued", "unknown", "submitted", "sent")
_BAD = ("failed", "rejected")


class Column(Struct, frozen=True):
    """An hour or a day. `until`: where the next one begins."""

    at: str
    until: str
    label: str
    good: int
    going: int
    bad: int
    rate: float | None
    item: GroupJson | None


class Failure(Struct, frozen=True):
    """Messages that one provider failed to deliver, or refused, for one reason; `peak`: the hour or day with most."""

    channel: str
    provider: str
    state: str
    code: str
    text: str
    count: int
    peak: str
    peak_count: int


class Deliveries:
    """What was counted by hour or day, channel, provider and error, told in the ways the overview needs.

    `tells`: the providers that tell of deliveries; only theirs go into a delivery rate. `silent`: those that do not.
    `failures`: the most frequent reasons; `other_failures`: how many messages have others.
    """

    def __init__(
        self, found: Counted, step: Dimension, mappings: Mapping[str, ProviderMapping], tells: Collection[str]
    ) -> None:
        self._found = found
        self._mappings = mappings
        self._tells = tells
        self._step = step
        self._times = Columns(found, step)
        self.stats = found.by(step)
        self.groups = found.by(Dimension.CHANNEL, Dimension.PROVIDER).items
        self.silent = sorted({item.key["provider"] for item in self.groups} - set(tells))
        self.series = self._series()
        self.columns = self._columns()
        failures = self._failures()
        self.failures = failures[:_MOST_FAILURES]
        self.other_failures = sum(each.count for each in failures[_MOST_FAILURES:])

    @property
    def handed(self) -> int:
        """Messages that went to providers which tell of deliveries."""
        return _handed(self._told(self.groups))

    @property
    def rate(self) -> float | None:
        return _rate(self._told(self.groups))

    def traffic(self, sentence: str) -> Markup:
        parts = [
            Bar(each.label, [("good", each.good), ("going", each.going), ("bad", each.bad)])
            for each in self.columns
        ]
        return bars("Messages by what became of them", sentence, parts)

    def rates(self, sentence: str) -> Markup:
        return lines(
            "Delivery rate by channel and provider", sentence, self._times.labels, self.series, shares()
        )

    def times(self, sentence: str) -> Markup:
        """Half and 99 of 100 were delivered within."""
        told = [each.item.time_to_delivery_ms if each.item else None for each in self.columns]
        half = Series("half within", [each.p50 if each else None for each in told])
        most = Series("99 of 100 within", [each.p99 if each else None for each in told])
        highest = max((value for value in most.values if value is not None), default=1000)
        scale = durations(highest, duration)
        return lines("Time to delivery", sentence, self._times.labels, [half, most], scale)

    def _failures(self) -> list[Failure]:
        """Every reason, the most frequent ones first."""
        found: dict[tuple[str, str, str, str], dict[str, int]] = {}
        by = (Dimension.CHANNEL, Dimension.PROVIDER, Dimension.ERROR, self._step)
        for item in self._found.by(*by).items:
            channel, provider, code, at = item.key.values()
            for state in _BAD:
                if item.states[state]:
                    found.setdefault((channel, provider, state, code), {})[at] = item.states[state]
        failures: list[Failure] = []
        for (channel, provider, state, code), counts in found.items():
            peak = max(counts, key=lambda at: counts[at])
            table = self._mappings.get(provider)
            text = table.error_codes.get(code, "") if table else ""
            label = self._times.labels[self._times.place(peak)]
            failures.append(
                Failure(channel, provider, state, code, text, sum(counts.values()), label, counts[peak])
            )
        return sorted(failures, key=lambda each: -each.count)

    def _columns(self) -> list[Column]:
        """One for every hour or day, also for those in which nothing was sent."""
        items = {self._times.place(item.key[self._step.value]): item for item in self.stats.items}
        told: dict[int, list[GroupJson]] = {}
        for item in self._found.by(self._step, Dimension.PROVIDER).items:
            if item.key["provider"] in self._tells:
                told.setdefault(self._times.place(item.key[self._step.value]), []).append(item)
        columns: list[Column] = []
        for place, (at, until) in enumerate(zip(self._times.starts, self._times.ends, strict=True)):
            found = items.get(place)
            states = found.states if found else {}
            columns.append(
                Column(
                    at,
                    until,
                    self._times.labels[place],
                    found.delivered if found else 0,
                    sum(states.get(each, 0) for each in _GOING),
                    sum(states.get(each, 0) for each in _BAD),
                    _rate(told.get(place, [])),
                    found,
                )
            )
        return columns

    def _series(self) -> list[Series]:
        """The rate of each channel of each provider that tells, those with the most messages first."""
        groups = sorted(self._told(self.groups), key=lambda item: -item.messages)[:MOST_SERIES]
        values: dict[tuple[str, ...], list[float | None]] = {
            tuple(item.key.values()): [None] * len(self._times) for item in groups
        }
        for item in self._found.by(self._step, Dimension.CHANNEL, Dimension.PROVIDER).items:
            at, channel, provider = item.key.values()
            if (channel, provider) in values:
                values[channel, provider][self._times.place(at)] = item.delivery_rate
        return [Series(" · ".join(key), row) for key, row in sorted(values.items())]

    def _told(self, items: Sequence[GroupJson]) -> list[GroupJson]:
        return [item for item in items if item.key["provider"] in self._tells]


def _handed(items: Sequence[GroupJson]) -> int:
    return sum(item.handed for item in items)


def _rate(items: Sequence[GroupJson]) -> float | None:
    handed = _handed(items)
    return sum(item.delivered for item in items) / handed if handed else None
