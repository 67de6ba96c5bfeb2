"""Reporting: what the answer to a status report means for it (`judge`, pure), and storing what came of many.

docs/architecture.md has the table. Two schedules count separately: one for "not found", one for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from bridge.core.model import MessageId, Millis, Status, id_text
from bridge.core.retry import no_sooner, scheduled
from bridge.flows.rules import ReportRules
from bridge.smartico import Done, Hopeless, NotFound, RefusedReport, StatusReply, TryLater, Unauthorized
from bridge.store import reports, review
from bridge.store.reports import DueReport, Settlement
from bridge.store.review import Kind, Member
from bridge.store.tx import Row, Store, Tx

__all__ = ["bury_aged", "judge", "report_subject", "settle"]

MAX_REFUSALS = 3


def judge(
    report: DueReport,
    reply: StatusReply,
    rules: ReportRules,
    now: Millis,
    *,
    jitter: float,
    latency_ms: int | None = None,
    counts: bool = True,
) -> Settlement:
    """What an answer makes of a report. `jitter`: -1 to 1. `counts` False: the host is known to be down, and the
    attempt uses nothing up."""
    match reply:
        case Done():
            return _final(report, "done", None, latency_ms)
        case Hopeless(reason):
            return _final(report, "dead", reason, latency_ms)
        case Unauthorized(reason):
            return _again(report, rules, now, now, reason, counted=0)
        case NotFound(text):
            count = report.not_founds + 1
            delay = scheduled(rules.not_found_schedule, count)
            return _later(report, rules, now, delay, text, not_founds=count)
        case RefusedReport(_, text):
            refusals, retries = report.refusals + 1, report.retries + 1
            delay = (
                scheduled(rules.retry_schedule, retries, jitter=jitter) if refusals < MAX_REFUSALS else None
            )
            return _later(report, rules, now, delay, text, refusals=refusals, retries=retries)
        case TryLater():
            if not counts:
                return _again(report, rules, now, now, reply.reason, counted=0)
            retries = report.retries + 1
            delay = scheduled(rules.retry_schedule, retries, jitter=jitter)
            if delay is not None:
                delay = no_sooner(delay, reply.retry_after)
            return _later(report, rules, now, delay, reply.reason, retries=retries)
        case _:
            assert_never(reply)


def _later(
    report: DueReport, rules: ReportRules, now: Millis, delay: float | None, error: str, **counts: int
) -> Settlement:
    if delay is None:
        return _final(report, "dead", error, None)
    return _again(report, rules, now, now + round(delay * 1000), error, **counts)


def _again(
    report: DueReport,
    rules: ReportRules,
    now: Millis,
    due_at: Millis,
    error: str,
    *,
    counted: int = 1,
    retries: int | None = None,
    refusals: int | None = None,
    not_founds: int | None = None,
) -> Settlement:
    if now - report.owed_at >= rules.max_age_ms:
        return _final(report, "dead", f"too old; {error}", None)
    return Settlement(
        report.message_id,
        report.status,
        "pending",
        due_at,
        counted,
        report.retries if retries is None else retries,
        report.refusals if refusals is None else refusals,
        report.not_founds if not_founds is None else not_founds,
        None,
        error,
    )


def _final(report: DueReport, state: str, error: str | None, latency_ms: int | None) -> Settlement:
    return Settlement(
        report.message_id,
        report.status,
        state,
        None,
        1,
        report.retries,
        report.refusals,
        report.not_founds,
        latency_ms,
        error,
    )


def report_subject(message_id: MessageId, status: Status) -> bytes:
    """What stands for a report among the members of a review item."""
    return message_id + status.encode()


async def settle(tx: Tx, settled: Sequence[tuple[str, Settlement]], now: Millis) -> list[Row]:
    """Stores what came of attempts, as (lane, settlement); dead ones go under review, and free the next report.

    Gives the reports that are free now: see `reports.release`.
    """
    if tx.shared and any(each.state != "done" for _, each in settled):
        # Whose lease ended may have been settled by others: then it is not dead, whatever came of our attempt.
        waiting = await reports.pending(tx, sorted({each.message_id for _, each in settled}))
        settled = [pair for pair in settled if pair[1].state == "done" or _key(pair[1]) in waiting]
    released = await reports.settle(tx, [each for _, each in settled], now)
    done = [report_subject(*_key(each)) for _, each in settled if each.state == "done"]
    await review.settle_subjects(
        tx, done, now
    )  # one may have been buried for its age while it was on its way
    for lane, each in settled:
        if each.last_error is not None:
            kind = "report_dead" if each.state == "dead" else "report_failed"
            await tx.run(
                "add_step",
                message_id=each.message_id,
                at=now,
                kind=kind,
                detail=f"{each.status}: {each.last_error}",
                actor="",
            )
        if each.state == "dead":
            await _to_review(tx, lane, each, now)
    return released


def _key(each: Settlement) -> tuple[MessageId, Status]:
    return each.message_id, each.status


async def _to_review(tx: Tx, lane: str, dead: Settlement, now: Millis) -> None:
    _, _, host = lane.partition("@")
    await review.add_to_review(
        tx,
        Kind.DEAD_REPORT,
        f"{host}: {dead.last_error}",
        Member(report_subject(dead.message_id, dead.status)),
        provider="",
        sample=f"{dead.status} of message {id_text(dead.message_id)}",
        at=now,
    )


async def bury_aged(
    store: Store, rules: ReportRules, now: Millis, limit: int = 1000
) -> list[tuple[str, tuple[MessageId, Status]]]:
    """Makes reports dead that waited longer than `report_max_age_hours`.

    Gives their lanes and keys; in those lanes the next reports of the messages may go. They are looked for beside the
    writer: while hundreds of thousands wait, that takes a while.
    """
    until = now - rules.max_age_ms
    rows = await store.search(lambda tx: tx.all("aged_reports", until=until, limit=limit))
    buried = [
        (lane, Settlement(message_id, Status(status), "dead", None, 0, 0, 0, 0, None, "too old"))
        for message_id, status, lane in rows
    ]

    async def bury(tx: Tx) -> list[tuple[str, tuple[MessageId, Status]]]:
        waiting = await reports.pending(tx, [each.message_id for _, each in buried])
        still = [(lane, each) for lane, each in buried if (each.message_id, each.status) in waiting]
        await settle(tx, still, now)
        return [(lane, (each.message_id, each.status)) for lane, each in still]

    return await store.write(bury) if buried else []
