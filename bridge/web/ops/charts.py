"""Charts as SVG, drawn on the server. Pure; every text goes through the escaping of `Markup`.

A chart has a title and a sentence for who does not see it; the table with its numbers stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from msgspec import Struct

__all__ = ["Bar", "bars", "line", "share"]

_WIDTH, _HEIGHT = 860, 220
_LEFT, _BOTTOM, _TOP = 52, 24, 8


class Bar(Struct, frozen=True):
    """One column: its label, and the parts of it (class, value), from below."""

    label: str
    parts: Sequence[tuple[str, float]]

    @property
    def total(self) -> float:
        return sum(value for _, value in self.parts)


def bars(title: str, sentence: str, columns: Sequence[Bar]) -> Markup:
    """Stacked columns."""
    most = _round_up(max((each.total for each in columns), default=0))
    step = (_WIDTH - _LEFT) / max(1, len(columns))
    drawn = [_frame(most)]
    for number, column in enumerate(columns):
        x, y = _LEFT + number * step, float(_HEIGHT - _BOTTOM)
        told = ", ".join(f"{value:,.0f} {name}" for name, value in column.parts if value)
        drawn.append(Markup("<g><title>{}: {}</title>").format(column.label, told or "nothing"))
        for name, value in column.parts:
            height = value / most * _plot() if most else 0
            y -= height
            drawn.append(
                Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                    name, x + step * 0.1, y, step * 0.8, height
                )
            )
        drawn.append(Markup("</g>"))
        if number % max(1, len(columns) // 8) == 0:
            drawn.append(_text(x + step / 2, _HEIGHT - 6, column.label, "middle"))
    return _svg(title, sentence, drawn)


def line(title: str, sentence: str, points: Sequence[tuple[str, float | None]]) -> Markup:
    """A line of shares between 0 and 1; where there is no value it is broken."""
    step = (_WIDTH - _LEFT) / max(1, len(points))
    drawn = [_frame(100, " %")]
    path: list[str] = []
    broken = True
    for number, (label, value) in enumerate(points):
        x = _LEFT + (number + 0.5) * step
        if number % max(1, len(points) // 8) == 0:
            drawn.append(_text(x, _HEIGHT - 6, label, "middle"))
        if value is None:
            broken = True
            continue
        y = _HEIGHT - _BOTTOM - value * _plot()
        path.append(f"{'M' if broken else 'L'}{x:.1f} {y:.1f}")
        drawn.append(
            Markup(
                '<circle class="going" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}: {:.1f} %</title></circle>'
            ).format(x, y, label, value * 100)
        )
        broken = False
    drawn.insert(1, Markup('<path class="line" d="{}"/>').format(" ".join(path)))
    return _svg(title, sentence, drawn)


def share(value: float | None) -> Markup:
    """A small bar beside a number that stands in the same cell."""
    width = 0 if value is None else max(0.0, min(1.0, value)) * 100
    return Markup(
        '<svg class="bar chart" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rest" width="100" height="10"/><rect class="good" width="{:.1f}" height="10"/></svg>'
    ).format(width)


def _plot() -> float:
    return _HEIGHT - _BOTTOM - _TOP


def _frame(most: float, unit: str = "") -> Markup:
    """Lines at 0, the half and the whole, with their numbers."""
    parts = []
    for share_ in (0.0, 0.5, 1.0):
        y = _HEIGHT - _BOTTOM - share_ * _plot()
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, _WIDTH, y, y)
        )
        parts.append(_text(_LEFT - 6, y + 4, f"{most * share_:,.0f}{unit}", "end"))
    return Markup("").join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(title: str, sentence: str, drawn: Sequence[Markup]) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}. {}">').format(
        _WIDTH, _HEIGHT, title, sentence
    )
    return head + Markup("").join(drawn) + Markup("</svg>")


def _round_up(value: float) -> float:
    """The next number of the form 1, 2 or 5 times a power of ten, and at least 2."""
    size = 1.0
    while True:
        for factor in (2, 5, 10):
            if size * factor >= value:
                return size * factor
        size *= 10
