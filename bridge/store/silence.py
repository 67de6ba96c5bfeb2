"""Silent messages: those that a provider took, and whose end is overdue or may soon be. Functions over a `Tx`.

There is no index that finds them: one that depends on the state would make each change of a state dearer. Ids are in
the order of time, so messages are looked at once, when they are old enough, and the place is kept. Few have no end by
then, and they get a row here. Who takes a row on moves its time: if nothing comes of it, it is due once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from bridge.core.model import MessageId, Millis, State
from bridge.store.tx import Row, Tx

__all__ = [
    "OPEN",
    "Looked",
    "Silent",
    "claim",
    "drop",
    "ids_at_provider",
    "keep_place",
    "known",
    "look",
    "next_due",
    "place",
    "postpone",
    "watch",
]

# What the provider took and has not told the end of.
OPEN = frozenset({State.SUBMITTED, State.SENT})

_PLACE = "silent_place"
_CLAIM_MS = 600_000  # longer than any question takes


class Silent(Struct, frozen=True):
    """A message whose end is overdue. `lookups`: how often the provider was asked and gave no usable answer."""

    message_id: MessageId
    news_at: Millis
    lookups: int


class Looked(Struct, frozen=True):
    """Messages that were looked at: those without an end (id, provider, last news), the last id, how many."""

    open: Sequence[tuple[MessageId, str, Millis]]
    place: MessageId
    count: int


async def place(tx: Tx) -> MessageId | None:
    """Up to which id all messages have been looked at; None: none ever were."""
    row = await tx.one("get_meta", key=_PLACE)
    return row[0] if row else None


async def keep_place(tx: Tx, at: MessageId) -> None:
    await tx.run("set_meta", key=_PLACE, value=at)


async def look(tx: Tx, after: MessageId, before: MessageId, limit: int) -> Looked:
    """The next messages between two ids, at most `limit`."""
    rows = await tx.all("messages_between", after=after, before=before, limit=limit)
    found = [(id_, provider, news_at) for id_, state, provider, news_at in rows if state in OPEN]
    return Looked(found, rows[-1][0] if rows else after, len(rows))


async def watch(tx: Tx, found: Sequence[tuple[MessageId, str, Millis]], after: Mapping[str, Millis]) -> None:
    """Keeps an eye on messages (id, provider, last news). `after`: how old the news of a provider may become.

    Not on one that was under review for its silence before: a person has seen it, or will.
    """
    told = {row[0] for row in await tx.any_of("told_silent", [each[0] for each in found])}
    rows = [
        {"message_id": id_, "provider": provider, "due_at": news_at + after[provider], "news_at": news_at}
        for id_, provider, news_at in found
        if id_ not in told
    ]
    await tx.run_many("add_silent", rows)


async def claim(tx: Tx, provider: str, after_ms: Millis, now: Millis, limit: int) -> tuple[list[Silent], int]:
    """Messages of which nothing was heard for so long, and how many rows were looked at. They are taken on."""
    rows = await tx.all("due_silent", provider=provider, now=now, limit=limit)
    ended = [row[0] for row in rows if row[3] not in OPEN]
    await drop(tx, ended)
    heard = [row for row in rows if row[3] in OPEN and row[4] > row[1]]
    overdue = [row for row in rows if row[3] in OPEN and row[4] <= row[1]]
    moved = [_moved(row, row[4] + after_ms, row[4]) for row in heard]
    moved += [_moved(row, now + _CLAIM_MS, row[1]) for row in overdue]
    await tx.run_many("postpone_silent", moved)
    return [Silent(*row[:3]) for row in overdue], len(rows)


def _moved(row: Row, due_at: Millis, news_at: Millis) -> dict[str, object]:
    return {"message_id": row[0], "due_at": due_at, "news_at": news_at, "lookups": row[2]}


async def known(tx: Tx, message_ids: Sequence[MessageId]) -> set[MessageId]:
    """Those of the messages that are still kept an eye on. Where others share the database, they are locked."""
    return {row[0] for row in await tx.any_of("silent_now", message_ids)}


async def postpone(tx: Tx, silent: Silent, due_at: Millis) -> None:
    """A question brought no usable answer: it is asked again."""
    await tx.run(
        "postpone_silent",
        message_id=silent.message_id,
        due_at=due_at,
        news_at=silent.news_at,
        lookups=silent.lookups + 1,
    )


async def drop(tx: Tx, message_ids: Sequence[MessageId]) -> None:
    await tx.any_of("delete_silent", message_ids)


async def ids_at_provider(
    tx: Tx, provider: str, message_ids: Sequence[MessageId]
) -> dict[str, tuple[MessageId, int | None]]:
    """The ids under which the provider knows these messages, each with its message and cascade step."""
    rows = await tx.any_of("ids_at_provider", message_ids, provider=provider)
    return {provider_id: (message_id, step) for message_id, provider_id, step in rows}


async def next_due(tx: Tx, provider: str) -> Millis | None:
    """When the next message is due."""
    row = await tx.one("next_silent_due", provider=provider)
    return row[0] if row else None
