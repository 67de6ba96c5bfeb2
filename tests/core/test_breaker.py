"""The breaker: it opens after failures in a row, lets one probe through at a time, and waits longer each time."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.core.breaker import Breaker

NOW = 1_795_234_921_250


def host_breaker() -> Breaker:
    """As a host of status reports has it."""
    return Breaker(8, first=1.0, longest=10.0)


def opened(at: int = NOW) -> Breaker:
    breaker = host_breaker()
    for _ in range(8):
        breaker.failed(at, "down")
    return breaker


def test_a_new_breaker_is_closed() -> None:
    """Before anything happened everything goes, and any number of requests beside each other."""
    breaker = host_breaker()
    assert (breaker.is_open, breaker.wait(NOW), breaker.reason) == (False, 0.0, "")
    assert all(breaker.allows(NOW) for _ in range(100))


def test_it_opens_after_eight_in_a_row() -> None:
    """Seven failures leave it closed, the eighth opens it and says so once."""
    breaker = host_breaker()
    assert [breaker.failed(NOW, "down") for _ in range(8)] == [False] * 7 + [True]
    assert breaker.is_open
    assert breaker.reason == "down"
    assert not breaker.failed(NOW, "down")


def test_a_success_in_between_starts_anew() -> None:
    """Only failures in a row count."""
    breaker = host_breaker()
    for _ in range(7):
        breaker.failed(NOW, "down")
    assert not breaker.succeeded()
    assert [breaker.failed(NOW, "down") for _ in range(8)] == [False] * 7 + [True]


def test_the_waits_double() -> None:
    """The first probe comes after 1 s, then 2, 4, 8, and never more than 10 s apart."""
    breaker, now, waits = opened(), NOW, []
    for _ in range(7):
        waits.append(breaker.wait(now))
        now += round(waits[-1] * 1000)
        assert breaker.allows(now)
        assert not breaker.failed(now, "still down")
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert breaker.reason == "still down"


def test_since_when_and_when_next() -> None:
    """It tells when it opened, whatever probes fail afterwards, and when the next one goes; none while one is away."""
    breaker = opened()

    def told() -> tuple[int, int | None]:
        return breaker.since, breaker.next_try_at

    assert told() == (NOW, NOW + 1000)
    assert breaker.allows(NOW + 1000)
    assert told() == (NOW, None)
    breaker.failed(NOW + 1500, "down")
    assert told() == (NOW, NOW + 3500)
    assert breaker.allows(NOW + 3500)
    breaker.succeeded()
    for _ in range(8):
        breaker.failed(NOW + 9000, "down")
    assert breaker.since == NOW + 9000


def test_one_probe_at_a_time() -> None:
    """An open breaker lets nothing go before its time, then one request, and no other until that one ended."""
    breaker = opened()
    assert not breaker.allows(NOW + 999)
    assert breaker.allows(NOW + 1000)
    assert not breaker.allows(NOW + 1000)
    assert not breaker.allows(NOW + 100_000)
    assert breaker.wait(NOW + 100_000) > 0


def test_a_good_probe_closes_it() -> None:
    """After one success everything goes again, and the next opening begins with the shortest wait."""
    breaker = opened()
    breaker.allows(NOW + 1000)
    breaker.failed(NOW + 1000, "down")
    breaker.allows(NOW + 3000)
    assert breaker.succeeded()
    assert (breaker.is_open, breaker.wait(NOW + 3000), breaker.reason) == (False, 0.0, "")
    for _ in range(8):
        breaker.failed(NOW + 5000, "down")
    assert breaker.wait(NOW + 5000) == 1.0


def test_a_probe_that_did_not_go_out() -> None:
    """Where there was nothing to send after all, the next one may probe at once."""
    breaker = opened()
    assert breaker.allows(NOW + 1000)
    breaker.cancel_probe()
    assert breaker.wait(NOW + 1000) == 0.0
    assert breaker.allows(NOW + 1000)


def test_stragglers_change_nothing() -> None:
    """Requests that left before it opened and fail afterwards neither lengthen the wait nor change the reason."""
    breaker = opened()
    for late in range(50):
        assert not breaker.failed(NOW + late, "late")
    assert breaker.wait(NOW) == 1.0
    assert breaker.reason == "down"
    assert breaker.allows(NOW + 1000)


def test_a_late_success_does_not_close_it() -> None:
    """A request that left before the breaker opened says nothing of now: what a 429 asked for is waited for."""
    breaker = opened()
    wait = breaker.wait(NOW)
    assert not breaker.succeeded()
    assert breaker.wait(NOW) == wait
    assert not breaker.allows(NOW)


def test_what_the_peer_asked_for() -> None:
    """A peer that asks for more time gets it; one that asks for less does not shorten the wait."""
    breaker = Breaker(1, first=1.0, longest=15.0)
    assert breaker.failed(NOW, "429", at_least=60.0)
    assert breaker.wait(NOW) == 60.0
    assert not breaker.allows(NOW + 59_999)
    assert breaker.allows(NOW + 60_000)
    breaker.failed(NOW + 60_000, "429", at_least=0.5)
    assert breaker.wait(NOW + 60_000) == 2.0


def test_a_clock_that_goes_back() -> None:
    """When the clock is set back by hours the wait stays what it was; else nobody would be asked until then."""
    breaker = opened()
    breaker.wait(NOW + 400)
    back = NOW - 5 * 3_600_000
    assert breaker.wait(back) == pytest.approx(0.6)
    assert not breaker.allows(back + 599)
    assert breaker.since == back
    assert breaker.allows(back + 600)


class Life(RuleBasedStateMachine):
    """A peer that answers well or badly at any time, to requests that the breaker allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(3, first=1.0, longest=10.0)
        self.now = NOW
        self.under_way = 0
        self.probe = False

    @rule(seconds=st.floats(0, 15))
    def time_passes(self, seconds: float) -> None:
        self.now += round(seconds * 1000)

    @rule()
    def ask(self) -> None:
        was_open, wait = self.breaker.is_open, self.breaker.wait(self.now)
        allowed = self.breaker.allows(self.now)
        assert allowed == (wait == 0)
        if allowed and was_open:
            assert not self.probe
            self.probe = True
        elif allowed:
            self.under_way += 1

    @precondition(lambda self: self.probe)
    @rule(good=st.booleans())
    def probe_ends(self, *, good: bool) -> None:
        self.probe = False
        if good:
            assert self.breaker.succeeded()
            assert self.breaker.allows(self.now)
            self.under_way += 1
        else:
            assert not self.breaker.failed(self.now, "bad")
            assert 1.0 <= self.breaker.wait(self.now) <= 10.0

    @precondition(lambda self: self.under_way and not self.breaker.is_open)
    @rule(good=st.booleans())
    def request_ends(self, *, good: bool) -> None:
        self.under_way -= 1
        if good:
            assert not self.breaker.succeeded()
        else:
            self.breaker.failed(self.now, "bad")

    @invariant()
    def never_silent_for_long(self) -> None:
        """Unless a probe is under way, a request may go within the longest wait."""
        assert self.breaker.wait(self.now) <= 10.0
        if not self.probe:
            assert self.breaker.wait(self.now + 10_000) == 0.0


TestLife = Life.TestCase
