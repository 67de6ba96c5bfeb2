"""The life of one message: which state may follow which, and what Smartico is owed when it does.

`MOVES` is the one table of moves; nobody else compares states. `advance` is the one rule: *a status is owed when the
move is allowed and the status was never owed before*. It is pure and does not depend on the order of a history that
does not contradict itself: the tests try every permutation.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from bridge.core.model import Mark, State, Status

__all__ = ["FINAL", "MOVES", "NEGATIVE", "Happening", "Snapshot", "Transition", "Vocabulary", "advance"]

Happening = State | Mark

_S = State
NEGATIVE = frozenset({_S.FAILED, _S.REJECTED})
_EVIDENCE = frozenset({_S.SENT, _S.DELIVERED, _S.READ}) | NEGATIVE

MOVES: Mapping[State, frozenset[State]] = {
    _S.QUEUED: _EVIDENCE | {_S.UNKNOWN, _S.SUBMITTED},
    _S.UNKNOWN: _EVIDENCE | {_S.QUEUED, _S.SUBMITTED},
    _S.SUBMITTED: _EVIDENCE,
    _S.SENT: _EVIDENCE - {_S.SENT},
    _S.DELIVERED: frozenset({_S.READ}),
    _S.READ: frozenset(),
    # Positive evidence wins; of two negatives each is owed, whichever came first.
    _S.FAILED: frozenset({_S.DELIVERED, _S.READ, _S.REJECTED}),
    _S.REJECTED: frozenset({_S.DELIVERED, _S.READ, _S.FAILED}),
}

# A mail may bounce after it was taken for the mailbox, and even after somebody (or a filter) looked at it.
_MAIL_MOVES: Mapping[State, frozenset[State]] = {
    **MOVES,
    _S.DELIVERED: MOVES[_S.DELIVERED] | {_S.FAILED},
    _S.READ: frozenset({_S.FAILED}),
}

# Nothing but a late correction follows these: such a message may be pruned when it is old.
FINAL = frozenset({_S.DELIVERED, _S.READ}) | NEGATIVE


class Vocabulary(Struct, frozen=True):
    """Smartico's words for what happens (mappings/smartico.toml), and what must have happened before.

    `words` holds the status owed for a state or mark, None where none is; `implies` names the state that a happening
    proves (a message that was read was delivered).
    """

    words: Mapping[Happening, Status | None]
    implies: Mapping[Happening, State]


class Snapshot(Struct, frozen=True):
    """What is known of one message. `negatives` holds the negative outcomes of each cascade step."""

    state: State
    marks: frozenset[Mark] = frozenset()
    owed: frozenset[Status] = frozenset()
    negatives: Mapping[int, frozenset[State]] = {}


class Transition(Struct, frozen=True):
    """The snapshot afterwards, and the statuses newly owed, in the order in which they are to be reported."""

    after: Snapshot
    reports: tuple[Status, ...] = ()


def advance(
    now: Snapshot,
    happening: Happening,
    vocabulary: Vocabulary,
    *,
    step: int | None = None,
    steps: int = 1,
    mail: bool = False,
) -> Transition:
    """What one happening makes of a message. `mail`: it is an e-mail, which may fail after it was delivered.

    `step` is the cascade step that it belongs to (None: no cascade), `steps` how many a cascade of this gateway has: a
    negative of one step counts only once every later step ended negatively too.
    """
    if happening in NEGATIVE and step is not None:
        return _advance_step(now, State(happening), vocabulary, step, steps)
    implied = vocabulary.implies.get(happening)
    chain = (happening,) if implied is None else (implied, happening)
    return _apply(now, chain, vocabulary, _MAIL_MOVES if mail else MOVES)


def _advance_step(
    now: Snapshot, negative: State, vocabulary: Vocabulary, step: int, steps: int
) -> Transition:
    negatives = {**now.negatives, step: now.negatives.get(step, frozenset()) | {negative}}
    noted = Snapshot(now.state, now.marks, now.owed, negatives)
    waiting = steps  # the last step that has no end yet: it and those before it decide nothing
    while waiting in negatives:
        waiting -= 1
    conclusive = [
        state
        for each in sorted(negatives, reverse=True)
        if each > waiting
        for state in sorted(negatives[each])
    ]
    return _apply(noted, tuple(conclusive), vocabulary, MOVES)


def _apply(
    now: Snapshot,
    chain: tuple[Happening, ...],
    vocabulary: Vocabulary,
    moves: Mapping[State, frozenset[State]],
) -> Transition:
    state, marks, owed = now.state, now.marks, now.owed
    reports: list[Status] = []
    for happening in chain:
        if isinstance(happening, Mark):
            marks = marks | {happening}
        elif happening in moves[state]:
            state = happening
        else:
            continue
        status = vocabulary.words.get(happening)
        if status is not None and status not in owed:
            owed = owed | {status}
            reports.append(status)
    return Transition(Snapshot(state, marks, owed, now.negatives), tuple(reports))
