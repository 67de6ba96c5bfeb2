"""A clock that leapt: what follows for what is stored.

The time at which the service works is noted in the database. Where it has gone back since, what waits for a later time
would wait too long, and is brought forward. Where it is more than a day ahead of the note, either nothing ran for so
long, or the clock is wrong: then nothing is pruned for a day, so that somebody can see to it before anything is gone.
"""

from __future__ import annotations

from msgspec import Struct

from bridge.core.model import Millis
from bridge.store import reports
from bridge.store.tx import Store, Tx

__all__ = ["AHEAD_MS", "BACK_MS", "Noted", "bring_forward", "note_time"]

BACK_MS = 10_000  # less is no leap
AHEAD_MS = 86_400_000
_SEEN, _REST = "time_seen", "prune_from"
_AT_ONCE = 500  # reports in one transaction


class Noted(Struct, frozen=True):
    """By how much the clock has leapt since the last note, and until when nothing may be pruned (0: it may)."""

    back: Millis
    ahead: Millis
    prune_from: Millis


async def note_time(store: Store, now: Millis) -> Noted:
    """Notes that it is now."""

    async def job(tx: Tx) -> Noted:
        seen = await _get(tx, _SEEN)
        rests_until = await _get(tx, _REST) or 0
        ahead = 0 if seen is None or now - seen <= AHEAD_MS else now - seen
        if ahead:
            rests_until = now + AHEAD_MS
            await _set(tx, _REST, rests_until)
        await _set(tx, _SEEN, now)
        back = 0 if seen is None or seen - now <= BACK_MS else seen - now
        # Further away it was set by a clock that has gone back since.
        return Noted(back, ahead, rests_until if now < rests_until <= now + AHEAD_MS else 0)

    return await store.write(job)


async def bring_forward(store: Store, now: Millis, by: Millis) -> None:
    """What waits for a later time waits that much less. In portions; what becomes due together stays spread."""

    async def outboxes(tx: Tx) -> None:
        await tx.run("hasten_sends", now=now, by=by)
        await tx.run("hasten_lookups", now=now, by=by)
        await tx.run("hasten_forwards", now=now, by=by)

    await store.write(outboxes)
    for lane in await store.search(reports.lanes):
        after: Millis | None = now
        while after is not None:
            after = await _bring_some_forward(store, lane, after, now, by)


async def _bring_some_forward(
    store: Store, lane: str, after: Millis, now: Millis, by: Millis
) -> Millis | None:
    """The next reports behind `after`, in the order of their times: those that were moved come to lie before it."""

    async def job(tx: Tx) -> Millis | None:
        rows = await tx.all("later_reports", lane=lane, after=after, limit=_AT_ONCE)
        if not rows:
            return None
        until: Millis = rows[-1][0]
        await tx.run("hasten_reports", lane=lane, after=after, until=until, now=now, by=by)
        return until

    return await store.write(job)


async def _get(tx: Tx, key: str) -> Millis | None:
    row = await tx.one("get_meta", key=key)
    return int(row[0]) if row else None


async def _set(tx: Tx, key: str, at: Millis) -> None:
    await tx.run("set_meta", key=key, value=str(at).encode())
