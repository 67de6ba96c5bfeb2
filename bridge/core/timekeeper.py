"""The time of the service, from a clock that may leap and one that is steady but knows no date.

A clock that somebody or something sets by hours would make all that waits too old, or due much later. So a leap is not
followed at once: time goes on as before, and only when the clock has kept to it for an hour is it believed. What comes
and goes within that hour never happened. Pure but for what it remembers; times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.core.model import Millis

__all__ = ["FOLLOWED_MS", "PATIENCE_MS", "Timekeeper"]

FOLLOWED_MS = 10_000  # a step so small is followed at once: the clock is being corrected
PATIENCE_MS = 3_600_000


class Timekeeper:
    """Called, it gives the time. `leap`: by how much the clock is away from that, while it is not believed; else 0."""

    def __init__(self, clock: Callable[[], Millis], steady: Callable[[], Millis]) -> None:
        self._clock = clock
        self._steady = steady
        self._offset = clock() - steady()
        self._leapt_at: Millis = 0  # by the steady clock
        self.leap: Millis = 0

    def __call__(self) -> Millis:
        steady, clock = self._steady(), self._clock()
        away = clock - steady - self._offset
        if -FOLLOWED_MS <= away <= FOLLOWED_MS:
            self._offset += away
            self.leap = 0
            return clock
        return self._doubt(steady, away)

    def _doubt(self, steady: Millis, away: Millis) -> Millis:
        if not self.leap or abs(away - self.leap) > FOLLOWED_MS:
            self.leap, self._leapt_at = away, steady
        elif steady - self._leapt_at >= PATIENCE_MS:
            self._offset += away
            self.leap = 0
        return steady + self._offset
