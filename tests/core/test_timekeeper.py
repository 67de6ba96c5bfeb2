"""The time of the service: small steps of the clock are followed, leaps are believed only after an hour."""

from __future__ import annotations

from bridge.core.timekeeper import FOLLOWED_MS, PATIENCE_MS, Timekeeper

NOW = 1_795_234_921_250
HOUR = 3_600_000
MINUTE = 60_000


class Clocks:
    """A clock that can be set, and a steady one."""

    def __init__(self) -> None:
        self.steady = 5_000_000
        self.off = 0
        self.time = Timekeeper(lambda: NOW + self.steady - 5_000_000 + self.off, lambda: self.steady)

    def after(self, length: int) -> int:
        """The time, once so much has passed."""
        self.steady += length
        return self.time() - NOW


def test_time_passes() -> None:
    """Without leaps it is the time of the clock."""
    clocks = Clocks()
    assert [clocks.after(each) for each in (0, 1, HOUR)] == [0, 1, HOUR + 1]


def test_small_steps_are_followed_at_once() -> None:
    """A clock that is corrected by seconds is right each time, in both directions and again and again."""
    clocks = Clocks()
    for off in (FOLLOWED_MS, 0, -FOLLOWED_MS, 0, FOLLOWED_MS, 2 * FOLLOWED_MS):
        clocks.off = off
        assert clocks.after(MINUTE) == clocks.steady - 5_000_000 + off
        assert clocks.time.leap == 0


def test_a_leap_that_is_taken_back_never_happened() -> None:
    """Hours or years, forth and back: time goes on as before, and it is told."""
    clocks = Clocks()
    for off in (3 * HOUR, -7 * HOUR, 10_000 * HOUR):
        for _ in range(3):
            clocks.off = off
            began = clocks.after(0)
            assert clocks.after(PATIENCE_MS - MINUTE) == began + PATIENCE_MS - MINUTE
            assert clocks.time.leap == off
            clocks.off = 0
            assert clocks.after(1) == began + PATIENCE_MS - MINUTE + 1
            assert clocks.time.leap == 0


def test_a_leap_that_lasts_is_believed_after_an_hour() -> None:
    """Then it is the time, in either direction."""
    for off in (5 * HOUR, -5 * HOUR):
        clocks = Clocks()
        clocks.off = off
        assert clocks.after(0) == 0
        assert clocks.after(PATIENCE_MS - 1) == PATIENCE_MS - 1
        assert clocks.after(1) == PATIENCE_MS + off
        assert clocks.time.leap == 0


def test_another_leap_is_doubted_anew() -> None:
    """A clock that leaps to ever other times is never believed."""
    clocks = Clocks()
    for number in range(1, 20):
        clocks.off = number * HOUR
        assert clocks.after(PATIENCE_MS // 2) == number * PATIENCE_MS // 2
