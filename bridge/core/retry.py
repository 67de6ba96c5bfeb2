"""Delays as values: when to try again, and when to stop. Jitter is an argument between -1 and 1."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["JITTER", "doubling", "no_sooner", "scheduled"]

JITTER = 0.1  # of a delay, to either side
_MAX_RETRY_AFTER = 3600.0  # seconds that a peer may ask for


def scheduled(schedule: Sequence[float], attempts: int, *, jitter: float = 0.0) -> float | None:
    """Seconds until the next try after `attempts` failed ones (at least 1); None when the schedule is used up."""
    if attempts > len(schedule):
        return None
    return schedule[attempts - 1] * (1 + JITTER * jitter)


def doubling(failures: int, *, first: float, longest: float) -> float:
    """Seconds to wait after `failures` failed tries in a row (at least 1): first, 2·first, 4·first … longest."""
    return min(longest, first * 2.0 ** min(failures - 1, 32))


def no_sooner(delay: float, retry_after: float | None) -> float:
    """A delay that is no shorter than what the peer asked for (`Retry-After`), up to an hour."""
    return delay if retry_after is None else max(delay, min(retry_after, _MAX_RETRY_AFTER))
