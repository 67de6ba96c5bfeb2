"""The statistics of the pages and of `/api/stats`: computed once for everybody who asks the same, and kept a while.

Times are RFC 3339 in UTC, money is text. A computation walks through every message of its time, so an answer may be as
old as ten times what it took, and at least five seconds; `computed_at` says when it was true. `get` waits for such an
answer; `glance` does not wait for long, and rather gives an older one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from msgspec import Struct

from bridge.core.model import Millis
from bridge.core.moments import format_time
from bridge.store.stats import Dimension, Figures, Key, quantile, read_rows, regrouped, summarise
from bridge.store.tx import Store

__all__ = ["CostJson", "Counted", "GroupJson", "Stats", "StatsJson", "TimesJson", "TotalJson", "recent"]

_FRESH_MS = 5_000
_FRESH_TIMES = 10
_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000
_STEPS = ((6 * _HOUR_MS, 60_000), (2 * _DAY_MS, 600_000))


class TimesJson(Struct, frozen=True):
    """Time from acceptance to delivery, in milliseconds: half, nine tenths, 99 of 100 needed no longer.

    From buckets of 32 %, interpolated.
    """

    p50: int | None
    p90: int | None
    p99: int | None


class CostJson(Struct, frozen=True):
    """What a currency was charged, exactly; and that over the delivered ones of the messages it was charged for, to six
    places."""

    amount: str
    per_delivered: str | None


class TotalJson(Struct, frozen=True, kw_only=True):
    """What became of some messages.

    `states`: how many are in each; `statuses`: how many owe or owed each status to Smartico. `delivered`: those in the
    states delivered and read. `handed`: those that a provider took, and those that ended (submitted, sent, delivered,
    read, failed, rejected). `delivery_rate`: delivered over handed, 0 to 1; null where none was handed. `cost`: by
    currency.
    """

    messages: int
    states: dict[str, int]
    statuses: dict[str, int]
    delivered: int
    handed: int
    delivery_rate: float | None
    time_to_delivery_ms: TimesJson
    parts: int
    cost: dict[str, CostJson]


class GroupJson(TotalJson, frozen=True, kw_only=True):
    """One group. `key` has a value for each dimension of `by`; a minute or hour is its beginning, a day its date."""

    key: dict[str, str]


class StatsJson(Struct, frozen=True, kw_only=True):
    """The messages accepted at `since` or later and before `until`, group by group in the order of their keys."""

    since: str
    until: str
    by: list[str]
    time_zone: str
    computed_at: str
    items: list[GroupJson]
    total: TotalJson


class _Question(Struct, frozen=True):
    since: Millis
    until: Millis | None
    by: tuple[Dimension, ...]


class Counted(Struct, frozen=True):
    """What was counted at `at`, by some dimensions; `by` tells the same by fewer of them, without counting again."""

    since: Millis
    until: Millis
    dimensions: tuple[Dimension, ...]
    at: Millis
    groups: dict[Key, Figures]
    total: Figures

    def only(self, dimension: Dimension, value: str) -> Counted:
        """Those alone that have this value of a dimension, which was counted by."""
        place = self.dimensions.index(dimension)
        groups = {key: figures for key, figures in self.groups.items() if key[place] == value}
        total = regrouped(groups, []).get((), Figures())
        return Counted(self.since, self.until, self.dimensions, self.at, groups, total)

    def by(self, *dimensions: Dimension) -> StatsJson:
        """The answer by these dimensions, each of which was counted by. Takes a moment if there are many groups."""
        places = [self.dimensions.index(each) for each in dimensions]
        groups = self.groups if dimensions == self.dimensions else regrouped(self.groups, places)
        return StatsJson(
            since=format_time(self.since),
            until=format_time(self.until),
            by=[each.value for each in dimensions],
            time_zone="UTC",
            computed_at=format_time(self.at),
            items=[_group(dimensions, key, figures) for key, figures in groups.items()],
            total=TotalJson(**_figures(self.total)),
        )


class _Kept(Struct):
    counted: Counted
    good_until: Millis
    answer: StatsJson | None = None  # once somebody asked for it: a glance needs none


def recent(now: Millis, length: Millis) -> Millis:
    """The beginning of the last hours or days, as a round time, so that people who ask in turn ask the same.

    Up to six hours whole minutes, up to two days ten of them, then whole hours; never later than asked for.
    """
    step = next((step for most, step in _STEPS if length <= most), _HOUR_MS)
    return (now - length) // step * step


class Stats:
    """Statistics of a store. `clock` gives the time; at most `max_entries` answers are kept.

    One computation runs at a time, so that searches find the other connections free; whoever asks what is being
    computed waits for that.
    """

    def __init__(self, store: Store, clock: Callable[[], Millis], *, max_entries: int = 64) -> None:
        self._store = store
        self._clock = clock
        self._max_entries = max_entries
        self._kept: OrderedDict[_Question, _Kept] = OrderedDict()  # what was asked for last is at the end
        self._running: dict[_Question, asyncio.Task[_Kept]] = {}
        self._turn = asyncio.Lock()
        self._seen: OrderedDict[tuple[Millis, tuple[Dimension, ...]], Counted] = OrderedDict()

    async def get(
        self, since: Millis, until: Millis | None = None, by: Sequence[Dimension] = ()
    ) -> StatsJson:
        """The messages accepted at `since` or later and before `until` (None: now). Raises StoreError, TooManyRows.

        An open end, and a `since` from `recent`, let many share an answer.
        """
        question = _Question(since, until, tuple(dict.fromkeys(by)))
        kept = await self._fresh(question)
        if kept.answer is None:
            kept.answer = kept.counted.by(*question.by)
        return kept.answer

    async def glance(
        self,
        length: Millis,
        whole: Millis,
        by: Sequence[Dimension],
        patience: float,
        first_patience: float | None,
    ) -> tuple[Counted | None, bool]:
        """The messages of the last `length` milliseconds, and whether newer figures are being counted meanwhile.

        It begins with a whole minute, hour or day (`whole` milliseconds). After `patience` seconds it is what was
        counted the last time, however long ago. At the first time it is None after `first_patience` (None: as long as
        it takes): ask again later. Raises StoreError, TooManyRows.
        """
        question = _Question((self._clock() - length) // whole * whole, None, tuple(dict.fromkeys(by)))
        name = (length, question.by)
        answer = asyncio.ensure_future(self._fresh(question))
        done, _ = await asyncio.wait([answer], timeout=patience if name in self._seen else first_patience)
        if not done:
            answer.cancel()  # the computation goes on
            return self._seen.get(name), True
        self._seen[name] = answer.result().counted
        self._seen.move_to_end(name)
        while len(self._seen) > self._max_entries:
            self._seen.popitem(last=False)
        return self._seen[name], False

    async def _fresh(self, question: _Question) -> _Kept:
        kept = self._kept.get(question)
        if kept and self._clock() <= kept.good_until:
            self._kept.move_to_end(question)
            return kept
        task = self._running.get(question)
        if task is None:
            task = asyncio.create_task(self._compute(question), name="stats")
            self._running[question] = task
            task.add_done_callback(partial(self._end, question))
        return await asyncio.shield(task)  # it belongs to nobody: whoever gives up takes it from none

    def _end(self, question: _Question, task: asyncio.Task[_Kept]) -> None:
        del self._running[question]
        if not task.cancelled():
            task.exception()  # told to whoever waits; if nobody does any more, it is no news

    async def _compute(self, question: _Question) -> _Kept:
        async with self._turn:
            began = self._clock()
            until = began if question.until is None else question.until
            rows = await self._store.search(lambda tx: read_rows(tx, question.since, until, question.by))
            groups, total = await asyncio.to_thread(summarise, rows)
            ended = self._clock()
        counted = Counted(question.since, until, question.by, began, groups, total)
        fresh = max(_FRESH_MS, _FRESH_TIMES * (ended - began))
        kept = _Kept(counted, began + fresh)
        self._kept[question] = kept
        self._kept.move_to_end(question)
        while len(self._kept) > self._max_entries:
            self._kept.popitem(last=False)
        return kept


def _group(by: Sequence[Dimension], key: Key, figures: Figures) -> GroupJson:
    named = {each.value: _value(each, value) for each, value in zip(by, key, strict=True)}
    return GroupJson(key=named, **_figures(figures))


def _value(dimension: Dimension, value: str | int) -> str:
    match dimension:
        case Dimension.MINUTE:
            return format_time(int(value) * _MINUTE_MS)
        case Dimension.HOUR:
            return format_time(int(value) * _HOUR_MS)
        case Dimension.DAY:
            return format_time(int(value) * _DAY_MS)[:10]
        case _:
            return str(value)


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "messages": figures.messages,
        "states": figures.states,
        "statuses": figures.statuses,
        "delivered": figures.delivered,
        "handed": figures.handed,
        "delivery_rate": None if figures.delivery_rate is None else round(figures.delivery_rate, 6),
        "time_to_delivery_ms": TimesJson(*(quantile(figures, share) for share in (0.5, 0.9, 0.99))),
        "parts": figures.parts,
        "cost": {
            currency: CostJson(_text(cost.amount), _text(cost.per_delivered()))
            for currency, cost in sorted(figures.costs.items())
        },
    }


def _text(amount: Decimal | None) -> Any:
    return None if amount is None else format(amount, "f")
