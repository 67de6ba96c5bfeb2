"""Which repeated reports a kill excuses, and which are defects."""

from __future__ import annotations

from bench.soak.books import Moment, count_repeats
from bench.soak.traffic import broken
from bridge.sim.smartico_ledger import Arrival, Known


def known(*arrivals: Arrival) -> Known:
    return Known("a", "sms", "uid", "player", arrivals=list(arrivals))


def test_what_was_in_flight_at_a_kill_may_come_again() -> None:
    """Answered, and not stored as done: one repeat is excused."""
    told = known(Arrival("accepted", 1.0, True), Arrival("accepted", 3.0, True))
    repeats = count_repeats([told], [Moment(1.1, [("a", "accepted"), ("b", "accepted")])])
    assert (repeats.in_flight, repeats.repeated, repeats.unexcused) == (1, 1, 0)


def test_a_kill_excuses_one_repeat_only() -> None:
    """Two repeats of one report need two kills."""
    told = known(*(Arrival("accepted", at, True) for at in (1.0, 3.0, 5.0)))
    moment = Moment(1.1, [("a", "accepted")])
    assert count_repeats([told], [moment]).unexcused == 1
    assert count_repeats([told], [moment, Moment(3.1, [("a", "accepted")])]).unexcused == 0


def test_a_repeat_of_what_was_stored_is_a_defect() -> None:
    """Nothing was pending at the kill, or there was none."""
    told = known(Arrival("accepted", 1.0, True), Arrival("accepted", 3.0, True))
    assert count_repeats([told], [Moment(1.1, [])]).unexcused == 1
    assert count_repeats([told], []).examples == ["a: accepted was reported again after 2.00 s"]


def test_a_report_without_an_answer_has_to_come_again() -> None:
    """That is no repeat, also where an answer of an earlier arrival had come through."""
    first = known(Arrival("accepted", 1.0), Arrival("accepted", 3.0, True))
    assert count_repeats([first], []).repeated == 0
    later = known(Arrival("accepted", 1.0, True), Arrival("accepted", 3.0), Arrival("accepted", 5.0, True))
    assert count_repeats([later], [Moment(1.1, [("a", "accepted")])]).unexcused == 0


def test_what_had_not_arrived_was_not_in_flight() -> None:
    """A report that Smartico got later than a request may outlive its sender is no report in flight."""
    told = known(Arrival("accepted", 9.0, True))
    assert count_repeats([told], [Moment(1.0, [("a", "accepted")])]).in_flight == 0


def test_every_promise_is_judged() -> None:
    """A count above 0 of any of them is named."""
    names = (
        "lost",
        "sent_twice",
        "out_of_order",
        "unexpected",
        "strangers",
        "unexcused",
        "protocol_errors",
    )
    kept = dict.fromkeys(names, 0)
    assert not broken(kept)
    for name in names:
        assert broken(kept | {name: 1}) == {name: 1}
