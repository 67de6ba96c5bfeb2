"""What became of the messages of a time: counts, rates, times and costs, by any of the dimensions.

`read_rows` is one statement that walks through the messages of the time once, along their primary key, since an id
begins with its time. It gives counts and no messages. `summarise` makes figures of them; it is pure, and may run in a
thread. Messages that were pruned are simply gone.

Money is exact: prices are texts, the database only counts how often each one occurs, and `Decimal` multiplies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from enum import StrEnum

from msgspec import Struct, field

from bridge.core.model import Millis, State, Status, first_id
from bridge.store.tx import Row, Tx

__all__ = [
    "BOUNDS",
    "Cost",
    "Dimension",
    "Figures",
    "Key",
    "TooManyRows",
    "quantile",
    "read_rows",
    "regrouped",
    "summarise",
]

Key = tuple[str | int, ...]


class Dimension(StrEnum):
    """What messages can be grouped by. Minutes, hours and days are those of UTC, given as their number since 1970.

    An error is the provider's code for why a message failed or was rejected; empty for all others, and without one.
    """

    GATEWAY = "gateway"
    CHANNEL = "channel"
    PROVIDER = "provider"
    SENDER = "sender"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    ERROR = "error"


_EXPRESSIONS: Mapping[Dimension, str] = {
    Dimension.GATEWAY: "m.gateway",
    Dimension.CHANNEL: "m.channel",
    Dimension.PROVIDER: "m.provider",
    Dimension.SENDER: "m.sender",
    Dimension.MINUTE: "m.created_at / 60000",
    Dimension.HOUR: "m.created_at / 3600000",
    Dimension.DAY: "m.created_at / 86400000",
    Dimension.ERROR: "CASE WHEN m.state IN ('failed', 'rejected') THEN coalesce(m.error_code, '') ELSE '' END",
}

# Upper bounds of the buckets of times to delivery, in milliseconds: 50 ms to 17 days, each 32 % above the one before.
BOUNDS = tuple(round(50 * 2 ** (0.4 * number)) for number in range(63))

_MOST_ROWS = 100_000  # counts that one answer may be made of
_OUTCOME, _TIME, _COST = 1, 2, 3  # the kinds of rows
_DELIVERED = frozenset({State.DELIVERED, State.READ})
_HANDED = frozenset(State) - {State.QUEUED, State.UNKNOWN}
_EXACT = Context(prec=10_000, Emax=MAX_EMAX, Emin=MIN_EMIN)


class TooManyRows(Exception):  # noqa: N818 - an outcome, called by what happened
    """The messages fall into more groups than one answer can hold."""


class Cost(Struct):
    """What a currency was charged, exactly, and how many of the messages that it was charged for were delivered."""

    amount: Decimal = Decimal(0)
    delivered: int = 0

    def per_delivered(self) -> Decimal | None:
        """The whole cost, also of what failed, over the delivered messages; six places, rounded to even."""
        if not self.delivered:
            return None
        with localcontext(Context(prec=max(28, self.amount.adjusted() + 20))):
            return (self.amount / self.delivered).quantize(Decimal("0.000001"))


class Figures(Struct):
    """What became of some messages. `times` counts those that were delivered by bucket (see `BOUNDS`)."""

    messages: int = 0
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys((each.value for each in State), 0))
    statuses: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((each.value for each in Status), 0)
    )
    parts: int = 0
    times: dict[int, int] = field(default_factory=dict)
    quickest: Millis | None = None
    slowest: Millis | None = None
    costs: dict[str, Cost] = field(default_factory=dict)

    @property
    def delivered(self) -> int:
        """Messages whose state is delivered or read."""
        return sum(self.states[state] for state in _DELIVERED)

    @property
    def handed(self) -> int:
        """Messages that the provider took, or that have a final state: all but queued and unknown ones."""
        return sum(self.states[state] for state in _HANDED)

    @property
    def delivery_rate(self) -> float | None:
        """`delivered` over `handed`, 0 to 1; None where there is nothing to divide by.

        What is still on its way counts as not delivered, so the rate of the last minutes is low and rises.
        """
        return self.delivered / self.handed if self.handed else None

    def add(self, other: Figures) -> None:
        """Counts the messages of another group as well."""
        self.messages += other.messages
        for state, count in other.states.items():
            self.states[state] += count
        for status, count in other.statuses.items():
            self.statuses[status] += count
        self.parts += other.parts
        for bucket, count in other.times.items():
            self._add_time(bucket, count, other.quickest or 0, other.slowest or 0)
        for currency, cost in other.costs.items():
            self._add_cost(currency, cost.amount, cost.delivered)

    def add_row(self, kind: int, row: Row) -> None:
        """Counts what one row of the statement says; see `_SQL` for the meaning of its columns."""
        word, other, first, second, third, fourth = row
        if kind == _OUTCOME:
            self.messages += first
            self.states[word] += first
            for status in other.split():
                self.statuses[status] += first
            self.parts += second
        elif kind == _TIME:
            self._add_time(first, second, third, fourth)
        else:
            self._add_cost(other, Decimal(word) * first, second)

    def _add_time(self, bucket: int, count: int, quickest: Millis, slowest: Millis) -> None:
        self.times[bucket] = self.times.get(bucket, 0) + count
        self.quickest = quickest if self.quickest is None else min(self.quickest, quickest)
        self.slowest = slowest if self.slowest is None else max(self.slowest, slowest)

    def _add_cost(self, currency: str, amount: Decimal, delivered: int) -> None:
        cost = self.costs.setdefault(currency, Cost())
        cost.amount += amount
        cost.delivered += delivered


def quantile(figures: Figures, share: float) -> Millis | None:
    """The time to delivery (accepted to delivered) that so many of the delivered messages needed at most.

    Interpolated on the logarithmic scale within its bucket, so it may be off by a part of 32 %; never below the
    quickest or above the slowest. None where nothing was delivered.
    """
    if figures.quickest is None or figures.slowest is None:
        return None
    rank = share * sum(figures.times.values())
    before = 0
    found = float(figures.slowest)
    for bucket, count in sorted(figures.times.items()):
        if before + count >= rank:
            found = _within(bucket, (rank - before) / count, figures.slowest)
            break
        before += count
    return round(min(max(found, figures.quickest), figures.slowest))


def _within(bucket: int, part: float, slowest: Millis) -> float:
    if bucket == 0:
        return BOUNDS[0] * part
    low = float(BOUNDS[bucket - 1])
    high = float(BOUNDS[bucket]) if bucket < len(BOUNDS) else max(low, float(slowest))
    return float(low * (high / low) ** part)


def _bucket(low: int, high: int) -> str:
    """The number of the bucket of a message, as SQL: six comparisons, for there are 63 bounds."""
    if low == high:
        return str(low)
    middle = (low + high) // 2
    left, right = _bucket(low, middle), _bucket(middle + 1, high)
    return f"CASE WHEN m.delivered_at - m.created_at < {BOUNDS[middle]} THEN {left} ELSE {right} END"


_BUCKET = _bucket(0, len(BOUNDS))

# Every row: its kind, the key, two words and four numbers. Outcome: state, statuses owed; messages, parts, messages
# whose price has no sum. Time: its bucket, messages, quickest, slowest. Cost: price, currency; messages, of them
# delivered. Three narrow walks are quicker than a wide one: SQLite sorts what it groups.
_SQL = """
SELECT 1, {keys} m.state, m.owed, count(*), CAST(coalesce(sum(m.parts), 0) AS BIGINT),
    CAST(sum(CASE WHEN m.price IS NULL AND m.parts IS NOT NULL THEN 1 ELSE 0 END) AS BIGINT), 0
FROM messages AS m WHERE m.id >= ? AND m.id < ? GROUP BY {numbers}{first}, {second}
UNION ALL
SELECT 2, {keys} '', '', {bucket}, count(*), min(m.delivered_at - m.created_at), max(m.delivered_at - m.created_at)
FROM messages AS m WHERE m.id >= ? AND m.id < ? AND m.delivered_at IS NOT NULL GROUP BY {numbers}{third}
UNION ALL
SELECT 3, {keys} m.price, m.currency, count(*),
    CAST(sum(CASE WHEN m.state IN ('delivered', 'read') THEN 1 ELSE 0 END) AS BIGINT), 0, 0
FROM messages AS m WHERE m.id >= ? AND m.id < ? AND m.price IS NOT NULL GROUP BY {numbers}{first}, {second}
LIMIT ?
"""

# The steps of cascades that were charged in several currencies, so that their messages have no sum.
_WITHOUT_SUM = """
SELECT 3, {keys} p.price, p.currency, count(*), 0, 0, 0
FROM messages AS m JOIN provider_messages AS p ON p.message_id = m.id
WHERE m.id >= ? AND m.id < ? AND m.price IS NULL AND m.parts IS NOT NULL AND p.price IS NOT NULL
GROUP BY {numbers}{first}, {second}
UNION ALL
SELECT 3, {keys} '0', p.currency, 0, count(DISTINCT m.id), 0, 0
FROM messages AS m JOIN provider_messages AS p ON p.message_id = m.id
WHERE m.id >= ? AND m.id < ? AND m.price IS NULL AND m.parts IS NOT NULL AND p.price IS NOT NULL
    AND m.state IN ('delivered', 'read')
GROUP BY {numbers}{second}
LIMIT ?
"""


async def read_rows(tx: Tx, since: Millis, until: Millis, by: Sequence[Dimension]) -> list[Row]:
    """The counts for `summarise`, of the messages accepted at `since` or later and before `until`.

    Raises TooManyRows.
    """
    bounds = (first_id(since), first_id(until))
    rows = await tx.select(_statement(_SQL, by), [*bounds * 3, _MOST_ROWS + 1])
    if any(row[0] == _OUTCOME and row[-2] for row in rows):
        rows += await tx.select(_statement(_WITHOUT_SUM, by), [*bounds * 2, _MOST_ROWS + 1])
    if len(rows) > _MOST_ROWS:
        raise TooManyRows
    return rows


def _statement(sql: str, by: Sequence[Dimension]) -> str:
    """The statement for some dimensions. What makes a group is named by the numbers of its columns."""
    keys = len(by)
    return sql.format(
        keys="".join(f"{_EXPRESSIONS[each]}, " for each in by),
        numbers="".join(f"{number}, " for number in range(2, keys + 2)),
        first=keys + 2,
        second=keys + 3,
        bucket=_BUCKET,
        third=keys + 4,
    )


def summarise(rows: Iterable[Row]) -> tuple[dict[Key, Figures], Figures]:
    """The figures of each group, in the order of their keys, and those of all together."""
    groups: dict[Key, Figures] = {}
    total = Figures()
    with localcontext(_EXACT):
        for kind, *key, word, other, first, second, third, fourth in rows:
            figures = groups.setdefault(tuple(key), Figures())
            figures.add_row(kind, (word, other, first, second, third, fourth))
        for figures in groups.values():
            total.add(figures)
    return dict(sorted(groups.items())), total


def regrouped(groups: Mapping[Key, Figures], places: Sequence[int]) -> dict[Key, Figures]:
    """The same figures by some parts of their keys only, in the order of the new keys."""
    found: dict[Key, Figures] = {}
    with localcontext(_EXACT):
        for key, figures in groups.items():
            found.setdefault(tuple(key[place] for place in places), Figures()).add(figures)
    return dict(sorted(found.items()))
