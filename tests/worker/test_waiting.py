"""The reports of a lane that are in memory: which one is next, and which are left out."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.core.model import Status
from bridge.store.reports import DueReport
from bridge.worker.waiting import Key, Waiting, key_of

NOW = 1_795_234_921_250


def report(number: int, due_at: int = NOW, status: Status = Status.DELIVERED, attempts: int = 0) -> DueReport:
    return DueReport(
        message_id=number.to_bytes(16),
        status=status,
        seq=0,
        due_at=due_at,
        owed_at=NOW,
        attempts=attempts,
        retries=0,
        refusals=0,
        not_founds=0,
        lane="sms@api.smartico.ai",
        gateway="sms",
        type="sms",
        callback_url="https://api.smartico.ai/status",
    )


def filled(*reports: DueReport) -> Waiting:
    waiting = Waiting()
    for each in reports:
        waiting.add(each)
    return waiting


def taken(waiting: Waiting, now: int = NOW) -> list[DueReport]:
    """Everything that may go now, in its order."""
    return list(iter(lambda: waiting.take(now), None))


def test_nothing_waits_at_first() -> None:
    """An empty one has nothing to take, and names no time."""
    waiting = Waiting()
    assert (len(waiting), waiting.ready(NOW), waiting.take(NOW), waiting.next_at()) == (0, 0, None, None)
    waiting.done(key_of(report(1)))
    waiting.forget_waiting()
    assert len(waiting) == 0


def test_they_go_in_the_order_of_their_time() -> None:
    """Whatever the order in which they were added, the longest due goes first; equals as they came."""
    first, second, third, fourth = report(1, NOW - 3), report(2, NOW - 1), report(3, NOW - 1), report(4, NOW)
    assert taken(filled(fourth, second, third, first)) == [first, second, third, fourth]


def test_what_is_due_later_waits_for_its_millisecond() -> None:
    """One that is due at a moment may go at it, not before, and `next_at` names the moment."""
    waiting = filled(report(1, NOW + 500), report(2, NOW + 200))
    assert (waiting.take(NOW + 199), waiting.next_at()) == (None, NOW + 200)
    assert taken(waiting, NOW + 200) == [report(2, NOW + 200)]
    assert waiting.next_at() == NOW + 500
    assert taken(waiting, NOW + 10_000) == [report(1, NOW + 500)]
    assert waiting.next_at() is None


def test_a_clock_that_goes_back_hides_nothing_that_was_due() -> None:
    """What was found to be due stays so when the clock is set back."""
    waiting = filled(report(1))
    assert waiting.ready(NOW) == 1
    assert taken(waiting, NOW - 3_600_000) == [report(1)]


def test_the_same_one_twice_is_one() -> None:
    """Of two reports under one key the first stays, while it waits and while it is under way."""
    waiting = filled(report(1, attempts=1), report(1, attempts=2))
    assert len(waiting) == 1
    assert taken(waiting) == [report(1, attempts=1)]
    waiting.add(report(1, attempts=3))
    assert (len(waiting), waiting.take(NOW)) == (1, None)


def test_two_statuses_of_one_message_are_two() -> None:
    """A report is known by message and status together."""
    assert len(taken(filled(report(1), report(1, status=Status.OPENED)))) == 2


def test_one_that_is_done_may_come_again() -> None:
    """A retry goes under the key that its first attempt had."""
    waiting = filled(report(1))
    assert taken(waiting) == [report(1)]
    assert key_of(report(1)) in waiting
    waiting.done(key_of(report(1)))
    assert key_of(report(1)) not in waiting
    waiting.add(report(1, NOW + 5, attempts=1))
    assert taken(waiting, NOW + 5) == [report(1, NOW + 5, attempts=1)]


def test_what_is_put_back_is_the_next_one() -> None:
    """A report that could not go does not lose its place."""
    waiting = filled(report(1), report(2))
    first = waiting.take(NOW)
    assert first == report(1)
    waiting.put_back(first)
    assert taken(waiting) == [report(1), report(2)]


@pytest.mark.parametrize("due_at", [NOW, NOW + 1000])
def test_a_dropped_one_is_never_taken(due_at: int) -> None:
    """One that was given up while it waited is passed over, whether it was due already or not."""
    waiting = filled(report(1, due_at), report(2, due_at))
    waiting.done(key_of(report(1)))
    assert len(waiting) == 1
    assert taken(waiting, NOW + 1000) == [report(2, due_at)]


def test_one_given_up_under_way_is_not_taken_after_all() -> None:
    """What was taken, given up and then put back is gone."""
    waiting = filled(report(1))
    first = waiting.take(NOW)
    assert first is not None
    waiting.done(key_of(first))
    waiting.put_back(first)
    assert (len(waiting), waiting.take(NOW)) == (0, None)


def test_a_dropped_one_that_came_again_is_taken_once_as_it_is_now() -> None:
    """Of the two entries that its queue has, only that of the report as it came last counts."""
    waiting = filled(report(1, NOW - 5, attempts=1))
    waiting.ready(NOW)
    waiting.done(key_of(report(1)))
    waiting.add(report(1, NOW, attempts=2))
    assert taken(waiting) == [report(1, NOW, attempts=2)]


def test_forgetting_keeps_what_is_under_way() -> None:
    """Those that wait, due or not, are forgotten and may be added anew; one under way is known until it is done."""
    waiting = filled(report(1), report(2), report(3, NOW + 1000))
    assert waiting.take(NOW) == report(1)
    waiting.forget_waiting()
    assert (len(waiting), waiting.ready(NOW + 1000), waiting.next_at()) == (1, 0, None)
    for each in (report(1), report(2), report(3, NOW + 1000)):
        waiting.add(each)
    assert taken(waiting, NOW + 1000) == [report(2), report(3, NOW + 1000)]


class Life(RuleBasedStateMachine):
    """Against a dictionary with the place of each report: due `later`, `ready` or `under_way`."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Waiting()
        self.now = NOW
        self.places: dict[Key, str] = {}
        self.reports: dict[Key, DueReport] = {}
        self.given_up: list[DueReport] = []  # under way when they were dropped

    def keys(self, place: str) -> list[Key]:
        return sorted(key for key, each in self.places.items() if each == place)

    def drop(self, key: Key) -> None:
        self.waiting.done(key)
        self.places.pop(key, None)
        self.reports.pop(key, None)

    @rule(number=st.integers(1, 6), delay=st.integers(-5, 20))
    def add(self, number: int, delay: int) -> None:
        each = report(number, self.now + delay)
        self.waiting.add(each)
        if key_of(each) not in self.places:
            self.places[key_of(each)] = "later"
            self.reports[key_of(each)] = each

    @rule(delay=st.integers(0, 15))
    def time_passes(self, delay: int) -> None:
        self.now += delay

    @rule()
    def take(self) -> None:
        due = {key for key in self.keys("later") if self.reports[key].due_at <= self.now}
        due |= set(self.keys("ready"))
        found = self.waiting.take(self.now)
        if found is None:
            assert not due
            return
        assert key_of(found) in due
        assert self.reports[key_of(found)] is found
        for key in due:
            self.places[key] = "ready"
        self.places[key_of(found)] = "under_way"

    @precondition(lambda self: self.keys("under_way"))
    @rule(choose=st.randoms(use_true_random=False))
    def put_back(self, choose: Random) -> None:
        key = choose.choice(self.keys("under_way"))
        self.waiting.put_back(self.reports[key])
        self.places[key] = "ready"
        found = self.waiting.take(self.now)
        assert found is self.reports[key]
        self.waiting.put_back(found)

    @precondition(lambda self: self.places)
    @rule(choose=st.randoms(use_true_random=False))
    def drop_one(self, choose: Random) -> None:
        key = choose.choice(sorted(self.places))
        if self.places[key] == "under_way":
            self.given_up.append(self.reports[key])
        self.drop(key)

    @precondition(lambda self: self.given_up)
    @rule()
    def put_back_what_was_given_up(self) -> None:
        self.waiting.put_back(self.given_up.pop())

    @rule()
    def forget_waiting(self) -> None:
        self.waiting.forget_waiting()
        for key in self.keys("later") + self.keys("ready"):
            del self.places[key], self.reports[key]

    @invariant()
    def knows_what_the_model_knows(self) -> None:
        assert len(self.waiting) == len(self.places)
        assert all(key in self.waiting for key in self.places)

    @invariant()
    def names_a_time_for_what_waits(self) -> None:
        """As long as anything waits, either it may be taken or there is a time to look again."""
        ready = self.waiting.ready(self.now)
        later = [key for key in self.keys("later") if self.reports[key].due_at > self.now]
        assert not later or self.waiting.next_at() is not None
        assert ready >= len(self.places) - len(self.keys("under_way")) - len(later)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=50)
