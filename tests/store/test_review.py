"""Review items: one for a cause, with everything that stands behind it, resolved when the last of that is settled."""

from __future__ import annotations

import asyncio
from functools import partial

from bridge.store import review
from bridge.store.review import Kind, Member, ReviewItem
from bridge.store.tx import Store

NOW = 1_795_234_921_250


async def add(
    store: Store,
    subject: bytes,
    *,
    cause: str = "seen/unknown",
    kind: Kind = Kind.UNMAPPED,
    provider: str = "revicom",
    sample: str = "{}",
    at: int = NOW,
) -> None:
    await store.write(
        lambda tx: review.add_to_review(
            tx, kind, cause, Member(subject, 1, 2), provider=provider, sample=sample, at=at
        )
    )


async def open_items(store: Store, *, before: int = 2**62, limit: int = 100) -> list[ReviewItem]:
    return await store.read(lambda tx: review.list_reviews(tx, before, limit))


async def settle(store: Store, subject: bytes) -> None:
    await store.write(lambda tx: review.settle_subject(tx, subject, NOW + 99))


async def test_things_with_one_cause_are_one_item(store: Store) -> None:
    """Ten thousand elements of one cause are one line, with a count, the first sample and both times."""
    for number in range(30):
        await add(store, b"subject-%02d" % number, sample=f"sample {number}", at=NOW + (number * 7) % 30)
    (item,) = await open_items(store)
    assert (item.kind, item.cause, item.provider) == (Kind.UNMAPPED, "seen/unknown", "revicom")
    assert (item.count, item.sample, item.state) == (30, "sample 0", "open")
    assert (item.first_at, item.last_at) == (NOW, NOW + 29)


async def test_other_causes_are_other_items(store: Store) -> None:
    """Cause, kind and provider tell items apart; the newest item comes first."""
    await add(store, b"s")
    await add(store, b"s", cause="other")
    await add(store, b"s", kind=Kind.MALFORMED)
    await add(store, b"s", provider="another")
    items = await open_items(store)
    assert [(item.cause, item.kind, item.provider) for item in items] == [
        ("seen/unknown", Kind.UNMAPPED, "another"),
        ("seen/unknown", Kind.MALFORMED, "revicom"),
        ("other", Kind.UNMAPPED, "revicom"),
        ("seen/unknown", Kind.UNMAPPED, "revicom"),
    ]


async def test_the_same_thing_again_counts_once(store: Store) -> None:
    """A thing that comes under review again is no second one, but the item was seen later."""
    await add(store, b"subject")
    await add(store, b"subject", at=NOW + 5)
    await add(store, b"subject", at=NOW - 5)
    (item,) = await open_items(store)
    assert (item.count, item.last_at) == (1, NOW + 5)


async def test_an_item_is_resolved_with_its_last_member(store: Store) -> None:
    """Each settled thing is counted no more; with the last one the item is resolved and no longer listed."""
    for subject in (b"a", b"b"):
        await add(store, subject)
    await settle(store, b"nobody")
    await settle(store, b"a")
    (item,) = await open_items(store)
    assert item.count == 1
    await settle(store, b"a")
    await settle(store, b"b")
    assert await open_items(store) == []
    settled = await store.read(lambda tx: review.get_review(tx, item.id))
    assert settled is not None
    assert (settled.state, settled.count, settled.last_at) == ("resolved", 0, NOW + 99)


async def test_a_thing_behind_two_items(store: Store) -> None:
    """One thing under review for two reasons is settled in both."""
    await add(store, b"a")
    await add(store, b"a", kind=Kind.ORPHAN)
    await add(store, b"b", kind=Kind.ORPHAN)
    await settle(store, b"a")
    assert [(item.kind, item.count) for item in await open_items(store)] == [(Kind.ORPHAN, 1)]


async def test_dismissing(store: Store) -> None:
    """An open item is closed once, with its note, and only when nothing stands behind it any more."""
    await add(store, b"a")
    (item,) = await open_items(store)
    assert not await store.write(lambda tx: review.close_review(tx, item.id, "alice", "too early", NOW + 1))
    assert await open_items(store) == [item]
    await store.write(lambda tx: review.drop_member(tx, item.id, b"a"))
    assert await store.write(lambda tx: review.close_review(tx, item.id, "alice", "known", NOW + 1))
    assert not await store.write(lambda tx: review.close_review(tx, item.id, "bob", "again", NOW + 2))
    assert not await store.write(lambda tx: review.close_review(tx, item.id + 1, "bob", "none", NOW + 2))
    rows = await store.read(lambda tx: tx.select("SELECT state, settled_by, note FROM review_items", ()))
    assert rows == [("dismissed", "alice", "known")]
    assert await store.read(lambda tx: review.members(tx, item.id)) == []
    await settle(store, b"a")
    assert (await store.read(lambda tx: tx.select("SELECT state FROM review_items", ()))) == [("dismissed",)]


async def test_a_cause_that_returns(store: Store) -> None:
    """After an item was dismissed or resolved, the same cause opens a new one, and the old one stays as it was."""
    await add(store, b"a")
    (first,) = await open_items(store)
    await store.write(lambda tx: review.drop_member(tx, first.id, b"a"))
    assert await store.write(lambda tx: review.close_review(tx, first.id, "alice", "", NOW))
    await add(store, b"b", at=NOW + 50)
    (second,) = await open_items(store)
    assert (second.count, second.first_at) == (1, NOW + 50)
    await settle(store, b"b")
    await add(store, b"c")
    (third,) = await open_items(store)
    assert len({first.id, second.id, third.id}) == 3


async def test_members_page_by_page(store: Store) -> None:
    """Members come in the order of their subjects, each once, with the place of their bytes."""
    subjects = [bytes([number]) * 16 for number in range(10)]
    await asyncio.gather(*(add(store, subject) for subject in reversed(subjects)))
    (item,) = await open_items(store)
    found, after = list[Member](), b""
    while page := await store.read(partial(review.members, review_id=item.id, after=after, limit=3)):
        found += page
        after = page[-1].subject
    assert found == [Member(subject, 1, 2) for subject in subjects]


async def test_items_page_by_page(store: Store) -> None:
    """The list goes on before the last id of a page, and ends."""
    for number in range(5):
        await add(store, b"a", cause=f"cause {number}")
    first = await open_items(store, limit=3)
    rest = await open_items(store, before=first[-1].id, limit=3)
    assert [item.cause for item in first + rest] == [f"cause {number}" for number in (4, 3, 2, 1, 0)]


async def test_items_are_counted_by_kind(store: Store) -> None:
    """Open items are counted by kind, however many things stand behind them."""
    for subject in (b"a", b"b"):
        await add(store, subject)
    await add(store, b"c", kind=Kind.ORPHAN)
    await add(store, b"d", kind=Kind.MALFORMED)
    await settle(store, b"d")
    counts = await store.read(lambda tx: tx.all("count_reviews"))
    assert sorted(counts) == [("orphan", 1), ("unmapped", 1)]
