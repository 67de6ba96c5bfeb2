"""What is going on now: what waits and what failed (from the store), and whom the worker leaves alone.

Nothing here looks at rows one by one but those that wait or are dead, most of them in an index alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from bridge.core.model import Millis
from bridge.store import inbox
from bridge.store.tx import Row, Tx

__all__ = [
    "API_KEY_REFUSED",
    "DOWN",
    "HEADERS_REFUSED",
    "Conditions",
    "Counts",
    "HostState",
    "Outbox",
    "ProviderState",
    "Status",
    "count",
    "not_known_here",
]

# Why a host is left alone.
DOWN = "down"
API_KEY_REFUSED = "api_key refused"
HEADERS_REFUSED = "forward_headers refused"


class HostState(Struct, frozen=True):
    """A host that gets nothing now but a probe, and why. `next_try_at`: None while a probe is under way; a time that
    is past means that there is nothing to try it with."""

    host: str
    reason: str
    since: Millis
    next_try_at: Millis | None
    what: str


class ProviderState(Struct, frozen=True):
    """A provider, and whether it gets nothing now but a probe. `paused` None: not known, there is no worker here."""

    name: str
    adapter: str
    worker: bool = True
    paused: bool | None = None
    reason: str = ""
    since: Millis | None = None
    next_try_at: Millis | None = None


class Conditions(Struct, frozen=True):
    """What the worker of this process knows of its peers; others may fare otherwise."""

    providers: Sequence[ProviderState]
    hosts: Sequence[HostState]


class Outbox(Struct, frozen=True):
    """What is owed. `pending`: waits, of status reports the next one of each message. `retrying`: those of them that
    wait for a later attempt. `dead`: what was given up."""

    pending: int
    retrying: int
    dead: int


class Counts(Struct, frozen=True):
    """How much of what there was at `at`. `sends`: by gateway and phase; `review`: open items by kind.

    `inbox_oldest_at`: when the oldest callback came that is not understood yet. Of forwards those are dead that are
    under review.
    """

    at: Millis
    sends: dict[str, dict[str, int]]
    inbox_waiting: int
    inbox_oldest_at: Millis | None
    reports: Outbox
    forwards: Outbox
    review: dict[str, int]


class Status(Struct, frozen=True):
    """All of it; `role` is that of the process that answers."""

    role: str
    counts: Counts
    conditions: Conditions


def not_known_here(adapters: Mapping[str, str]) -> Conditions:
    """In a process without a worker: the providers (name and adapter) by name, and nothing of how they are."""
    return Conditions([ProviderState(name, each, worker=False) for name, each in adapters.items()], [])


async def count(tx: Tx, now: Millis, settle_ms: int) -> Counts:
    """Counts it. A report that waits for no more than `settle_ms` was not tried yet."""
    sends: dict[str, dict[str, int]] = {}
    for gateway, phase, number in await tx.all("count_sends"):
        sends.setdefault(gateway, {})[phase] = number
    waiting, oldest_at = await inbox.waiting(tx)
    reports = await tx.all("count_pending_reports", later=now + settle_ms)
    forwards = await tx.all("count_pending_forwards", later=now)
    return Counts(
        at=now,
        sends=sends,
        inbox_waiting=waiting,
        inbox_oldest_at=oldest_at,
        reports=_outbox([row[1::2] for row in reports], await tx.one("count_dead_reports")),
        forwards=_outbox([row[1:] for row in forwards], await tx.one("count_dead_forwards")),
        review=dict(await tx.all("count_reviews")),
    )


def _outbox(rows: Sequence[Row], dead: Row | None) -> Outbox:
    """Of rows of (pending, retrying)."""
    return Outbox(sum(row[0] for row in rows), sum(row[1] for row in rows), dead[0] if dead else 0)
