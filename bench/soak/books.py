"""Pure: what Smartico's own book says of reports that came again, held against what was in flight when it happened.

A report *came again* when the arrival before it had been answered. That may happen where the bridge was killed, or the
connection was cut, between Smartico's answer and the commit that says "done": the report is still pending in the
database, though Smartico has it. Such a one is *in flight*, and each kill or cut excuses one repeat of it. A repeat
that nothing excuses is a defect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from bridge.sim.smartico_ledger import Arrival, Known

__all__ = ["Moment", "Repeats", "count_repeats"]

_ZOMBIES = 3.0  # seconds that a request may lie at a busy Smartico, unread, after its sender is dead
_SHOWN = 5


class Moment(Struct, frozen=True):
    """A kill or a cut: when, and which reports were pending (the oldest of each message), as (message, status)."""

    at: float
    pending: Sequence[tuple[str, str]]


class Repeats(Struct, frozen=True):
    """`in_flight`: over all moments; `repeated` reports; `unexcused` ones among them, with examples."""

    in_flight: int
    repeated: int
    unexcused: int
    examples: list[str]


def count_repeats(messages: Iterable[Known], moments: Iterable[Moment]) -> Repeats:
    """Every report that came again, and whether a moment excuses it."""
    known = {each.ext_message_id: each for each in messages}
    moments = list(moments)
    had = [(item, moment.at) for moment in moments for item in moment.pending]
    excused = Counter(item for item, at in had if _arrived(known, item, at + _ZOMBIES))
    in_flight = sum(_arrived(known, item, at) for item, at in had)
    repeated, unexcused = 0, []
    for each in known.values():
        last: dict[str, Arrival] = {}
        for arrival in each.arrivals:
            before = last.get(arrival.status)
            if before is not None and before.answered:
                repeated += 1
                item = (each.ext_message_id, arrival.status)
                excused[item] -= 1
                if excused[item] < 0:
                    unexcused.append(_described(item, before.at, arrival.at, moments))
            last[arrival.status] = arrival
    return Repeats(in_flight, repeated, len(unexcused), unexcused[:_SHOWN])


def _described(item: tuple[str, str], first: float, again: float, moments: list[Moment]) -> str:
    """A repeat that nothing excuses, with what helps to find out why."""
    between = [f"{moment.at - first:+.2f} s" for moment in moments if first - 5 < moment.at < again]
    near = f", kills or cuts at {', '.join(between)}" if between else ""
    return f"{item[0]}: {item[1]} was reported again after {again - first:.2f} s{near}"


def _arrived(known: dict[str, Known], item: tuple[str, str], until: float) -> bool:
    """Whether Smartico had the report by then."""
    message = known.get(item[0])
    return message is not None and any(
        arrival.status == item[1] and arrival.at <= until for arrival in message.arrivals
    )
