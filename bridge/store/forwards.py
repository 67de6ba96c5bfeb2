"""The outbox of what is passed on to the operator's own API. Functions over a `Tx`.

Of one key (the user or handset that it is about) at most one pending forward of a kind has a due time, which a unique
index guards: the oldest. The others wait until it is done or dead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from bridge.core.model import Millis
from bridge.store.tx import Tx

__all__ = [
    "COMMUNICATION",
    "INBOUND",
    "DueForward",
    "Settlement",
    "Shown",
    "add_forward",
    "due",
    "forget",
    "next_due",
    "of_sources",
    "pending",
    "read_subject",
    "revive",
    "settle",
    "subject_of",
]

COMMUNICATION = "communication"
INBOUND = "inbound"
_SUBJECT = b"forward:"


class DueForward(Struct, frozen=True):
    """What may go out now. `retries` counts its failed attempts, of which there may be more (`attempts`)."""

    id: int
    kind: str
    source: str
    key: str
    due_at: Millis
    owed_at: Millis
    attempts: int
    retries: int
    payload: bytes

    def __repr__(self) -> str:
        return f"<DueForward {self.id} {self.kind}>"


class Settlement(Struct, frozen=True):
    """What an attempt came to: done, dead (both final, `due_at` None), or pending again at `due_at`.

    `attempts` is 1, or 0 where the attempt does not count.
    """

    id: int
    kind: str
    source: str
    key: str
    state: str
    due_at: Millis | None
    attempts: int
    retries: int
    latency_ms: int | None
    last_error: str | None

    def __repr__(self) -> str:
        return f"<Settlement {self.id} {self.kind} {self.state}>"


class Shown(Struct, frozen=True):
    """How far a forward is, for people."""

    state: str
    attempts: int
    due_at: Millis | None
    last_error: str | None


async def add_forward(tx: Tx, kind: str, source: str, key: str, payload: bytes, now: Millis) -> None:
    """Makes something owed to the operator's API, behind what waits there for the same key.

    `kind`: COMMUNICATION or INBOUND. `source` names what is passed on within its kind, for ever: the receiver tells
    repeats by it. `payload`: the JSON body of the request.
    """
    row = {"kind": kind, "source": source, "key": key, "payload": tx.vault.seal(payload), "now": now}
    first = await tx.one("add_forward", **row)
    if first is None or first[0] != source:
        await tx.run("add_waiting_forward", **row)


async def due(
    tx: Tx, kind: str, now: Millis, limit: int, under_way: Collection[int] = (), longer: Millis = 0
) -> list[DueForward]:
    """What is due and not `under_way` here (ids), the longest due first. They are claimed, where others share the
    database: for `longer` milliseconds beyond the usual lease."""
    rows = await tx.all("due_forwards", kind=kind, now=now, limit=limit + len(under_way))
    chosen = [row for row in rows if row[0] not in under_way][:limit]
    ids = [row[0] for row in chosen]
    if tx.shared:
        await tx.any_of("lease_forwards", ids, longer=longer)
    payloads = {id_: tx.vault.open(sealed) for id_, sealed in await tx.any_of("forward_payloads", ids)}
    return [DueForward(*(*row, payloads[row[0]])) for row in chosen]


async def next_due(tx: Tx, kind: str, after: Millis) -> Millis | None:
    """When the first one is due of those that are not due yet."""
    row = await tx.one("next_forward_due", kind=kind, after=after)
    return row[0] if row else None


async def pending(tx: Tx, ids: Sequence[int]) -> set[tuple[int, str]]:
    """Those that are pending, with their sources. Where others share the database, they are locked."""
    return set(await tx.any_of("pending_forwards", ids))


async def settle(tx: Tx, settlements: Iterable[Settlement], now: Millis) -> None:
    """Stores what attempts came to, and lets the next one of each finished key go."""
    for each in sorted(
        settlements, key=lambda each: (each.key, each.kind, each.id)
    ):  # everybody in this order
        match each.state:
            case "done":
                await _finish(tx, each, now)
            case "dead":
                await _bury(tx, each, now)
            case _:
                await _postpone(tx, each)
        if each.due_at is None:
            await tx.run("release_forward", key=each.key, kind=each.kind, now=now)


async def _finish(tx: Tx, each: Settlement, now: Millis) -> None:
    await tx.run(
        "finish_forward",
        id=each.id,
        source=each.source,
        attempts=each.attempts,
        finished_at=now,
        latency_ms=each.latency_ms,
        nothing=b"",
    )


async def _bury(tx: Tx, each: Settlement, now: Millis) -> None:
    await tx.run(
        "bury_forward",
        id=each.id,
        source=each.source,
        attempts=each.attempts,
        finished_at=now,
        last_error=each.last_error,
    )


async def _postpone(tx: Tx, each: Settlement) -> None:
    await tx.run(
        "postpone_forward",
        id=each.id,
        source=each.source,
        due_at=each.due_at,
        attempts=each.attempts,
        retries=each.retries,
        last_error=each.last_error,
    )


async def revive(tx: Tx, id_: int, now: Millis) -> bool:
    """Makes a dead one pending again, its retries forgotten; says whether it was dead."""
    row = await tx.one("get_forward", id=id_)
    if row is None or not await tx.run("revive_forward", id=id_, now=now):
        return False
    kind, key = row
    # Whoever finishes the one that is due may not see what was revived: then it is for us to let the next one go.
    while await tx.one("due_forward_of_key", key=key, kind=kind) is None:
        if await tx.run("release_forward", key=key, kind=kind, now=now):
            break
    return True


async def of_sources(tx: Tx, kind: str, sources: Sequence[str]) -> dict[str, Shown]:
    """How far the forwards of these sources are; of several with one source the newest."""
    rows = await tx.any_of("forwards_of_sources", sources, kind=kind)
    return {source: Shown(*rest) for source, *rest in rows}


async def forget(tx: Tx, kind: str, key: str) -> list[bytes]:
    """Deletes all of a key, whatever its state; gives what stands for them in review items."""
    forgotten: list[bytes] = []
    # Who adds one waits for the one that is due; so one that came while we waited for it is found the next time.
    while rows := await tx.all("forget_forwards", kind=kind, key=key):
        forgotten += [subject_of(id_) for (id_,) in sorted(rows)]
    return forgotten


def subject_of(id_: int) -> bytes:
    """What stands for a forward among the members of a review item; in the order of the ids."""
    return _SUBJECT + id_.to_bytes(8, "big")


def read_subject(subject: bytes) -> int:
    """The id that `subject_of` wrote."""
    return int.from_bytes(subject.removeprefix(_SUBJECT), "big")
