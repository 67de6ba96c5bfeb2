"""Forwarding: what the answer of the operator's API means for what was passed on (`judge`, pure), and storing it.

docs/architecture.md has the table: that of the status reports, without what only Smartico says in its answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import assert_never

from bridge.core.exchange import Outcome, Reply
from bridge.core.model import Millis, id_from_text, id_text
from bridge.core.retry import no_sooner, scheduled
from bridge.flows.rules import ReportRules
from bridge.smartico import Done, Hopeless, TryLater, Unauthorized, read_failure
from bridge.store import forwards, review
from bridge.store.forwards import DueForward, Settlement
from bridge.store.review import Kind, Member
from bridge.store.tx import Store, Tx

__all__ = ["Verdict", "bridge_id", "bury_aged", "judge", "read_outcome", "settle"]

_NAMES = uuid.UUID("0199f0a4-6b8e-7c0a-9d5e-3f1b2a4c6d80")  # of the ids below; it never changes

Verdict = Done | Hopeless | Unauthorized | TryLater


def bridge_id(kind: str, source: str) -> str:
    """The id by which the receiver knows a repeat (`X-Bridge-Id`): a UUID that is always the same for a source."""
    own = id_from_text(source)
    return id_text(own) if own else str(uuid.uuid5(_NAMES, f"{kind}:{source}"))


def read_outcome(outcome: Outcome) -> Verdict:
    """What the receiver made of it. The body of its answer is its own business."""
    if isinstance(outcome, Reply) and 200 <= outcome.status < 300:
        return Done()
    return read_failure(outcome)


def judge(
    forward: DueForward,
    verdict: Verdict,
    rules: ReportRules,
    now: Millis,
    *,
    jitter: float,
    latency_ms: int | None = None,
    counts: bool = True,
) -> Settlement:
    """What an answer makes of a forward. `jitter`: -1 to 1. `counts` False: the receiver is known to be down, and the
    attempt uses nothing up."""
    match verdict:
        case Done():
            return _final(forward, "done", None, latency_ms)
        case Hopeless(reason):
            return _final(forward, "dead", reason, None)
        case Unauthorized(reason):
            return _again(forward, rules, now, 0.0, reason, counted=0)
        case TryLater():
            if not counts:
                return _again(forward, rules, now, 0.0, verdict.reason, counted=0)
            delay = scheduled(rules.retry_schedule, forward.retries + 1, jitter=jitter)
            if delay is None:
                return _final(forward, "dead", verdict.reason, None)
            return _again(forward, rules, now, no_sooner(delay, verdict.retry_after), verdict.reason)
        case _:
            assert_never(verdict)


def _again(
    forward: DueForward, rules: ReportRules, now: Millis, delay: float, error: str, *, counted: int = 1
) -> Settlement:
    if now - forward.owed_at >= rules.max_age_ms:
        return _final(forward, "dead", f"too old; {error}", None)
    return Settlement(
        id=forward.id,
        kind=forward.kind,
        source=forward.source,
        key=forward.key,
        state="pending",
        due_at=now + round(delay * 1000),
        attempts=counted,
        retries=forward.retries + counted,
        latency_ms=None,
        last_error=error,
    )


def _final(forward: DueForward, state: str, error: str | None, latency_ms: int | None) -> Settlement:
    return Settlement(
        id=forward.id,
        kind=forward.kind,
        source=forward.source,
        key=forward.key,
        state=state,
        due_at=None,
        attempts=1,
        retries=forward.retries,
        latency_ms=latency_ms,
        last_error=error,
    )


async def settle(tx: Tx, settlements: Sequence[Settlement], now: Millis) -> None:
    """Stores what came of attempts; dead ones go under review, and what waited behind a finished one may go.

    What was settled by others meanwhile, or forgotten with its user, stays so; but that it arrived counts always.
    """
    waiting = await forwards.pending(tx, [each.id for each in settlements])
    counted = [each for each in settlements if each.state == "done" or (each.id, each.source) in waiting]
    await forwards.settle(tx, counted, now)
    done = [forwards.subject_of(each.id) for each in counted if each.state == "done"]
    await review.settle_subjects(tx, done, now)
    for each in counted:
        if each.state == "dead":
            await _to_review(tx, each, now)


async def _to_review(tx: Tx, dead: Settlement, now: Millis) -> None:
    await review.add_to_review(
        tx,
        Kind.DEAD_FORWARD,
        f"{dead.kind}: {dead.last_error}",
        Member(forwards.subject_of(dead.id)),
        provider="",
        sample=f"{dead.kind} {bridge_id(dead.kind, dead.source)}",
        at=now,
    )


async def bury_aged(store: Store, rules: ReportRules, now: Millis, limit: int) -> int:
    """Makes dead what waited longer than `report_max_age_hours`; says how many."""
    until = now - rules.max_age_ms
    rows = await store.search(lambda tx: tx.all("aged_forwards", until=until, limit=limit))
    buried = [
        Settlement(id_, kind, source, key, "dead", None, 0, 0, None, "too old")
        for id_, kind, source, key in rows
    ]
    if buried:
        await store.write(lambda tx: settle(tx, buried, now))
    return len(buried)
