"""Charts as SVG, drawn on the server. Pure; every text goes through the escaping of `Markup`.

A chart has a title and a sentence for who does not see it; the table with its numbers stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10

from markupsafe import Markup
from msgspec import Struct

__all__ = ["MOST_SERIES", "Bar", "Scale", "Series", "bars", "durations", "lines", "share", "shares"]

MOST_SERIES = 6  # that can be told apart: ops.css has a colour, a dash and a mark for each
_WIDTH, _HEIGHT = 600, 200
_LEFT, _BOTTOM, _TOP = 60, 24, 8
_PLOT = _HEIGHT - _BOTTOM - _TOP
_LABELS = 7  # of the times below a chart, about
_TIMES = (
    (100, "0.1 s"), (1_000, "1 s"), (10_000, "10 s"), (60_000, "1 min"), (600_000, "10 min"), (3_600_000, "1 h"),
    (36_000_000, "10 h"), (259_200_000, "3 d"), (2_592_000_000, "30 d"),
)  # fmt: skip


class Bar(Struct, frozen=True):
    """One column: its label, and the parts of it (class, value), from below."""

    label: str
    parts: Sequence[tuple[str, float]]

    @property
    def total(self) -> float:
        return sum(value for _, value in self.parts)


class Series(Struct, frozen=True):
    """One line: its name, and a value for each label; where there is none the line is broken."""

    name: str
    values: Sequence[float | None]


class Scale(Struct, frozen=True):
    """How high a value is, 0 to 1; the lines across with their words; how a value is told."""

    height: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]
    told: Callable[[float], str]


def shares() -> Scale:
    """From 0 to 1, as percents."""
    return Scale(
        lambda value: value, [(0, "0 %"), (0.5, "50 %"), (1, "100 %")], lambda value: f"{value * 100:.1f} %"
    )


def durations(most: float, told: Callable[[float], str]) -> Scale:
    """Milliseconds, each line across about ten times the one below: what is quick and what is slow is both seen."""
    ticks = [_TIMES[0]]
    for each in _TIMES[1:]:
        ticks.append(each)
        if each[0] >= most:
            break
    low, high = log10(ticks[0][0]), log10(ticks[-1][0])

    def height(value: float) -> float:
        return (min(max(log10(max(value, 1)), low), high) - low) / (high - low)

    return Scale(height, ticks, told)


def bars(title: str, sentence: str, columns: Sequence[Bar], digits: int = 0) -> Markup:
    """Stacked columns."""
    most = _round_up(max((each.total for each in columns), default=0))
    scale = Scale(
        lambda value: value / most,
        [(most * part, f"{most * part:,.{digits}f}") for part in (0.0, 0.5, 1.0)],
        lambda value: f"{value:,.{digits}f}",
    )
    step = _step(len(columns))
    drawn = [_across(scale), _below([each.label for each in columns])]
    for number, column in enumerate(columns):
        x, y = _LEFT + number * step, float(_HEIGHT - _BOTTOM)
        told = ", ".join(f"{scale.told(value)} {name}".strip() for name, value in column.parts if value)
        drawn.append(Markup("<g><title>{}: {}</title>").format(column.label, told or "nothing"))
        for name, value in column.parts:
            height = scale.height(value) * _PLOT
            if not height:
                continue
            y -= height
            drawn.append(
                Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                    name or "going", x + step * 0.1, y, step * 0.8, height
                )
            )
        drawn.append(Markup("</g>"))
    return _svg(title, sentence, drawn)


def lines(title: str, sentence: str, labels: Sequence[str], series: Sequence[Series], scale: Scale) -> Markup:
    """A line for each series, the first ones of `MOST_SERIES`."""
    step = _step(len(labels))
    drawn = [_across(scale), _below(labels)]
    for number, each in enumerate(series[:MOST_SERIES]):
        path: list[str] = []
        points: list[Markup] = []
        broken = True
        for place, (label, value) in enumerate(zip(labels, each.values, strict=True)):
            if value is None:
                broken = True
                continue
            x, y = _LEFT + (place + 0.5) * step, _HEIGHT - _BOTTOM - scale.height(value) * _PLOT
            path.append(f"{'M' if broken else 'L'}{x:.1f} {y:.1f}")
            broken = False
            points.append(
                Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3"><title>{}, {}: {}</title></circle>').format(
                    x, y, each.name, label, scale.told(value)
                )
            )
        drawn.append(
            Markup('<g class="series s{}"><path d="{}"/>{}</g>').format(
                number, " ".join(path), Markup("").join(points)
            )
        )
    return _svg(title, sentence, drawn)


def share(value: float | None) -> Markup:
    """A small bar beside a number that stands in the same cell."""
    width = 0 if value is None else max(0.0, min(1.0, value)) * 100
    return Markup(
        '<svg class="bar chart" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rest" width="100" height="10"/><rect class="good" width="{:.1f}" height="10"/></svg>'
    ).format(width)


def _step(count: int) -> float:
    return (_WIDTH - _LEFT) / max(1, count)


def _across(scale: Scale) -> Markup:
    parts: list[Markup] = []
    for value, word in scale.ticks:
        y = _HEIGHT - _BOTTOM - scale.height(value) * _PLOT
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, _WIDTH, y, y)
        )
        parts.append(_text(_LEFT - 6, y + 4, word, "end"))
    return Markup("").join(parts)


def _below(labels: Sequence[str]) -> Markup:
    step = _step(len(labels))
    every = max(1, -(-len(labels) // _LABELS))
    return Markup("").join(
        _text(
            _LEFT + (number + 0.5) * step, _HEIGHT - 6, label, "middle" if number < len(labels) - 1 else "end"
        )
        for number, label in enumerate(labels)
        if number % every == 0
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(title: str, sentence: str, drawn: Sequence[Markup]) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}. {}">').format(
        _WIDTH, _HEIGHT, title, sentence
    )
    return head + Markup("").join(drawn) + Markup("</svg>")


def _round_up(value: float) -> float:
    """The next number of the form 1, 2 or 5 times a power of ten that is not smaller; 1 where there is nothing."""
    if value <= 0:
        return 1.0
    size = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 1e-6
    while True:
        for factor in (1, 2, 5):
            if size * factor >= value:
                return size * factor
        size *= 10
