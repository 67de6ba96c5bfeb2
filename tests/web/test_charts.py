"""The drawings of the overview: nothing that is drawn leaves its frame, and every word is escaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from bridge.web.ops.charts import MOST_SERIES, Bar, Series, bars, durations, lines, share, shares

NUMBERS = re.compile(r"-?[0-9.]+")


def test_columns() -> None:
    """The parts of a column stand upon each other, and the highest one has its number within the frame."""
    drawn = ET.fromstring(bars("T", "S.", [Bar("10:00", [("good", 30), ("bad", 12)]), Bar("11:00", [])]))
    good, bad = drawn.findall(".//rect")
    assert (good.get("class"), bad.get("class")) == ("good", "bad")
    assert float(bad.get("y", "")) + float(bad.get("height", "")) == pytest.approx(
        float(good.get("y", "")), abs=0.2
    )
    assert float(good.get("height", "")) / float(bad.get("height", "")) == pytest.approx(30 / 12, rel=0.02)
    assert [each.text for each in drawn.findall(".//title")] == ["10:00: 30 good, 12 bad", "11:00: nothing"]
    assert drawn.get("aria-label") == "T. S."


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, "1"), (1, "1"), (3, "5"), (42, "50"), (999, "1,000"), (1001, "2,000"), (10**9, f"{10**9:,}")],
)
def test_the_scale_of_columns(value: float, top: str) -> None:
    """The line at the top is a round number that is not below the highest column."""
    drawn = ET.fromstring(bars("T", "S.", [Bar("a", [("good", value)])]))
    assert top in [each.text for each in drawn.findall("text")]


def test_small_amounts() -> None:
    """Money below one is seen, too."""
    drawn = ET.fromstring(bars("T", "S.", [Bar("a", [("", 0.007)])], digits=2))
    (column,) = drawn.findall(".//rect")
    assert 100 < float(column.get("height", "")) < 200


def test_lines() -> None:
    """A line is broken where there is no value; each has its class; more than can be told apart are left out."""
    series = [Series(f"s{number}", [0.0, None, 0.5, 1.0]) for number in range(MOST_SERIES + 2)]
    drawn = ET.fromstring(lines("T", "S.", ["a", "b", "c", "d"], series, shares()))
    groups = drawn.findall("g")
    assert [each.get("class") for each in groups] == [f"series s{number}" for number in range(MOST_SERIES)]
    path = groups[0].find("path")
    assert path is not None
    assert re.sub(r"[0-9. ]", "", path.get("d", "")) == "MML"
    assert [each.text for each in groups[0].iter("title")] == [
        "s0, a: 0.0 %",
        "s0, c: 50.0 %",
        "s0, d: 100.0 %",
    ]


@pytest.mark.parametrize("most", [1, 900, 5_000, 86_400_000, 10**12])
def test_the_scale_of_durations(most: float) -> None:
    """What is slow is higher, nothing leaves the frame, and the line at the top is above all of it."""
    scale = durations(most, str)
    values = [0, 1, 100, 1_000, most]
    heights = [scale.height(value) for value in sorted(values)]
    assert heights == sorted(heights)
    assert all(0 <= each <= 1 for each in heights)
    assert scale.ticks[-1][0] >= min(most, 2_592_000_000)


def test_words_are_escaped() -> None:
    """A label from outside draws no element."""
    evil = "<script>alert(1)</script>"
    for drawn in (
        bars(evil, evil, [Bar(evil, [("good", 1)])]),
        lines(evil, evil, [evil], [Series(evil, [0.5])], shares()),
    ):
        assert "<script" not in drawn
        ET.fromstring(drawn)


@pytest.mark.parametrize(("value", "width"), [(None, "0.0"), (0.256, "25.6"), (7, "100.0"), (-1, "0.0")])
def test_a_share(value: float | None, width: str) -> None:
    """A bar is never wider than its cell."""
    assert f'class="good" width="{width}"' in share(value)
