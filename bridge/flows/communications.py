"""Asset notifications: what Smartico sent by itself, or through a gateway of ours, is kept, tied to its message where
one fits, and passed on.

All that the database decides happens in one transaction, with the other notifications of the same moment: whether it is
a repeat, which message it tells of, and that it is owed to the operator's API.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from bridge.core.model import MessageId, Millis, id_text
from bridge.notifications import Notification, channel_word
from bridge.store import communications, forwards
from bridge.store.communications import Candidate, NewCommunication, Untied
from bridge.store.forwards import COMMUNICATION
from bridge.store.together import Together
from bridge.store.tx import Store, Tx

__all__ = ["TIE_AT_ONCE", "Noting", "nearest", "tie_waiting"]

TIE_AT_ONCE = 200  # notifications in one transaction
_NEAR = 300_000  # milliseconds between a notification and its message, at most
_FIRST_LOOK = 10_000  # milliseconds after its arrival
_LAST_LOOK = 60_000


class _Arrived(Struct, frozen=True):
    """A notification, and its own id."""

    id: bytes
    notification: Notification
    at: Millis


class Noting:
    """Keeps notifications. `channels`: the channels and types of the gateways; `passed_on`: to the operator's API."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], Millis],
        make_id: Callable[[Millis], bytes],
        *,
        channels: Collection[str],
        passed_on: bool,
    ) -> None:
        self._clock = clock
        self._make_id = make_id
        self._channels = frozenset(map(channel_word, channels))
        self._passed_on = passed_on
        self._together = Together(store, self._keep_all)

    async def note(self, notification: Notification) -> bool:
        """Keeps one durably; False: it is a repeat. Raises StoreError."""
        now = self._clock()
        return await self._together.add(_Arrived(self._make_id(now), notification, now))

    async def _keep_all(self, tx: Tx, arrived: Sequence[_Arrived]) -> list[bool]:
        fresh = await _without_repeats(tx, arrived)
        taken: set[MessageId] = set()
        rows = [await self._row(tx, each, taken) for each in fresh]
        stored = await communications.add_communications(tx, rows)
        if self._passed_on:
            await _owe(tx, [each for each in fresh if each.id in stored])
        return [each.id in stored for each in arrived]

    async def _row(self, tx: Tx, arrived: _Arrived, taken: set[MessageId]) -> NewCommunication:
        """`taken`: messages that others of this transaction tell of."""
        noted, now = arrived.notification, arrived.at
        tied = None
        tries = bool(noted.login) and channel_word(noted.channel) in self._channels
        if tries:
            tied = await _find(tx, noted.login, noted.channel, noted.time or now, taken)
        if tied is not None:
            taken.add(tied)
        return NewCommunication(
            id=arrived.id,
            digest=noted.digest,
            login=noted.login,
            channel=noted.channel,
            campaign_name=noted.campaign_name,
            sent_at=noted.time,
            received_at=now,
            view_url=noted.view_url,
            body=noted.body,
            message_id=tied,
            tie_at=now + _FIRST_LOOK if tries and tied is None else None,
        )


async def _without_repeats(tx: Tx, arrived: Sequence[_Arrived]) -> list[_Arrived]:
    digests = [each.notification.digest for each in arrived if each.notification.digest]
    seen = await communications.known(tx, digests)
    fresh = []
    for each in arrived:
        digest = each.notification.digest
        if digest is None or digest not in seen:
            fresh.append(each)
        if digest is not None:
            seen.add(digest)
    return fresh


async def _owe(tx: Tx, new: Sequence[_Arrived]) -> None:
    """In the order of the users (everybody in this order), and of one in the order of arrival."""
    for each in sorted(new, key=_forward_key):
        source = id_text(each.id)
        await forwards.add_forward(
            tx, COMMUNICATION, source, _forward_key(each), each.notification.payload, each.at
        )


def _forward_key(arrived: _Arrived) -> str:
    """Without a user nothing waits for anything."""
    return arrived.notification.login or f"?{arrived.id.hex()}"


# --- the message that it tells of ---


async def _find(
    tx: Tx, login: str, channel: str, at: Millis, taken: Collection[MessageId] = ()
) -> MessageId | None:
    found = await communications.candidates(tx, login, at - _NEAR, at + _NEAR)
    return nearest(found, channel_word(channel), at, taken)


def nearest(
    found: Sequence[Candidate], word: str, at: Millis, taken: Collection[MessageId] = ()
) -> MessageId | None:
    """Of the messages on this channel (`channel_word`) the nearest in time; one that another notification tells of only
    where no other fits."""
    fitting = [each for each in found if word in (channel_word(each.channel), channel_word(each.type))]
    best = min(
        fitting,
        key=lambda each: (each.taken or each.id in taken, abs(each.created_at - at), each.id),
        default=None,
    )
    return best.id if best else None


async def tie_waiting(store: Store, now: Millis) -> int:
    """Looks once more for messages that came after their notification; says how many were looked for."""

    async def job(tx: Tx) -> int:
        waiting = await communications.untied(tx, now, TIE_AT_ONCE)
        for each in waiting:
            found = await _find(tx, each.login, each.channel, each.sent_at or each.received_at)
            await communications.tie(tx, each.id, found, None if found else _next_look(each))
        return len(waiting)

    return await store.write(job)


def _next_look(each: Untied) -> Millis | None:
    last = each.received_at + _LAST_LOOK
    return last if each.tie_at < last else None
