"""Delays: each schedule is walked to its end and no further, and a doubling wait has a ceiling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.retry import JITTER, doubling, no_sooner, scheduled

# The defaults of retry_schedule and not_found_schedule
RETRY = [5, 15, 60, 300, 900, 3600, 7200, 14400, 28800, 43200]
NOT_FOUND = [1, 2, 5, 15, 60, 300, 1800]

SCHEDULES = st.lists(st.floats(0.001, 100_000), max_size=12)
JITTERS = st.floats(-1, 1)


@pytest.mark.parametrize("schedule", [RETRY, NOT_FOUND, [0.25], []])
def test_a_schedule_is_walked_once(schedule: list[float]) -> None:
    """After n failed attempts the n-th delay is waited for; after the last one there is no more."""
    assert [scheduled(schedule, attempts) for attempts in range(1, len(schedule) + 1)] == schedule
    assert scheduled(schedule, len(schedule) + 1) is None
    assert scheduled(schedule, len(schedule) + 1000) is None


@given(SCHEDULES, st.integers(1, 20), JITTERS)
def test_jitter_stays_within_ten_percent(schedule: list[float], attempts: int, jitter: float) -> None:
    """Jitter moves a delay by at most a tenth, and never decides whether there is one."""
    plain, moved = scheduled(schedule, attempts), scheduled(schedule, attempts, jitter=jitter)
    if plain is None:
        assert moved is None
    else:
        assert moved == pytest.approx(plain, rel=JITTER + 1e-9)


def test_jitter_is_a_tenth() -> None:
    """The contract allows ten percent to either side."""
    assert JITTER == 0.1
    assert scheduled([100], 1, jitter=1) == pytest.approx(110)
    assert scheduled([100], 1, jitter=-1) == pytest.approx(90)


def test_doubling_up_to_the_longest() -> None:
    """The waits of the breaker of a host: 1, 2, 4, 8, then 10 seconds for ever."""
    assert [doubling(failures, first=1.0, longest=10.0) for failures in range(1, 7)] == [1, 2, 4, 8, 10, 10]


@given(st.integers(1, 10**9), st.floats(0.001, 10), st.floats(0.001, 10_000))
def test_doubling_never_leaves_its_bounds(failures: int, first: float, longest: float) -> None:
    """However many failures there were, the wait is no number out of range, and it never shrinks."""
    wait = doubling(failures, first=first, longest=longest)
    assert 0 < wait <= longest
    assert wait <= doubling(failures + 1, first=first, longest=longest)


@pytest.mark.parametrize(
    ("delay", "wanted", "waited"),
    [(5, None, 5), (5, 3, 5), (5, 60, 60), (5, 10**9, 3600), (7200, 10**9, 7200)],
)
def test_what_a_peer_asks_for(delay: float, wanted: float | None, waited: float) -> None:
    """A peer may make a wait longer, up to an hour, and never shorter."""
    assert no_sooner(delay, wanted) == waited
