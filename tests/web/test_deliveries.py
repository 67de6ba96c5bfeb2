"""What the overview tells of what was counted: columns, rates, and why messages were not delivered."""

from __future__ import annotations

from bridge.core.model import State
from bridge.core.moments import read_when
from bridge.flows.stats import Counted
from bridge.store.stats import Dimension, Figures, Key
from bridge.tables import load_mapping
from bridge.web.ops.deliveries import Deliveries
from bridge.web.ops.figures import Columns, cost_charts

HOUR = 3_600_000
START = read_when("2026-11-21T12:00:00Z", 0) or 0
BY = (Dimension.HOUR, Dimension.CHANNEL, Dimension.PROVIDER, Dimension.ERROR)


def counted(groups: dict[Key, dict[State, int]], hours: int = 3) -> Counted:
    """So many messages in each state, by hour (from 0), channel, provider and error."""
    figures: dict[Key, Figures] = {}
    total = Figures()
    for (hour, *rest), states in groups.items():
        key = (START // HOUR + int(hour), *rest)
        figures[key] = Figures(messages=sum(states.values()))
        for state, count in states.items():
            figures[key].states[state] = count
        total.add(figures[key])
    return Counted(START, START + hours * HOUR - 1, BY, START + hours * HOUR - 1, figures, total)


def deliveries(groups: dict[Key, dict[State, int]], hours: int = 3) -> Deliveries:
    mappings = {"revicom": load_mapping("revicom", None)}
    return Deliveries(counted(groups, hours), Dimension.HOUR, mappings, {"revicom"})


def test_every_hour_has_a_column() -> None:
    """Also one in which nothing was sent; an hour tells where it begins and ends."""
    seen = deliveries(
        {
            (0, "SMS", "revicom", ""): {State.READ: 3, State.SENT: 1},
            (2, "SMS", "revicom", "508"): {State.FAILED: 2},
        }
    )
    assert [(each.label, each.good, each.going, each.bad) for each in seen.columns] == [
        ("12:00", 3, 1, 0),
        ("13:00", 0, 0, 0),
        ("14:00", 0, 0, 2),
    ]
    assert [each.rate for each in seen.columns] == [0.75, None, 0.0]
    assert (seen.columns[0].at, seen.columns[0].until) == (
        "2026-11-21T12:00:00.000Z",
        "2026-11-21T13:00:00.000Z",
    )
    assert seen.columns[1].item is None


def test_who_tells_nothing_is_in_no_rate() -> None:
    """A mail server that never tells of a delivery makes no rate worse, and is named."""
    seen = deliveries(
        {(0, "SMS", "revicom", ""): {State.DELIVERED: 1}, (0, "EMAIL", "mail", ""): {State.SUBMITTED: 99}}
    )
    assert (seen.handed, seen.rate, seen.silent) == (1, 1.0, ["mail"])
    assert [(each.name, each.values) for each in seen.series] == [("SMS · revicom", [1.0, None, None])]


def test_why_not_delivered() -> None:
    """Reasons by count, with the text of the code and the hour with most: what changed at 14:00 is the first line."""
    seen = deliveries(
        {
            (0, "SMS", "revicom", "508"): {State.FAILED: 1},
            (1, "SMS", "revicom", "508"): {State.FAILED: 2},
            (2, "SMS", "revicom", "458"): {State.REJECTED: 30},
            (2, "SMS", "revicom", ""): {State.FAILED: 1, State.DELIVERED: 500},
        }
    )
    assert [(each.code, each.state, each.count, each.peak, each.peak_count) for each in seen.failures] == [
        ("458", "rejected", 30, "14:00", 30),
        ("508", "failed", 3, "13:00", 2),
        ("", "failed", 1, "14:00", 1),
    ]
    assert "blocked" in seen.failures[0].text
    assert (seen.failures[2].text, seen.other_failures) == ("", 0)


def test_rare_reasons_are_counted_together() -> None:
    """Beyond a dozen reasons there is a number of the others."""
    seen = deliveries({(0, "SMS", "revicom", f"9{number}"): {State.FAILED: 1} for number in range(15)})
    assert (len(seen.failures), seen.other_failures) == (12, 3)


def test_nothing_was_sent() -> None:
    """Then there is no rate, and nothing is divided by it."""
    seen = deliveries({})
    assert (seen.rate, seen.handed, seen.failures, seen.series) == (None, 0, [], [])
    assert cost_charts(counted({}), Dimension.HOUR, "") == []


def test_the_columns_of_days_and_minutes() -> None:
    """They begin with the day or minute of the first message that could be among them, and end with the last."""
    found = Counted(START, START + 2 * 24 * HOUR, (Dimension.DAY,), START, {}, Figures())
    assert Columns(found, Dimension.DAY).labels == ["11-21", "11-22", "11-23"]
    found = Counted(START, START + 120_000, (Dimension.MINUTE,), START, {}, Figures())
    assert Columns(found, Dimension.MINUTE).labels == ["12:00", "12:01"]
    assert Columns(found, Dimension.MINUTE).place("2026-11-21T12:01:00.000Z") == 1
