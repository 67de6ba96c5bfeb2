"""Review: replaying and dismissing what only a person can settle. Both are audited (who, when, why).

A replay runs the very same flow again: elements through `applying`, dead reports back into the outbox, a perhaps-sent
message to the look-up, and for a silent one the provider is asked once more. Sending a perhaps-sent message again is a
choice of its own (`resend=True`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from msgspec import Struct

from bridge.core.lifecycle import advance
from bridge.core.model import Element, Malformed, Millis, State, Status
from bridge.core.moments import format_time, read_when
from bridge.errors import StoreError
from bridge.flows import sending
from bridge.flows.applying import Applying, arrived_elements
from bridge.flows.reporting import report_subject
from bridge.flows.rules import Rules
from bridge.flows.showing import hide_addresses, report_id
from bridge.flows.silence import ask_again
from bridge.providers.protocol import CallbackUnreadable
from bridge.store import audit, forwards, inbox, messages, reports, review, sends, silence
from bridge.store.review import Kind, Member, ReviewItem
from bridge.store.saving import save_transition
from bridge.store.search import ReportFilter, find_report_keys
from bridge.store.tx import Store, Tx

__all__ = ["Actor", "ReplayFilter", "Replayed", "choose_reports", "dismiss", "replay", "replay_reports"]

_log = structlog.get_logger()
_CHUNK = 500
_DISMISSALS = 10  # times that what came to an item meanwhile is dropped, too; then it stays open


class Actor(Struct, frozen=True):
    """Who does it, and why."""

    name: str
    reason: str


class Replayed(Struct, frozen=True):
    """How many things were found, and how many of them were run again."""

    matched: int
    replayed: int


class ReplayFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which reports, as people and scripts write it. Only dead ones are ever replayed.

    `since` (owed since then) is an RFC 3339 time, a date or an age, `error` part of the last error; `cause` and `lane`
    are exact, as `GET /api/reports/causes` gives them.
    """

    state: str = "dead"
    since: str = ""
    gateway: str = ""
    error: str = ""
    cause: str = ""
    lane: str = ""


def choose_reports(by: ReplayFilter, now: Millis) -> ReportFilter | None:
    """The same for the store; None where `since` is no time. All who take a filter read it here: no field gets lost."""
    since = read_when(by.since, now) if by.since else None
    if by.since and since is None:
        return None
    return ReportFilter(by.state, since, by.gateway, by.error, cause=by.cause, lane=by.lane)


async def replay(
    store: Store, rules: Rules, item: ReviewItem, actor: Actor, now: Millis, *, resend: bool
) -> Replayed:
    """Runs everything behind an item again. What still cannot be settled stays under review."""
    one = _replay_one(rules, item, actor, now, resend=resend)
    matched = replayed = 0
    after = b""
    while chunk := await store.search(_members_after(item.id, after)):
        after = chunk[-1].subject
        matched += len(chunk)
        for member in chunk:
            replayed += await _attempt(store, _bound(one, member))
    await store.write(_audit(actor, "review.replay", {"review": item.id, "replayed": replayed}, now))
    return Replayed(matched, replayed)


async def _attempt(store: Store, job: Callable[[Tx], Coroutine[Any, Any, int]]) -> int:
    """What we failed on before may fail again: then it stays under review, and the others go on."""
    try:
        return await store.write(job)
    except StoreError:
        raise
    except Exception as error:
        _log.error("a replay failed", error=type(error).__name__)
        return 0


async def dismiss(store: Store, item: ReviewItem, actor: Actor, now: Millis) -> bool:
    """Closes an item with a note; what stands behind it stays as it is, but no unknown send can leave any more."""

    async def drop(tx: Tx, members: list[Member]) -> int:
        for member in members:
            given_up = item.kind is Kind.UNKNOWN_SEND and await tx.run(
                "give_up_send", message_id=member.subject
            )
            if given_up or item.kind is Kind.SILENT:  # else somebody has decided otherwise meanwhile
                await messages.add_step(tx, member.subject, now, "dismissed", actor.reason, actor.name)
            await review.drop_member(tx, item.id, member.subject)
        return len(members)

    async def close(tx: Tx) -> bool:
        closed = await review.close_review(tx, item.id, actor.name, actor.reason, now)
        if closed:
            await _audit(actor, "review.dismiss", {"review": item.id}, now)(tx)
        return closed

    for _ in range(_DISMISSALS):
        while chunk := await store.read(_members_after(item.id, b"")):
            await store.write(_bound(drop, chunk))
        if await store.write(close):
            return True
        if not await store.read(_members_after(item.id, b"")):
            break  # it was closed, or resolved, by others
    return False


async def replay_reports(
    store: Store,
    chosen: ReportFilter,
    actor: Actor,
    now: Millis,
    *,
    dry_run: bool,
    progress: Callable[[Replayed], None] = lambda _: None,
) -> Replayed:
    """Makes the chosen dead reports pending again, 500 a transaction; a dry run only counts them.

    The audit says first what was chosen, and in the end in a line of its own how many it were: if that one is missing,
    it stopped half way. `progress` is told how far it is, after each transaction.
    """
    keys = await store.search(lambda tx: find_report_keys(tx, chosen))
    if dry_run:
        return Replayed(len(keys), 0)
    await store.write(_audit(actor, "reports.replay", {"matched": len(keys), **_told(chosen)}, now))
    replayed = 0
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        replayed += await store.write(_bound(_revive(actor, now), chunk))
        progress(Replayed(len(keys), replayed))
    counts = {"matched": len(keys), "replayed": replayed}
    await store.write(lambda tx: audit.add_audit(tx, now, actor.name, "reports.replayed", counts))
    return Replayed(len(keys), replayed)


def _told(chosen: ReportFilter) -> dict[str, int | str]:
    """What was chosen, for the audit: how many ids, and the id where it is one; or the filter."""
    if chosen.keys is not None:
        one = {"id": report_id(*chosen.keys[0])} if len(chosen.keys) == 1 else {}
        return {"ids": len(chosen.keys), **one}
    by = {
        "gateway": chosen.gateway,
        "error": hide_addresses(chosen.error),
        "cause": hide_addresses(chosen.cause),
        "lane": chosen.lane,
        "since": "" if chosen.since is None else format_time(chosen.since),
    }
    return {name: value for name, value in by.items() if value}


def _revive(
    actor: Actor, now: Millis
) -> Callable[[Tx, list[tuple[bytes, Status]]], Coroutine[Any, Any, int]]:
    async def job(tx: Tx, keys: list[tuple[bytes, Status]]) -> int:
        revived = await reports.revive(tx, keys, now)
        for message_id, status in keys:
            await review.settle_subject(tx, report_subject(message_id, status), now)
            await messages.add_step(
                tx, message_id, now, "report_replayed", f"{status}: {actor.reason}", actor.name
            )
        return revived

    return job


def _replay_one(
    rules: Rules, item: ReviewItem, actor: Actor, now: Millis, *, resend: bool
) -> Callable[[Tx, Member], Coroutine[Any, Any, int]]:
    async def job(tx: Tx, member: Member) -> int:
        match item.kind:
            case Kind.UNKNOWN_SEND:
                return await _replay_send(tx, rules, member, actor, now, resend=resend)
            case Kind.SILENT:
                return await _replay_silent(tx, rules, item, member, actor, now)
            case Kind.DEAD_REPORT:
                key = (member.subject[:16], Status(member.subject[16:].decode()))
                return await _revive(actor, now)(tx, [key])
            case Kind.DEAD_FORWARD:
                return await _replay_forward(tx, member, now)
            case Kind.UNREADABLE:
                return await _replay_batch(tx, rules, member, now)
            case _:
                return await _replay_element(tx, rules, item, member, now)

    return job


async def _replay_send(
    tx: Tx, rules: Rules, member: Member, actor: Actor, now: Millis, *, resend: bool
) -> int:
    state = (await sends.states(tx, [member.subject])).get(member.subject)
    if state is None or state.phase != "review":
        return 0
    send = await sends.get_send(tx, member.subject)
    if resend and send is not None and send.erased:
        await sending.fail_erased(tx, rules, member.subject, state.provider, now)
    elif not resend:
        await messages.add_step(tx, member.subject, now, "lookup_again", actor.reason, actor.name)
        await tx.run("look_up_send", message_id=member.subject, due_at=now, lookups=0)
    else:
        await messages.add_step(tx, member.subject, now, "sent_again", actor.reason, actor.name)
        message = (await messages.load_messages(tx, [member.subject]))[member.subject]
        transition = advance(message.snapshot, State.QUEUED, rules.vocabulary)
        await save_transition(tx, message, transition, now, 0)
        await tx.run("requeue_send", message_id=member.subject, due_at=now, tries=0)
        max_age_ms = rules.gateway(message.gateway).max_age_ms
        await tx.run("renew_send", message_id=member.subject, expires_at=now + max_age_ms)
    await review.settle_subject(tx, member.subject, now)
    return 1


async def _replay_silent(
    tx: Tx, rules: Rules, item: ReviewItem, member: Member, actor: Actor, now: Millis
) -> int:
    """Asks the provider again how a message ended; one that cannot be asked has nothing to say."""
    message = (await messages.load_messages(tx, [member.subject])).get(member.subject)
    if message is not None and message.snapshot.state in silence.OPEN:
        provider = rules.providers.get(item.provider)
        if provider is None or not provider.asks or item.provider not in rules.silent_after():
            return 0
        await messages.add_step(tx, member.subject, now, "lookup_again", actor.reason, actor.name)
        await ask_again(tx, member.subject, item.provider, now)
    await review.settle_member(tx, item.id, member.subject, now)
    return 1


async def _replay_forward(tx: Tx, member: Member, now: Millis) -> int:
    revived = await forwards.revive(tx, forwards.read_subject(member.subject), now)
    await review.settle_subject(tx, member.subject, now)
    return int(revived)


async def _replay_batch(tx: Tx, rules: Rules, member: Member, now: Millis) -> int:
    """A body that could not be read: perhaps it can now, with a newer version."""
    batch = await inbox.get_batch(tx, member.batch_id or 0)
    if batch is None or isinstance(
        rules.providers[batch.provider].check_callback(batch.body), CallbackUnreadable
    ):
        return 0
    await review.settle_subject(tx, member.subject, now)
    await Applying(tx, rules, batch.provider, now).apply(list(arrived_elements(rules, batch)))
    await inbox.finish_batches(tx, [batch.id])
    return 1


async def _replay_element(tx: Tx, rules: Rules, item: ReviewItem, member: Member, now: Millis) -> int:
    batch = await inbox.get_batch(tx, member.batch_id or 0)
    if batch is None:
        return 0
    elements = list(arrived_elements(rules, batch))
    if member.position is not None:
        elements = elements[member.position : member.position + 1]
    await Applying(tx, rules, batch.provider, now).apply(elements)
    if await _still_open(tx, rules, batch.provider, item, member, elements):
        return 0
    await review.settle_member(tx, item.id, member.subject, now)
    return 1


async def _still_open(
    tx: Tx,
    rules: Rules,
    provider: str,
    item: ReviewItem,
    member: Member,
    elements: Sequence[tuple[inbox.Arrived, Element]],
) -> bool:
    """Whether it came to nothing again, for the same reason."""
    mapping = rules.mappings[provider]
    for _, element in elements:
        if isinstance(element, Malformed) or not mapping.knows(element.event, element.status):
            return True
    if item.kind is not Kind.ORPHAN:
        return False
    return await tx.one("orphan_raw", provider=provider, digest=member.subject) is not None


def _members_after(review_id: int, after: bytes) -> Callable[[Tx], Coroutine[Any, Any, list[Member]]]:
    return lambda tx: review.members(tx, review_id, after, _CHUNK)


def _bound(
    job: Callable[[Tx, Any], Coroutine[Any, Any, int]], value: Any
) -> Callable[[Tx], Coroutine[Any, Any, int]]:
    return lambda tx: job(tx, value)


def _audit(
    actor: Actor, action: str, detail: dict[str, Any], now: Millis
) -> Callable[[Tx], Coroutine[Any, Any, None]]:
    return lambda tx: audit.add_audit(tx, now, actor.name, action, {**detail, "reason": actor.reason})
