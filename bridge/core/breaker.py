"""When to leave a peer alone: after failures in a row, or after it refused us. Pure but for its own counters.

While closed, everything goes; once open, nothing goes but one probe at a time, after a wait that doubles.
Times are milliseconds. A clock that goes back does not make the wait longer.
"""

from __future__ import annotations

from bridge.core.model import Millis
from bridge.core.retry import doubling

__all__ = ["Breaker"]


class Breaker:
    """`threshold` failures in a row open it; the first probe comes after `first` seconds, doubling to `longest`."""

    def __init__(self, threshold: int, *, first: float, longest: float) -> None:
        self._threshold = threshold
        self._first = first
        self._longest = longest
        self._failures = 0
        self._probe_at: Millis = 0
        self._probing = False
        self._seen: Millis = 0  # the latest time that it was told, while it is open
        self.reason = ""
        self.since: Millis = 0  # when it opened, where it is open

    @property
    def next_try_at(self) -> Millis | None:
        """When the next probe may go, where it is open; None while one is under way. Past: nothing is there to send."""
        return None if self._probing else self._probe_at

    @property
    def is_open(self) -> bool:
        return self._failures >= self._threshold

    def allows(self, now: Millis) -> bool:
        """Whether a request may go now. Of an open breaker it allows one probe; `succeeded` or `failed` must follow."""
        if not self.is_open:
            return True
        self._look_at_clock(now)
        if self._probing or now < self._probe_at:
            return False
        self._probing = True
        return True

    def cancel_probe(self) -> None:
        """The probe that was allowed did not go out: there was nothing to send."""
        self._probing = False

    def wait(self, now: Millis) -> float:
        """Seconds until a request may go, 0 when it may go now. While a probe is under way: a short while."""
        if not self.is_open:
            return 0.0
        self._look_at_clock(now)
        if self._probing:
            return self._first
        return max(0.0, (self._probe_at - now) / 1000)

    def succeeded(self) -> bool:
        """The peer answered well; says whether this closed the breaker."""
        was_open = self.is_open
        if was_open and not self._probing:
            return False  # a straggler from before it opened: the next probe will tell
        self._failures = 0
        self._probing = False
        self.reason = ""
        return was_open

    def failed(self, now: Millis, reason: str, *, at_least: float = 0.0) -> bool:
        """The peer failed; says whether this opened the breaker. `at_least`: seconds that the peer asked for."""
        was_open = self.is_open
        if was_open and not self._probing:
            return False  # a straggler from before it opened
        self._failures += 1
        self._probing = False
        self.reason = reason
        if self.is_open:
            wait = doubling(self._failures - self._threshold + 1, first=self._first, longest=self._longest)
            self._probe_at = now + round(max(wait, at_least) * 1000)
            self.since = self.since if was_open else now
            self._seen = now
        return self.is_open and not was_open

    def _look_at_clock(self, now: Millis) -> None:
        if now < self._seen:
            self._probe_at -= self._seen - now
            self.since = min(self.since, now)
        self._seen = now
