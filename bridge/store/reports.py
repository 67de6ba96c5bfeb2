"""The outbox of status reports. Of one message, at most one pending report has a due time: the oldest.

Functions over a `Tx`. A *lane* is `gateway@host` of the callback URL: its reports share a fate.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from bridge.core.model import MessageId, Millis, Status
from bridge.store.tx import Row, Tx, distinct

__all__ = [
    "DueReport",
    "Settlement",
    "due_reports",
    "follow_up",
    "lanes",
    "let_go",
    "next_due",
    "pending",
    "release",
    "renew",
    "revive",
    "settle",
]


class DueReport(Struct, frozen=True):
    """A status report that may go out now. `retries`, `refusals` and `not_founds` count its failed attempts; since when
    it is leased to this process says `since`, in seconds of `bridge.store.leases.steady`. `received_at`: when
    the callback came that made it owed, as far as one did."""

    message_id: MessageId
    status: Status
    seq: int
    due_at: Millis
    owed_at: Millis
    attempts: int
    retries: int
    refusals: int
    not_founds: int
    lane: str
    gateway: str
    type: str
    callback_url: str
    received_at: Millis | None = None
    since: float = 0.0

    def __repr__(self) -> str:
        return f"<DueReport {self.message_id.hex()} {self.status}>"


class Settlement(Struct, frozen=True):
    """What an attempt came to: done, dead (both final, `due_at` None), or pending again at `due_at`.

    `attempts` is 1, or 0 where the attempt does not count.
    """

    message_id: MessageId
    status: Status
    state: str
    due_at: Millis | None
    attempts: int
    retries: int
    refusals: int
    not_founds: int
    latency_ms: int | None
    last_error: str | None


async def due_reports(tx: Tx, lane: str, now: Millis, limit: int) -> list[DueReport]:
    """The reports of a lane that are due, the longest due first. They are claimed."""
    rows = await tx.all("due_reports", lane=lane, now=now, limit=limit)
    if tx.shared:
        await tx.any_of("lease_reports", [row[0] for row in rows])
    return [_due(tx, row) for row in rows]


async def next_due(tx: Tx, lane: str, after: Millis) -> Millis | None:
    """When the first report of a lane is due of those that are not due yet."""
    row = await tx.one("next_report_due", lane=lane, after=after)
    return row[0] if row else None


async def lanes(tx: Tx) -> list[str]:
    """Every lane that has a report to send, now or later. One index step a lane, however many reports."""
    return await distinct(tx, "next_lane")


async def pending(tx: Tx, message_ids: Sequence[MessageId]) -> set[tuple[MessageId, Status]]:
    """The reports of these messages that are pending."""
    rows = await tx.any_of("pending_statuses", message_ids)
    return {(message_id, Status(status)) for message_id, status in rows}


async def renew(tx: Tx, message_ids: Sequence[MessageId]) -> set[MessageId]:
    """The due reports of these messages are under way here; gives those that nobody else has taken over."""
    return {row[0] for row in await tx.any_of("renew_reports", message_ids)}


async def let_go(tx: Tx, message_ids: Sequence[MessageId]) -> None:
    """The due reports of these messages may be claimed by others."""
    await tx.any_of("let_go_reports", message_ids)


async def settle(tx: Tx, settlements: Sequence[Settlement], now: Millis) -> list[Row]:
    """Stores what the attempts came to, and lets the next report of each finished message go: see `release`."""
    settlements = sorted(settlements, key=_key)  # everybody locks rows in this order
    if tx.shared:
        await pending(tx, sorted({each.message_id for each in settlements}))
    finished = [each for each in settlements if each.state != "pending"]
    await tx.run_many("finish_report", [_finish_values(each, now) for each in finished])
    await tx.run_many(
        "postpone_report", [_postpone_values(each) for each in settlements if each.state == "pending"]
    )
    return await release(tx, [each.message_id for each in finished], now)


async def release(tx: Tx, message_ids: Sequence[MessageId], now: Millis) -> list[Row]:
    """Makes the oldest waiting report of each message due, unless one of the message is due already.

    On a shared database the pending ones were locked before: who adds or releases one of these messages waits. Gives
    the first nine fields of a `DueReport` for each, and `received_at`.
    """
    return await tx.any_of("release_reports", sorted(set(message_ids)), now=now)


async def revive(tx: Tx, keys: Sequence[tuple[MessageId, Status]], now: Millis) -> int:
    """Makes dead reports pending again, their counts forgotten; says how many were dead.

    Those of one message go out in the order in which they were owed, whatever the order of the keys.
    """
    ids = sorted({message_id for message_id, _ in keys})
    if tx.shared:
        await tx.any_of("load_messages", ids)  # nobody adds a report now
        await pending(tx, ids)
    revived = 0
    for message_id, status in sorted(keys):
        revived += await tx.run("revive_report", message_id=message_id, status=status, now=now)
    await release(tx, ids, now)
    return revived


def follow_up(row: Row, before: DueReport, since: float) -> DueReport:
    """The report that `release` let go after `before`, of the same message."""
    *first, received_at = row
    own = dict(zip(DueReport.__struct_fields__, first, strict=False))
    return replace(before, **own | {"status": Status(row[1]), "received_at": received_at, "since": since})


def _due(tx: Tx, row: Row) -> DueReport:
    values = dict(zip(DueReport.__struct_fields__, row, strict=False))
    opened = tx.vault.open_text(values["callback_url"])
    return DueReport(
        **values | {"status": Status(values["status"]), "callback_url": opened, "since": tx.began}
    )


def _key(each: Settlement) -> tuple[MessageId, Status]:
    return each.message_id, each.status


def _finish_values(each: Settlement, now: Millis) -> dict[str, object]:
    return {
        "message_id": each.message_id,
        "status": each.status,
        "state": each.state,
        "attempts": each.attempts,
        "finished_at": now,
        "latency_ms": each.latency_ms,
        "last_error": each.last_error,
    }


def _postpone_values(each: Settlement) -> dict[str, object]:
    return {
        "message_id": each.message_id,
        "status": each.status,
        "due_at": each.due_at,
        "attempts": each.attempts,
        "retries": each.retries,
        "refusals": each.refusals,
        "not_founds": each.not_founds,
        "last_error": each.last_error,
    }
