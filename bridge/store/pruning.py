"""What may be deleted because it is old. Functions over a `Tx`: `find` looks, in the order of a key; `delete` deletes.

The rules, a kind each; `until`s are moments, and what is not older than one stays:

* texts: of messages that left the outbox; their age is that of the message.
* bodies: raw callback bodies that were understood, where they go before their batch; `batches` says which are needed.
* batches: those that are done or unreadable. One stays, with its body, while a member of a review item refers to it (a
  replay reads it there) or an orphan does that is not under review yet. An orphan whose review item was dismissed needs
  no batch: it has its own bytes.
* messages, with everything that belongs to them: texts, provider ids, callbacks, reports, steps, inbound messages that
  answer them, their row among the silent ones. A message stays while it is in the outbox, has a report that is pending
  or dead, or has an open review item behind it (an unknown send, its silence, a dead report, an element that the
  mapping table does not know); and while anything of it is young: itself by its id, its last change, an element, the
  end of a report, a step, an answer. One that the provider has not settled (it was submitted or sent, and no more)
  stays for a week at least. A dead report stays dead when its review item is dismissed, so its message stays until the
  report is replayed.
* orphans: those that were under review and are so no more (dismissed).
* inbound: messages from handsets that answer no message, or one that is gone.
* communications: asset notifications, by their arrival, whatever became of passing them on.
* forwards: those that are done, and dead ones whose review item was dismissed.
* review items that are settled, and audit lines.

Contacts and closed channels are never pruned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from bridge.core.lifecycle import FINAL
from bridge.core.model import MessageId, Millis, State, first_id
from bridge.store.forwards import subject_of
from bridge.store.inbox import UNREADABLE
from bridge.store.tx import Row, Tx

__all__ = ["START", "Found", "Prunable", "Until", "delete", "find"]


class Prunable(StrEnum):
    """What is pruned, in the order in which it is: nothing that one kind deletes makes more of an earlier one due,
    but for batches of orphans, which go the next time. So a count before is what will be deleted."""

    TEXTS = "texts"
    BODIES = "bodies"
    BATCHES = "batches"
    MESSAGES = "messages"
    ORPHANS = "orphans"
    INBOUND = "inbound"
    COMMUNICATIONS = "communications"
    FORWARDS = "forwards"
    REVIEW_ITEMS = "review_items"
    AUDIT = "audit"


class Until(Struct, frozen=True):
    """What is older than these moments may go. `batches`: understood ones; `bodies` None: with their batch.

    `unsettled`: messages that the provider has not settled; `rest`: everything else, unreadable batches as well.
    """

    texts: Millis
    bodies: Millis | None
    batches: Millis
    messages: Millis
    unsettled: Millis
    rest: Millis


class Found(Struct, frozen=True):
    """The keys of what may go, the place that the search came to, and whether there may be more behind it."""

    keys: Sequence[Row]
    place: Row
    more: bool


# Before the first key of each kind.
START: Mapping[Prunable, Row] = {
    Prunable.TEXTS: (b"",),
    Prunable.BODIES: (0,),
    Prunable.BATCHES: (0,),
    Prunable.MESSAGES: (b"",),
    Prunable.ORPHANS: ("", "", b""),
    Prunable.INBOUND: ("", ""),
    Prunable.COMMUNICATIONS: (b"",),
    Prunable.FORWARDS: (0,),
    Prunable.REVIEW_ITEMS: (0,),
    Prunable.AUDIT: (0,),
}


async def find(tx: Tx, kind: Prunable, place: Row, until: Until, limit: int) -> Found:
    """Looks at the next rows behind `place`, at most `limit`. Where others share the database, they are locked."""
    match kind:
        case Prunable.TEXTS:
            before = first_id(until.texts)
            rows = await tx.all("old_texts", after=place[0], before=before, limit=limit)
            return _walked(rows, place, limit)
        case Prunable.MESSAGES:
            return await _find_messages(tx, place, until, limit)
        case Prunable.BODIES | Prunable.BATCHES:
            return await _find_batches(tx, kind, place, until, limit)
        case Prunable.ORPHANS:
            names = dict(zip(("provider", "root", "digest"), place, strict=True))
            rows = await _looked_at_twice(tx, "next_orphans", 3, **names, until=until.rest, limit=limit)
            return _walked(rows, place, limit)
        case Prunable.INBOUND:
            names = dict(zip(("provider", "provider_message_id"), place, strict=True))
            return _walked(await tx.all("next_inbound", **names, until=until.rest, limit=limit), place, limit)
        case Prunable.COMMUNICATIONS:
            before = first_id(until.messages)
            rows = await tx.all("old_communications", after=place[0], before=before, limit=limit)
            return _walked([(*row, True) for row in rows], place, limit)
        case Prunable.FORWARDS:
            return await _find_forwards(tx, place, until, limit)
        case Prunable.REVIEW_ITEMS:
            rows = await tx.all("next_review_items", after=place[0], until=until.rest, limit=limit)
            return _walked(rows, place, limit)
        case Prunable.AUDIT:
            rows = await tx.all("next_audit_lines", after=place[0], limit=limit)
            return _aged([(id_, at, True) for id_, at in rows], until.rest, place, limit)


async def _looked_at_twice(tx: Tx, query: str, keys: int, **values: Any) -> list[Row]:
    """Rows that are locked, as they are now. `keys`: how many of their columns are the key.

    A row that others changed while the statement ran has its new values, but what stands beside it in other tables is
    from before: so where others share the database, look again once nobody can change it.
    """
    rows = await tx.all(query, **values)
    if not tx.shared or not rows:
        return rows
    again = {row[:keys]: row for row in await tx.all(query, **values)}
    return [again[row[:keys]] for row in rows if row[:keys] in again]


def _walked(rows: Sequence[Row], place: Row, limit: int) -> Found:
    """Of rows that end in whether they may go."""
    keys = [row[:-1] for row in rows]
    return Found([row[:-1] for row in rows if row[-1]], keys[-1] if keys else place, len(rows) == limit)


def _aged(rows: Sequence[tuple[Any, Millis, bool]], until: Millis, place: Row, limit: int) -> Found:
    """Of rows (id, time, whether it may go when it is old) whose ids are more or less in the order of time.

    Rows without an old one among them are the end; no row behind the last old one was looked at.
    """
    old = [(id_, may_go) for id_, at, may_go in rows if at <= until]
    if not old:
        return Found([], place, False)
    return Found([(id_,) for id_, may_go in old if may_go], (old[-1][0],), len(rows) == limit)


async def _find_forwards(tx: Tx, place: Row, until: Until, limit: int) -> Found:
    """A dead one stays while its review item is open."""
    rows = await tx.all("next_forwards", after=place[0], limit=limit)
    old = [row for row in rows if row[1] != "pending" and row[2] <= until.rest]
    dead = [subject_of(id_) for id_, state, _ in old if state == "dead"]
    open_ones = {row[0] for row in await tx.any_of("subjects_in_review", dead)}
    going = {id_ for id_, _, _ in old if subject_of(id_) not in open_ones}
    return _walked([(row[0], row[0] in going) for row in rows], place, limit)


async def _find_messages(tx: Tx, place: Row, until: Until, limit: int) -> Found:
    """Two statements, for on PostgreSQL only the second sees what was done before the rows were locked."""
    before = first_id(until.messages)
    rows = await tx.all("old_messages", after=place[0], before=before, limit=limit)
    ids = [row[0] for row in rows]
    quiet = await tx.any_of("quiet_messages", ids, until=until.messages)
    keys = sorted(
        (id_,) for id_, state, changed in quiet if State(state) in FINAL or changed <= until.unsettled
    )
    return Found(keys, (ids[-1],) if ids else place, len(ids) == limit)


async def _find_batches(tx: Tx, kind: Prunable, place: Row, until: Until, limit: int) -> Found:
    rows = await _looked_at_twice(tx, "next_batches", 1, after=place[0], limit=limit)
    if kind is Prunable.BODIES:
        end = until.batches if until.bodies is None else until.bodies
        found = [
            (id_, at, state == "done" and size > 0 and not held and at > until.batches)
            for id_, at, state, size, held in rows
        ]
        return _aged(found, end, place, limit)
    found = [
        (id_, at, not held and (state == "done" or (state == UNREADABLE and at <= until.rest)))
        for id_, at, state, _, held in rows
    ]
    return _aged(found, until.batches, place, limit)


async def delete(tx: Tx, kind: Prunable, keys: Sequence[Row]) -> None:
    """Deletes what `find` has found in the same transaction."""
    firsts = [key[0] for key in keys]
    match kind:
        case Prunable.BODIES:
            await tx.any_of("prune_bodies", firsts, nothing=b"")
        case Prunable.MESSAGES:
            await _delete_messages(tx, firsts)
        case Prunable.ORPHANS:
            rows = [{"provider": provider, "root": root, "digest": digest} for provider, root, digest in keys]
            await tx.run_many("prune_orphan", rows)
        case Prunable.INBOUND:
            rows = [{"provider": provider, "provider_message_id": id_} for provider, id_ in keys]
            await tx.run_many("prune_inbound", rows)
        case _:
            await tx.any_of(_BY_ONE_KEY[kind], firsts)


_BY_ONE_KEY: Mapping[Prunable, str] = {
    Prunable.TEXTS: "prune_texts",
    Prunable.BATCHES: "prune_batches",
    Prunable.COMMUNICATIONS: "prune_communications",
    Prunable.FORWARDS: "prune_forwards",
    Prunable.REVIEW_ITEMS: "prune_review_items",
    Prunable.AUDIT: "prune_audit_lines",
}


async def _delete_messages(tx: Tx, ids: Sequence[MessageId]) -> None:
    for statement in (
        "prune_texts",
        "delete_silent",
        "prune_provider_messages",
        "prune_callbacks",
        "prune_reports",
        "prune_steps",
        "prune_answers",
        "prune_messages",
    ):
        await tx.any_of(statement, ids)
