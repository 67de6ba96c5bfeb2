"""Asset notifications in the store. Functions over a `Tx`; `view_url` and `body` are sealed there."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from bridge.core.model import MessageId, Millis, first_id
from bridge.store.tx import Tx

__all__ = [
    "Campaign",
    "Candidate",
    "NewCommunication",
    "Untied",
    "add_communications",
    "campaigns",
    "candidates",
    "forget",
    "known",
    "tie",
    "untied",
]

_MOST = 200  # messages of one user that are looked at


class NewCommunication(Struct, frozen=True):
    """A notification about to be stored; `id` is a UUIDv7 of its arrival. `tie_at`: when its message is looked for."""

    id: bytes
    digest: bytes | None
    login: str
    channel: str
    campaign_name: str
    sent_at: Millis | None
    received_at: Millis
    view_url: str
    body: bytes
    message_id: MessageId | None
    tie_at: Millis | None

    def __repr__(self) -> str:
        return f"<NewCommunication {self.id.hex()}>"


class Candidate(Struct, frozen=True):
    """A message that a notification may tell of; `taken`: another one tells of it already."""

    id: MessageId
    channel: str
    type: str
    created_at: Millis
    taken: bool


class Untied(Struct, frozen=True):
    """A notification whose message is still looked for."""

    id: bytes
    login: str
    channel: str
    sent_at: Millis | None
    received_at: Millis
    tie_at: Millis

    def __repr__(self) -> str:
        return f"<Untied {self.id.hex()}>"


async def known(tx: Tx, digests: Sequence[bytes]) -> set[bytes]:
    """Those of the digests that were stored before."""
    return {row[0] for row in await tx.any_of("known_communications", digests)}


async def add_communications(tx: Tx, new: Sequence[NewCommunication]) -> set[bytes]:
    """Stores notifications; gives the ids of those that were stored. The others were known, by their digest."""
    rows = [_values(tx, each) for each in sorted(new, key=lambda each: each.digest or each.id)]
    await tx.run_many("add_communication", rows)
    return {row[0] for row in await tx.any_of("stored_communications", [each.id for each in new])}


def _values(tx: Tx, new: NewCommunication) -> dict[str, object]:
    return {
        "id": new.id,
        "digest": new.digest,
        "login": new.login,
        "channel": new.channel,
        "campaign_name": new.campaign_name,
        "sent_at": new.sent_at,
        "received_at": new.received_at,
        "view_url": tx.vault.seal_text(new.view_url),
        "body": tx.vault.seal(new.body),
        "message_id": new.message_id,
        "tie_at": new.tie_at,
    }


async def candidates(tx: Tx, login: str, since: Millis, until: Millis) -> list[Candidate]:
    """The messages of a user that were accepted from `since` to `until`, both included, oldest first."""
    rows = await tx.all(
        "messages_of_user", login=login, first=first_id(since), last=first_id(until + 1), limit=_MOST
    )
    return [Candidate(id_, channel, type_, at, bool(taken)) for id_, channel, type_, at, taken in rows]


async def untied(tx: Tx, now: Millis, limit: int) -> list[Untied]:
    """Notifications whose message shall be looked for now. Where others share the database, they are locked."""
    return [Untied(*row) for row in await tx.all("untied_communications", now=now, limit=limit)]


async def tie(tx: Tx, id_: bytes, message_id: MessageId | None, tie_at: Millis | None) -> None:
    """Ties a notification to its message, or says when that is looked for again (None: never)."""
    await tx.run("tie_communication", id=id_, message_id=message_id, tie_at=tie_at)


async def forget(tx: Tx, login: str) -> int:
    """Deletes all that is known of a user's notifications; says how many there were."""
    return await tx.run("forget_communications", login=login)


class Campaign(Struct, frozen=True):
    """The notifications of one campaign on one channel; `tied`: those whose message is known."""

    campaign_name: str
    channel: str
    count: int
    tied: int


async def campaigns(tx: Tx, since: bytes, until: bytes, limit: int) -> list[Campaign]:
    """Those of the notifications with ids from `since` to `until`; the campaign that was active last comes first."""
    rows = await tx.all("campaigns", since=since, until=until, limit=limit)
    return [Campaign(*row[:4]) for row in rows]
