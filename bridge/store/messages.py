"""Messages in the store: adding one, loading what the lifecycle needs, the ids and prices of their provider.

Functions over a `Tx`; they decide nothing about states.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import asdict

from bridge.core.lifecycle import Snapshot
from bridge.core.model import Mark, MessageId, Millis, Price, State, Status
from bridge.store.tx import Row, Tx

__all__ = [
    "MessageView",
    "NewMessage",
    "ToSend",
    "add_messages",
    "add_provider_id",
    "add_provider_ids",
    "add_step",
    "find_by_provider_ids",
    "find_by_uid",
    "load_messages",
    "newest_to_address",
    "set_price",
]


class NewMessage(Struct, frozen=True):
    """A message about to be stored, its personal parts already sealed."""

    id: MessageId
    gateway: str
    type: str
    channel: str
    provider: str
    smartico_uid: str
    ext_user_id: str
    sender: str
    address_hash: bytes | None
    address_masked: str | None
    callback_url: bytes
    lane: str
    created_at: Millis


class MessageView(Struct, frozen=True):
    """What the flows need of a stored message. `callback_url` is sealed."""

    id: MessageId
    gateway: str
    type: str
    channel: str
    provider: str
    lane: str
    callback_url: bytes
    snapshot: Snapshot
    provider_message_id: str | None
    created_at: Millis
    submitted_at: Millis | None
    delivered_at: Millis | None
    error_code: str | None
    error_text: str | None


async def find_by_uid(tx: Tx, gateway: str, uid: str) -> MessageId | None:
    """The message that was accepted under this idempotency key."""
    row = await tx.one("message_by_uid", gateway=gateway, uid=uid)
    return row[0] if row else None


class ToSend(Struct, frozen=True):
    """A new message with what is needed until it is sent. `destination` and `body` are sealed."""

    message: NewMessage
    destination: bytes
    body: bytes
    expires_at: Millis


async def add_messages(tx: Tx, new: Sequence[ToSend]) -> set[MessageId]:
    """Stores messages, their texts and their places in the outbox; gives the ids of those that were stored.

    The others are not, for a message with their idempotency key exists.
    """
    new = sorted(
        new, key=lambda each: (each.message.smartico_uid, each.message.gateway)
    )  # everybody in this order
    await tx.run_many("add_message", [asdict(each.message) for each in new])
    stored = {row[0] for row in await tx.any_of("known_messages", [each.message.id for each in new])}
    added = [each for each in new if each.message.id in stored]
    await tx.run_many("add_text", [{"message_id": each.message.id, "body": each.body} for each in added])
    await tx.run_many("add_send", [_send_values(each) for each in added])
    return stored


def _send_values(each: ToSend) -> dict[str, object]:
    return {
        "message_id": each.message.id,
        "provider": each.message.provider,
        "gateway": each.message.gateway,
        "destination": each.destination,
        "due_at": each.message.created_at,
        "expires_at": each.expires_at,
    }


async def load_messages(tx: Tx, ids: Sequence[MessageId]) -> dict[MessageId, MessageView]:
    """The messages among `ids` that exist."""
    return {row[0]: _view(row) for row in await tx.any_of("load_messages", ids)}


async def find_by_provider_ids(tx: Tx, provider: str, ids: Sequence[str]) -> dict[str, MessageId]:
    """The messages that the provider knows under these ids."""
    return dict(await tx.any_of("messages_of_provider_ids", ids, provider=provider))


async def add_provider_ids(tx: Tx, provider: str, ids: Sequence[tuple[MessageId, str]]) -> None:
    """Remembers under which id the provider took each message."""
    await tx.run_many(
        "add_provider_message",
        [
            {"provider": provider, "provider_message_id": provider_id, "message_id": each, "step": None}
            for each, provider_id in ids
        ],
    )


async def add_provider_id(
    tx: Tx, message: MessageView, provider_message_id: str, step: int | None = None
) -> None:
    """Remembers one more id under which the provider knows the message."""
    await tx.run(
        "add_provider_message",
        provider=message.provider,
        provider_message_id=provider_message_id,
        message_id=message.id,
        step=step,
    )


async def newest_to_address(tx: Tx, address_hash: bytes, channel: str, until: Millis) -> MessageId | None:
    """The last message to an address on a channel, not newer than `until`."""
    row = await tx.one("newest_message_to_address", address_hash=address_hash, channel=channel, until=until)
    return row[0] if row else None


async def set_price(
    tx: Tx, message: MessageView, provider_message_id: str, price: Price, now: Millis
) -> bool:
    """Keeps a price if it is the newest of its provider id, and the message's sum; says whether it was kept."""
    row = await tx.one("price_of", provider=message.provider, provider_message_id=provider_message_id)
    if row is None or not _newer(price, row):
        return False
    await tx.run(
        "set_price",
        provider=message.provider,
        provider_message_id=provider_message_id,
        parts=price.parts,
        price=format(price.amount, "f"),
        currency=price.currency,
        price_at=price.at,
    )
    await tx.run("set_message_price", id=message.id, now=now, **await _sum_prices(tx, message.id))
    return True


def _newer(price: Price, row: Row) -> bool:
    """Of two prices with the same time the larger counts, so that the order of arrival does not."""
    parts, amount, currency, at = row
    if at is None:
        return True
    old = (at, Decimal(amount), currency, parts)
    return (price.at, price.amount, price.currency, price.parts) > old


async def _sum_prices(tx: Tx, message_id: MessageId) -> dict[str, int | str | None]:
    """Parts and price over the steps of a cascade. Different currencies have no sum: v_costs shows each."""
    rows = await tx.all("prices_of_message", message_id=message_id)
    currencies = {currency for _, _, currency in rows}
    parts = sum(parts for parts, _, _ in rows)
    if len(currencies) != 1:
        return {"parts": parts, "price": None, "currency": None}
    with localcontext(prec=100):  # an amount may have more than the usual 28 digits
        amount = sum((Decimal(price) for _, price, _ in rows), Decimal(0))
    return {"parts": parts, "price": format(amount, "f"), "currency": currencies.pop()}


async def add_step(
    tx: Tx, message_id: MessageId, at: Millis, kind: str, detail: str = "", actor: str = ""
) -> None:
    """Adds a line to the timeline of a message. `detail` holds no personal data."""
    await tx.run("add_step", message_id=message_id, at=at, kind=kind, detail=detail, actor=actor)


def _view(row: Row) -> MessageView:
    (message_id, gateway, type_, channel, provider, lane, url, state, marks, owed, negatives, *rest) = row
    snapshot = _snapshot(state, marks, owed, negatives)
    return MessageView(message_id, gateway, type_, channel, provider, lane, url, snapshot, *rest)


@lru_cache(maxsize=4096)  # few combinations exist; a frozen value may be shared
def _snapshot(state: str, marks: str, owed: str, negatives: str) -> Snapshot:
    return Snapshot(
        State(state),
        frozenset(map(Mark, marks.split())),
        frozenset(map(Status, owed.split())),
        _read_negatives(negatives),
    )


def _read_negatives(text: str) -> dict[int, frozenset[State]]:
    negatives: dict[int, frozenset[State]] = {}
    for entry in text.split():
        step, _, state = entry.partition("=")
        negatives[int(step)] = negatives.get(int(step), frozenset()) | {State(state)}
    return negatives
