"""Messages in the store: adding one, loading what the lifecycle needs, saving what became of it, reports owed with it.

Functions over a `Tx`; they decide nothing about states.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext

from msgspec import Struct
from msgspec.structs import asdict, replace

from bridge.core.lifecycle import Snapshot, Transition
from bridge.core.model import Mark, MessageId, Millis, Price, State, Status
from bridge.store.tx import Row, Tx

__all__ = [
    "MessageView",
    "NewMessage",
    "add_message",
    "add_provider_id",
    "add_step",
    "find_by_provider_ids",
    "find_by_uid",
    "load_messages",
    "newest_to_address",
    "save_transition",
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
    """What the flows need of a stored message."""

    id: MessageId
    gateway: str
    channel: str
    provider: str
    lane: str
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


async def add_message(
    tx: Tx, message: NewMessage, *, destination: bytes, body: bytes, expires_at: Millis
) -> None:
    """Stores a message, its text and its place in the outbox. `destination` and `body` are sealed."""
    await tx.run("add_message", **asdict(message))
    await tx.run("add_text", message_id=message.id, body=body)
    await tx.run(
        "add_send",
        message_id=message.id,
        provider=message.provider,
        gateway=message.gateway,
        destination=destination,
        due_at=message.created_at,
        expires_at=expires_at,
    )


async def load_messages(tx: Tx, ids: Sequence[MessageId]) -> dict[MessageId, MessageView]:
    """The messages among `ids` that exist."""
    rows = await tx.each("load_message", [{"id": each} for each in ids])
    return {row[0]: _view(row) for row in rows if row}


async def find_by_provider_ids(tx: Tx, provider: str, ids: Sequence[str]) -> dict[str, MessageId]:
    """The messages that the provider knows under these ids."""
    rows = await tx.each(
        "message_of_provider_id", [{"provider": provider, "provider_message_id": each} for each in ids]
    )
    return {each: row[0] for each, row in zip(ids, rows, strict=True) if row}


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


async def save_transition(
    tx: Tx, message: MessageView, transition: Transition, now: Millis, settled_at: Millis
) -> MessageView:
    """Saves what the lifecycle decided, with the reports that became owed; none leaves before `settled_at`."""
    after = transition.after
    if message.delivered_at is None and after.state in (State.DELIVERED, State.READ):
        message = replace(message, delivered_at=now)
    await tx.run(
        "save_message",
        id=message.id,
        **_snapshot_columns(after),
        provider_message_id=message.provider_message_id,
        submitted_at=message.submitted_at,
        delivered_at=message.delivered_at,
        error_code=message.error_code,
        error_text=message.error_text,
        updated_at=now,
    )
    if transition.reports:
        await _add_reports(tx, message, transition, now, settled_at)
    return replace(message, snapshot=after)


async def _add_reports(
    tx: Tx, message: MessageView, transition: Transition, now: Millis, settled_at: Millis
) -> None:
    row = await tx.one("pending_reports_of", message_id=message.id)
    waiting = bool(row and row[0])
    first_seq = len(transition.after.owed) - len(transition.reports)
    for number, status in enumerate(transition.reports):
        await tx.run(
            "add_report",
            message_id=message.id,
            status=status,
            seq=first_seq + number,
            lane=message.lane,
            due_at=None if waiting or number else max(now, settled_at),
            owed_at=now,
        )


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
    (message_id, gateway, channel, provider, lane, state, marks, owed, negatives, *rest) = row
    return MessageView(
        message_id, gateway, channel, provider, lane, _snapshot(state, marks, owed, negatives), *rest
    )


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


def _snapshot_columns(snapshot: Snapshot) -> dict[str, str]:
    negatives = [
        f"{step}={state}" for step, states in sorted(snapshot.negatives.items()) for state in sorted(states)
    ]
    return {
        "state": snapshot.state,
        "marks": " ".join(sorted(snapshot.marks)),
        "owed": " ".join(sorted(snapshot.owed)),
        "negatives": " ".join(negatives),
    }
