"""Review items: what only a person can settle, grouped by cause. Functions over a `Tx`.

An item has *members*, the things that stand behind it; when the last one is settled, the item is resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from bridge.core.model import Millis
from bridge.store.tx import Row, Tx

__all__ = [
    "Kind",
    "Member",
    "ReviewItem",
    "add_to_review",
    "close_review",
    "drop_member",
    "get_review",
    "list_reviews",
    "members",
    "settle_member",
    "settle_subject",
    "settle_subjects",
]


class Kind(StrEnum):
    """Why a person has to look."""

    UNMAPPED = "unmapped"  # an event or status that the mapping table does not know
    MALFORMED = "malformed"  # an element that cannot be read
    UNREADABLE = "unreadable"  # a whole body that cannot be read
    ORPHAN = "orphan"  # an element whose message is not known after a while
    UNKNOWN_SEND = "unknown_send"  # perhaps sent, and the provider has no trace of it
    SILENT = "silent"  # the provider took it, and no final status came, nor does it know one when asked
    DEAD_REPORT = "dead_report"  # a status report that used up its schedule
    DEAD_FORWARD = "dead_forward"  # something that could not be passed on to the operator's API


class Member(Struct, frozen=True):
    """One thing behind an item. `batch_id` and `position` say where its bytes are, for elements."""

    subject: bytes
    batch_id: int | None = None
    position: int | None = None


class ReviewItem(Struct, frozen=True):
    """One cause. `sample` is one example, in the clear: mask it before it is shown. `count`: members that are open."""

    id: int
    kind: Kind
    cause: str
    provider: str
    state: str
    first_at: Millis
    last_at: Millis
    sample: str
    count: int


async def add_to_review(
    tx: Tx, kind: Kind, cause: str, member: Member, *, provider: str, sample: str, at: Millis
) -> None:
    """Puts one thing under review, beside those with the same cause."""
    row = await tx.one(
        "open_review", kind=kind, cause=cause, provider=provider, at=at, sample=tx.vault.seal_text(sample)
    )
    assert row is not None
    await tx.run(
        "add_member",
        review_id=row[0],
        subject=member.subject,
        batch_id=member.batch_id,
        position=member.position,
    )


async def settle_subject(tx: Tx, subject: bytes, at: Millis) -> None:
    """Takes one thing out of review; items that have nothing left are resolved."""
    ids = [review_id for (review_id,) in await tx.all("reviews_of_subject", subject=subject)]
    await _lock(tx, ids)
    if ids:
        await tx.run("delete_member", subject=subject)
    for review_id in ids:
        await _resolve_if_empty(tx, review_id, at)


async def settle_subjects(tx: Tx, subjects: Sequence[bytes], at: Millis) -> None:
    """Takes many things out of review; of most of them nothing is there."""
    for (subject,) in await tx.any_of("subjects_in_review", subjects):
        await settle_subject(tx, subject, at)


async def settle_member(tx: Tx, review_id: int, subject: bytes, at: Millis) -> None:
    """Takes one thing out of one item, which is resolved when nothing is left."""
    await _lock(tx, [review_id])
    await drop_member(tx, review_id, subject)
    await _resolve_if_empty(tx, review_id, at)


async def _lock(tx: Tx, review_ids: Sequence[int]) -> None:
    """Whoever adds a member, or takes the last but one out, waits: nobody may judge the item by what it was."""
    if tx.shared:
        await tx.any_of("lock_reviews", review_ids)


async def _resolve_if_empty(tx: Tx, review_id: int, at: Millis) -> None:
    if await tx.one("has_members", review_id=review_id) is None:
        await tx.run("settle_review", id=review_id, state="resolved", actor="", note="", at=at)


async def drop_member(tx: Tx, review_id: int, subject: bytes) -> None:
    """Takes one thing out of one item, which stays as it is."""
    await tx.run("delete_one_member", review_id=review_id, subject=subject)


async def close_review(tx: Tx, review_id: int, actor: str, note: str, at: Millis) -> bool:
    """Dismisses an item with a note, unless something stands behind it now; says whether it was open until then."""
    await _lock(tx, [review_id])
    if await tx.one("has_members", review_id=review_id) is not None:
        return False
    return await tx.run("settle_review", id=review_id, state="dismissed", actor=actor, note=note, at=at) > 0


async def get_review(tx: Tx, review_id: int) -> ReviewItem | None:
    if not 0 < review_id < 2**63:  # whoever asks may write any number
        return None
    row = await tx.one("get_review", id=review_id)
    return _item(tx, row) if row else None


async def list_reviews(tx: Tx, before: int, limit: int) -> list[ReviewItem]:
    """Open items, newest first."""
    return [_item(tx, row) for row in await tx.all("list_reviews", before=before, limit=limit)]


async def members(tx: Tx, review_id: int, after: bytes = b"", limit: int = 1000) -> list[Member]:
    """The things behind an item, in the order of their subjects."""
    return [Member(*row) for row in await tx.all("members_of", review_id=review_id, after=after, limit=limit)]


def _item(tx: Tx, row: Row) -> ReviewItem:
    id_, kind, cause, provider, state, first_at, last_at, sample, count = row
    return ReviewItem(
        id_, Kind(kind), cause, provider, state, first_at, last_at, tx.vault.open_text(sample), count
    )
