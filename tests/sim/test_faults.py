"""Faults: rates, exact counters, and what is refused."""

import pytest

from bridge.sim.faults import Dice
from bridge.sim.revicom_config import RevicomFaults


def test_nothing_happens_without_faults() -> None:
    """Without rates and counters no fault ever happens."""
    dice = Dice(RevicomFaults(), seed=1)
    assert dice.first(("slow", "reset_after")) is None


def test_a_rate_of_one_always_happens() -> None:
    """A rate of 1 means every time."""
    dice = Dice(RevicomFaults(slow=1.0), seed=1)
    assert all(dice.throws("slow") for _ in range(100))


def test_a_counter_happens_exactly_so_often() -> None:
    """A counter of 2 means the next two occasions, and no more."""
    dice = Dice(RevicomFaults(next={"slow": 2}), seed=1)
    assert [dice.throws("slow") for _ in range(4)] == [True, True, False, False]


def test_the_same_seed_draws_the_same_faults() -> None:
    """Two dice with one seed agree, and a rate is roughly kept."""
    first, second = (Dice(RevicomFaults(slow=0.3), seed=7) for _ in range(2))
    drawn = [first.throws("slow") for _ in range(1000)]
    assert drawn == [second.throws("slow") for _ in range(1000)]
    assert 250 < sum(drawn) < 350


@pytest.mark.parametrize("wrong", [{"slow": 1.5}, {"next": {"slow_seconds": 1}}, {"next": {"nonsense": 1}}])
def test_impossible_faults_are_refused(wrong: dict[str, object]) -> None:
    """A rate above 1 and a counter of something that is no fault raise ValueError."""
    with pytest.raises(ValueError, match=r"slow|nonsense"):
        RevicomFaults(**wrong)  # type: ignore[arg-type]
