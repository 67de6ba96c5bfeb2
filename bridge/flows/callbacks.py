"""Callbacks: keep what a provider posts before it is understood; understand what was kept.

`Receiving` commits the body as it came, and only then may the provider be told so. `process` turns bodies into
transitions, many in one transaction; a body on which our own code fails is kept for review and holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import structlog
from msgspec import Struct

from bridge.core.model import Element, Millis
from bridge.errors import StoreError
from bridge.flows.applying import Applying, adopt_orphans, arrived_elements
from bridge.flows.rules import Rules
from bridge.flows.samples import sample_of
from bridge.flows.sending import prove
from bridge.providers.protocol import CallbackUnreadable
from bridge.store import inbox, review
from bridge.store.inbox import Arrived, Batch, NewBody
from bridge.store.reports import DueReport
from bridge.store.review import Kind, Member
from bridge.store.together import Together
from bridge.store.tx import Job, Store, Tx

__all__ = ["ORPHAN_AFTER_MS", "PART", "Receiving", "adopt_stragglers", "process", "review_old_orphans"]

Reported = Callable[[Sequence[DueReport]], None]

ORPHAN_AFTER_MS = 15 * 60 * 1000
PART = 200  # elements in one transaction: about ten milliseconds of the event loop
_log = structlog.get_logger()


class Receiving:
    """Keeps bodies, those of the same moment together."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self._rules = rules
        self._together = Together(store, _keep_all)

    async def receive(self, provider: str, body: bytes, now: Millis) -> int | CallbackUnreadable:
        """Keeps a body durably; gives the number of new elements in it (0: it was known), or why it is unreadable.

        Raises StoreError when it cannot be kept: the provider must be told to repeat it.
        """
        checked = self._rules.providers[provider].check_callback(body)
        known = await self._together.add(_Received(provider, body, checked, now))
        return 0 if known else checked


class _Received(Struct, frozen=True):
    """One body, and its number of elements or why it is unreadable."""

    provider: str
    body: bytes
    checked: int | CallbackUnreadable
    at: Millis


async def _keep_all(tx: Tx, received: Sequence[_Received]) -> list[bool]:
    """Says of each readable body whether it was known."""
    new: list[NewBody] = []
    for each in received:
        if isinstance(each.checked, CallbackUnreadable):
            await _keep_unreadable(tx, each.provider, each.body, each.checked.reason, each.at)
        else:
            new.append(NewBody(each.provider, each.body, each.checked, each.at))
    known = iter(await inbox.add_batches(tx, new))
    return [not isinstance(each.checked, CallbackUnreadable) and next(known) for each in received]


async def _keep_unreadable(tx: Tx, provider: str, body: bytes, reason: str, now: Millis) -> None:
    batch_id = await inbox.add_batch(tx, provider, body, 0, now, inbox.UNREADABLE)
    if batch_id is None:
        return
    await review.add_to_review(
        tx,
        Kind.UNREADABLE,
        reason,
        Member(inbox.element_digest(provider, body, None), batch_id),
        provider=provider,
        sample=sample_of(body),
        at=now,
    )


async def process(
    store: Store, rules: Rules, batches: Sequence[Batch], now: Millis, reported: Reported
) -> None:
    """Applies waiting bodies, all in one transaction; a body with very many elements by itself, in parts.

    `reported` gets the reports that are due next, after each commit. Raises StoreError when the database cannot be
    used; everything else is a bug of ours, which costs the one body.
    """
    try:
        if len(batches) == 1 and batches[0].elements > PART:
            await _process_in_parts(store, rules, batches[0], now, reported)
        else:
            reported(await store.write(lambda tx: _apply_batches(tx, rules, batches, now)))
    except StoreError:
        raise
    except Exception as error:
        if len(batches) == 1:
            await _process_by_element(store, rules, batches[0], now, error, reported)
            return
        for batch in batches:
            await process(store, rules, [batch], now, reported)


async def _process_in_parts(
    store: Store, rules: Rules, batch: Batch, now: Millis, reported: Reported
) -> None:
    """So that nobody else waits for long. After a crash it begins anew, and what was applied changes nothing."""
    elements = arrived_elements(rules, batch)
    news: set[int] = set()
    while part := list(islice(elements, PART)):
        due, new = await store.write(_apply_part(rules, batch, part, now))
        reported(due)
        news |= new
    await store.write(lambda tx: inbox.finish_batches(tx, [batch.id], news))


def _apply(
    rules: Rules, provider: str, elements: Sequence[tuple[Arrived, Element]], now: Millis
) -> Job[list[DueReport]]:
    async def job(tx: Tx) -> list[DueReport]:
        due, _ = await _apply_elements(tx, rules, provider, elements, now)
        return due

    return job


async def _apply_elements(
    tx: Tx, rules: Rules, provider: str, elements: Sequence[tuple[Arrived, Element]], now: Millis
) -> tuple[list[DueReport], set[int]]:
    """The reports that are due next, and the batches in which anything was new."""
    applying = Applying(tx, rules, provider, now)
    due = await applying.apply(elements)
    return due + await prove(tx, rules, provider, applying.orphaned, now), applying.news


def _apply_part(
    rules: Rules, batch: Batch, part: Sequence[tuple[Arrived, Element]], now: Millis
) -> Job[tuple[list[DueReport], set[int]]]:
    async def job(tx: Tx) -> tuple[list[DueReport], set[int]]:
        if tx.shared:
            await inbox.renew(tx, [batch.id])
        return await _apply_elements(tx, rules, batch.provider, part, now)

    return job


async def _apply_batches(tx: Tx, rules: Rules, batches: Sequence[Batch], now: Millis) -> list[DueReport]:
    due: list[DueReport] = []
    news: set[int] = set()
    for provider in dict.fromkeys(batch.provider for batch in batches):
        elements: list[tuple[Arrived, Element]] = []
        for batch in batches:
            if batch.provider == provider:
                elements += arrived_elements(rules, batch)
        now_due, new = await _apply_elements(tx, rules, provider, elements, now)
        due += now_due
        news |= new
    await inbox.finish_batches(tx, [batch.id for batch in batches], news)
    return due


async def _process_by_element(
    store: Store, rules: Rules, batch: Batch, now: Millis, error: Exception, reported: Reported
) -> None:
    _log.error(
        "callback batch failed; its elements are tried one by one", batch=batch.id, error=type(error).__name__
    )
    try:
        elements = list(arrived_elements(rules, batch))
    except Exception as failure:
        whole = Member(inbox.element_digest(batch.provider, batch.body, None), batch.id)
        await _keep_failed(store, batch, whole, batch.body, failure, now)
        elements = []
    for arrived, element in elements:
        try:
            reported(await store.write(_apply(rules, batch.provider, [(arrived, element)], now)))
        except StoreError:
            raise
        except Exception as failure:
            member = Member(arrived.digest, arrived.batch_id, arrived.position)
            await _keep_failed(store, batch, member, arrived.raw, failure, now)
    await store.write(lambda tx: inbox.finish_batches(tx, [batch.id]))


async def _keep_failed(
    store: Store, batch: Batch, member: Member, raw: bytes, failure: Exception, now: Millis
) -> None:
    """Our own error on hostile or unforeseen input: the input is kept for a person, and for a replay when mended."""
    _log.error(
        "callback element failed", batch=batch.id, position=member.position, error=type(failure).__name__
    )
    await store.write(
        lambda tx: review.add_to_review(
            tx,
            Kind.MALFORMED,
            f"the bridge failed on it ({type(failure).__name__})",
            member,
            provider=batch.provider,
            sample=sample_of(raw),
            at=now,
        )
    )


async def adopt_stragglers(
    store: Store, rules: Rules, now: Millis, reported: Reported, limit: int = 1000
) -> int:
    """Adopts orphans whose message is known after all. Says of how many provider ids.

    Only where several processes share the database: of two transactions at the same moment, one that keeps an element
    of an unknown message and one that learns the message's provider id, neither sees the other.
    """
    rows = await store.search(lambda tx: tx.all("stragglers", limit=limit))
    for provider in sorted({provider for provider, _ in rows} & set(rules.providers)):
        roots = [root for name, root in rows if name == provider]
        reported(await store.write(_adopt(rules, provider, roots, now)))
    return sum(provider in rules.providers for provider, _ in rows)


def _adopt(rules: Rules, provider: str, roots: Sequence[str], now: Millis) -> Job[list[DueReport]]:
    return lambda tx: adopt_orphans(tx, rules, provider, roots, now)


async def review_old_orphans(store: Store, now: Millis, limit: int = 1000) -> int:
    """Shows orphans older than 15 minutes under review as well; they can still be adopted. Says how many."""

    async def job(tx: Tx) -> int:
        rows = await tx.all("old_orphans", until=now - ORPHAN_AFTER_MS, limit=limit)
        for provider, root, digest, batch_id, position, raw, received_at in rows:
            await review.add_to_review(
                tx,
                Kind.ORPHAN,
                "no message with this provider id is known",
                Member(digest, batch_id, position),
                provider=provider,
                sample=sample_of(tx.vault.open(raw)),
                at=received_at,
            )
            await tx.run("mark_orphan", provider=provider, root=root, digest=digest)
        return len(rows)

    return await store.write(job)
