"""The lifecycle: the rows of the contract's table; no order of a consistent history changes what is owed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, combinations, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from bridge.core.lifecycle import FINAL, MOVES, NEGATIVE, Happening, Snapshot, Vocabulary, advance
from bridge.core.model import Mark, State, Status
from bridge.tables import load_mapping, load_vocabulary

REVICOM = load_mapping("revicom", None)
SMARTICO = load_vocabulary(None)
FRESH = Snapshot(State.QUEUED)

NEGATIVES = (State.FAILED, State.REJECTED)
POSITIVES: tuple[Happening, ...] = (State.DELIVERED, State.READ, Mark.CLICKED)
ANYTHING: tuple[Happening, ...] = (State.SUBMITTED, State.SENT, *POSITIVES, *NEGATIVES, Mark.UNSUBSCRIBED)

# How far a message is; it may stay at a level, and never falls.
LEVEL = {
    State.QUEUED: 0,
    State.UNKNOWN: 1,
    State.SUBMITTED: 2,
    State.SENT: 3,
    State.FAILED: 4,
    State.REJECTED: 4,
    State.DELIVERED: 5,
    State.READ: 6,
}

# What may not be reported after a status; of two negatives either may come first.
NOT_AFTER = {
    Status.DELIVERED: {Status.ACCEPTED, Status.FAILED, Status.REJECTED},
    Status.FAILED: {Status.ACCEPTED},
    Status.REJECTED: {Status.ACCEPTED},
    Status.OPENED: {Status.ACCEPTED, Status.FAILED, Status.REJECTED, Status.DELIVERED},
    Status.CLICKED: {Status.ACCEPTED, Status.FAILED, Status.REJECTED, Status.DELIVERED},
}


class Told(Struct, frozen=True, order=True):
    """One thing that a provider tells of a message, and of which step of its cascade."""

    happening: Happening
    step: int | None = None


def play(
    history: Iterable[Told], *, start: Snapshot = FRESH, steps: int = 1
) -> tuple[list[Snapshot], list[Status]]:
    """The snapshots, the first one included, and the statuses in the order in which they became owed."""
    snapshots, reports = [start], list[Status]()
    for told in history:
        transition = advance(snapshots[-1], told.happening, SMARTICO, step=told.step, steps=steps)
        snapshots.append(transition.after)
        reports += transition.reports
    return snapshots, reports


def owed_but_accepted(history: Iterable[Told], *, steps: int = 1) -> set[Status]:
    return set(play(history, steps=steps)[1]) - {Status.ACCEPTED}


def subsets(things: Sequence[Happening], *, least: int = 0) -> list[tuple[Happening, ...]]:
    return list(chain.from_iterable(combinations(things, size) for size in range(least, len(things) + 1)))


def words_of(happenings: Iterable[Happening]) -> set[Status]:
    """What the contract's table says of an outcome, written down once more."""
    owed = {
        State.DELIVERED: {Status.DELIVERED},
        State.READ: {Status.DELIVERED, Status.OPENED},
        Mark.CLICKED: {Status.DELIVERED, Status.CLICKED},
        State.FAILED: {Status.FAILED},
        State.REJECTED: {Status.REJECTED},
        Mark.UNSUBSCRIBED: {Status.UNSUBSCRIBED},
    }
    return set().union(*(owed.get(happening, set()) for happening in happenings))


# --- the table ---


@pytest.mark.parametrize(
    ("event", "status", "state", "marks", "reports"),
    [
        ("sent", "sent", State.SENT, set(), ["accepted"]),
        ("delivered", "delivered", State.DELIVERED, set(), ["delivered"]),
        ("delivered", "undelivered", State.FAILED, set(), ["failed"]),
        ("delivered", "unsent", State.REJECTED, set(), ["rejected"]),
        ("read", "read", State.READ, set(), ["delivered", "opened"]),
        ("click", "", State.DELIVERED, {Mark.CLICKED}, ["delivered", "clicked"]),
    ],
)
def test_each_row_of_the_table(
    event: str, status: str, state: State, marks: set[Mark], reports: list[str]
) -> None:
    """A provider's words lead to the state, the marks and the reports that the contract's table names."""
    happening = REVICOM.meaning(event, status)
    assert happening is not None
    transition = advance(Snapshot(State.SUBMITTED), happening, SMARTICO)
    assert transition.after.state is state
    assert transition.after.marks == marks
    assert list(transition.reports) == reports


@pytest.mark.parametrize(
    ("event", "status"), [("read", "unread"), ("price", ""), ("inbound_sent", "inbound_sent")]
)
def test_rows_that_lead_to_nothing(event: str, status: str) -> None:
    """Words that are known and mean nothing have no happening that could move a message."""
    assert REVICOM.knows(event, status)
    assert REVICOM.meaning(event, status) is None


@pytest.mark.parametrize(
    ("happening", "state", "reports"),
    [
        (State.SUBMITTED, State.SUBMITTED, []),
        (State.REJECTED, State.REJECTED, ["rejected"]),
        (State.FAILED, State.FAILED, ["failed"]),
        (State.UNKNOWN, State.UNKNOWN, []),
    ],
)
def test_what_sending_leads_to(happening: State, state: State, reports: list[str]) -> None:
    """A send that was taken or perhaps taken owes nothing, a refused one rejected, an expired one failed."""
    transition = advance(FRESH, happening, SMARTICO)
    assert (transition.after.state, list(transition.reports)) == (state, reports)


def test_an_opt_out_is_a_mark() -> None:
    """An opt-out keyword reports unsubscribed once and leaves the state alone, whatever the state is."""
    for state in State:
        first = advance(Snapshot(state), Mark.UNSUBSCRIBED, SMARTICO)
        again = advance(first.after, Mark.UNSUBSCRIBED, SMARTICO)
        assert (first.after.state, first.reports) == (state, (Status.UNSUBSCRIBED,))
        assert (again.after, again.reports) == (first.after, ())


@pytest.mark.parametrize(
    ("state", "happening"),
    [
        (State.DELIVERED, State.SENT),
        (State.DELIVERED, State.SUBMITTED),
        (State.READ, State.DELIVERED),
        (State.READ, State.SENT),
        (State.FAILED, State.SENT),
        (State.REJECTED, State.SENT),
        (State.FAILED, State.SUBMITTED),
        (State.SENT, State.SUBMITTED),
        *((positive, negative) for positive in (State.DELIVERED, State.READ) for negative in NEGATIVES),
        *((state, State.QUEUED) for state in State if state is not State.UNKNOWN),
        *((state, State.UNKNOWN) for state in State if state not in (State.QUEUED, State.UNKNOWN)),
    ],
)
def test_what_comes_too_late(state: State, happening: State) -> None:
    """What a later state has overtaken changes nothing and reports nothing."""
    before = Snapshot(state)
    transition = advance(before, happening, SMARTICO)
    assert (transition.after, transition.reports) == (before, ())


@pytest.mark.parametrize("negative", NEGATIVES)
@pytest.mark.parametrize("positive", POSITIVES)
def test_positive_evidence_wins(negative: State, positive: Happening) -> None:
    """Delivered, read or clicked after a negative is reported; the negative after it is not."""
    snapshots, reports = play([Told(negative), Told(positive), Told(negative)])
    assert snapshots[-1].state in (State.DELIVERED, State.READ)
    assert reports[0] == SMARTICO.words[negative]
    assert set(reports[1:]) == words_of([positive])


def test_two_negatives_are_both_owed() -> None:
    """Undelivered and unsent of one message are both reported, whichever comes first."""
    for first, second in (NEGATIVES, NEGATIVES[::-1]):
        assert play([Told(first), Told(second)])[1] == [SMARTICO.words[first], SMARTICO.words[second]]


def test_the_table_of_moves_is_whole() -> None:
    """Every state has its row, only unknown messages are queued again, and final states stay final."""
    assert set(MOVES) == set(State)
    assert {state for state, after in MOVES.items() if State.QUEUED in after} == {State.UNKNOWN}
    assert all(state not in after for state, after in MOVES.items())
    assert all(MOVES[state] <= FINAL for state in FINAL)
    assert set(NEGATIVES) == NEGATIVE


# --- histories of one message ---


@pytest.mark.parametrize("outcome", [(), *subsets(POSITIVES, least=1), *subsets(NEGATIVES, least=1)], ids=str)
@pytest.mark.parametrize("beside", subsets((State.SENT, Mark.UNSUBSCRIBED)), ids=str)
def test_every_order_of_a_history(outcome: tuple[Happening, ...], beside: tuple[Happening, ...]) -> None:
    """Every permutation of a consistent history, the send's answer in it, owes what the table says."""
    history = [Told(each) for each in (State.SUBMITTED, *beside, *outcome)]
    for order in permutations(history):
        _, reports = play(order)
        assert set(reports) - {Status.ACCEPTED} == words_of((*beside, *outcome))
        if State.SENT not in beside:
            assert Status.ACCEPTED not in reports
        elif not outcome:
            assert Status.ACCEPTED in reports


@st.composite
def consistent_histories(draw: st.DrawFn) -> tuple[list[Told], list[Told]]:
    """A history in the order of its events, and the same shuffled, with repeats."""
    outcome = draw(st.sampled_from([(), *subsets(POSITIVES, least=1), *subsets(NEGATIVES, least=1)]))
    beside = draw(st.sampled_from(subsets((State.SENT, Mark.UNSUBSCRIBED, Mark.COMPLAINED))))
    history = [Told(each) for each in (State.SUBMITTED, *beside, *outcome)]
    return history, draw(shuffled(history))


def shuffled(history: list[Told]) -> st.SearchStrategy[list[Told]]:
    """Every element at least once, some again, in any order."""
    repeats = st.lists(st.sampled_from(history), max_size=8)
    return repeats.flatmap(lambda more: st.permutations([*history, *more]))


@given(consistent_histories())
def test_no_order_or_repeat_changes_what_is_owed(histories: tuple[list[Told], list[Told]]) -> None:
    """Permutation and duplication change nothing but an accepted that became superfluous."""
    straight, mixed = histories
    assert owed_but_accepted(mixed) == owed_but_accepted(straight)


@given(st.lists(st.sampled_from([Told(each) for each in ANYTHING]), max_size=15))
def test_state_never_goes_back(history: list[Told]) -> None:
    """Whatever comes, also what contradicts itself, a message never falls back to an earlier state."""
    snapshots, _ = play(history)
    assert all(LEVEL[before.state] <= LEVEL[after.state] for before, after in pairwise(snapshots))
    assert all(before.marks <= after.marks for before, after in pairwise(snapshots))


@given(
    st.lists(st.builds(Told, st.sampled_from(ANYTHING), st.none() | st.integers(1, 4)), max_size=15),
    st.integers(1, 3),
)
def test_each_status_is_owed_once(history: list[Told], steps: int) -> None:
    """No history, however contradictory, reports a status twice; what was reported is kept as owed."""
    snapshots, reports = play(history, steps=steps)
    assert len(reports) == len(set(reports))
    assert snapshots[-1].owed == set(reports)


@given(
    st.lists(st.builds(Told, st.sampled_from(ANYTHING), st.none() | st.integers(1, 4)), max_size=15),
    st.integers(1, 3),
)
def test_reports_come_in_a_sensible_order(history: list[Told], steps: int) -> None:
    """No report follows one that should have come later: delivered precedes opened and clicked."""
    _, reports = play(history, steps=steps)
    for number, earlier in enumerate(reports):
        assert not NOT_AFTER.get(earlier, set()) & set(reports[number + 1 :])
    if {Status.OPENED, Status.CLICKED} & set(reports):
        assert Status.DELIVERED in reports


@given(st.lists(st.sampled_from([Told(each) for each in ANYTHING]), max_size=10), st.sampled_from(ANYTHING))
def test_the_same_again_changes_nothing(history: list[Told], happening: Happening) -> None:
    """A happening directly repeated leaves the message as it is."""
    _, reports = play([*history, Told(happening)])
    assert play([*history, Told(happening), Told(happening)])[1] == reports


def test_a_status_without_a_word_is_not_owed() -> None:
    """Where the table of words says none, the state moves and nothing is owed."""
    silent = Vocabulary({State.READ: Status.OPENED}, {State.READ: State.DELIVERED})
    transition = advance(FRESH, State.READ, silent)
    assert (transition.after.state, transition.reports) == (State.READ, (Status.OPENED,))


# --- cascades ---


@st.composite
def cascades(draw: st.DrawFn) -> tuple[int, list[Told]]:
    """A cascade whose steps fail one after the other, until one succeeds, is the last, or has no end."""
    steps = draw(st.integers(1, 3))
    last = draw(st.integers(1, steps))
    history = [Told(State.SUBMITTED)]
    for step in range(1, last + 1):
        if draw(st.booleans()):
            history.append(Told(State.SENT, step))
        outcomes = subsets(NEGATIVES, least=1)
        if step == last:
            outcomes = [(), *outcomes, *subsets(POSITIVES, least=1)]
        history += [Told(each, step) for each in draw(st.sampled_from(outcomes))]
    return steps, history


def owed_of_cascade(history: list[Told], steps: int) -> set[Status]:
    """From the contract: positives count at once, a negative when every later step ended negatively too."""
    positive = {told.happening for told in history} & set(POSITIVES)
    if positive:
        return words_of(positive)
    ended = {told.step for told in history if told.happening in NEGATIVE}
    counting = {step for step in ended if all(later in ended for later in range((step or 0) + 1, steps + 1))}
    return words_of(
        told.happening for told in history if told.happening in NEGATIVE and told.step in counting
    )


@given(cascades(), st.data())
def test_no_order_changes_what_a_cascade_owes(cascade: tuple[int, list[Told]], data: st.DataObject) -> None:
    """Interleaved and repeated elements of all steps of a cascade owe what its straight history owes."""
    steps, history = cascade
    mixed = data.draw(shuffled(history))
    assert owed_but_accepted(history, steps=steps) == owed_of_cascade(history, steps)
    assert owed_but_accepted(mixed, steps=steps) == owed_of_cascade(history, steps)


@given(
    st.lists(
        st.builds(Told, st.sampled_from(NEGATIVES), st.integers(1, 5)), min_size=1, max_size=6, unique=True
    ),
    st.integers(1, 3),
    st.data(),
)
def test_negatives_of_any_steps_in_any_order(history: list[Told], steps: int, data: st.DataObject) -> None:
    """Where callbacks are missing, or there are more steps than the settings say, no order matters either."""
    mixed = data.draw(shuffled(history))
    assert owed_but_accepted(mixed, steps=steps) == owed_of_cascade(history, steps)


@pytest.mark.parametrize(
    ("steps", "history", "reports"),
    [
        (2, [Told(State.FAILED, 1)], []),
        (2, [Told(State.FAILED, 1), Told(State.DELIVERED, 2)], ["delivered"]),
        (2, [Told(State.FAILED, 1), Told(State.FAILED, 2)], ["failed"]),
        (2, [Told(State.FAILED, 2), Told(State.FAILED, 1)], ["failed"]),
        (3, [Told(State.FAILED, 1), Told(State.FAILED, 3)], ["failed"]),
        (3, [Told(State.FAILED, 1), Told(State.FAILED, 2)], []),
        (1, [Told(State.FAILED, 1)], ["failed"]),
        (1, [Told(State.REJECTED, 3), Told(State.FAILED, 1)], ["rejected", "failed"]),
        (2, [Told(State.FAILED)], ["failed"]),
    ],
    ids=str,
)
def test_negatives_of_cascades(steps: int, history: list[Told], reports: list[str]) -> None:
    """A negative of one step waits for the later ones; without a step it counts at once."""
    assert play(history, steps=steps)[1] == reports


def test_a_step_that_waits_moves_nothing() -> None:
    """While a later step may still succeed, a failed step leaves the state and is kept for later."""
    (before, after), _ = play([Told(State.FAILED, 1)], start=Snapshot(State.SENT), steps=2)
    assert after.state is State.SENT
    assert after != before
    assert after.negatives == {1: {State.FAILED}}
