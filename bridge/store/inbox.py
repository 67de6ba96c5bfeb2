"""The inbox: callback bodies as they came, the elements understood from them, orphans, inbound messages.

Functions over a `Tx`. An element is known by its *digest* (`element_digest`), so that a repeat changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from hashlib import blake2b, sha256

from msgspec import Struct, msgpack

from bridge.core.model import DeliveryReport, InboundMessage, MessageId, Millis
from bridge.pii import mask_phone
from bridge.store.tx import Tx

__all__ = [
    "Arrived",
    "Batch",
    "NewBody",
    "Understood",
    "add_batch",
    "add_batches",
    "add_inbound",
    "add_orphan",
    "awaited",
    "element_digest",
    "finish_batches",
    "known_outcomes",
    "put_callbacks",
    "renew",
    "take_orphans",
    "waiting",
    "waiting_batches",
]

WAITING = "waiting"
UNREADABLE = "unreadable"


class Batch(Struct, frozen=True):
    """One callback body that waits to be understood."""

    id: int
    provider: str
    body: bytes
    received_at: Millis
    elements: int


class Arrived(Struct, frozen=True):
    """Where one element came from: its batch, its place in it, when it arrived, its own bytes, and its digest."""

    provider: str
    batch_id: int
    position: int
    received_at: Millis
    raw: bytes
    digest: bytes


def element_digest(provider: str, raw: bytes, report: DeliveryReport | None) -> bytes:
    """What makes two elements the same (16 bytes): their meaning where they have one, else their bytes."""
    identity = raw if report is None else msgpack.encode(report)
    return blake2b(identity, digest_size=16, key=provider.encode()[:64]).digest()


async def add_batch(
    tx: Tx, provider: str, body: bytes, elements: int, now: Millis, state: str = WAITING
) -> int | None:
    """Keeps a body as it came; its row id, or None where the very same body is known already."""
    row = await tx.one(
        "add_batch",
        provider=provider,
        digest=sha256(body).digest(),
        state=state,
        elements=elements,
        received_at=now,
        body=tx.vault.seal(body),
    )
    return row[0] if row else None


class NewBody(Struct, frozen=True):
    """A readable body with so many elements."""

    provider: str
    body: bytes
    elements: int
    at: Millis


async def add_batches(tx: Tx, new: Sequence[NewBody]) -> list[bool]:
    """Keeps readable bodies as they came; says of each whether the very same was known."""
    digests = [sha256(each.body).digest() for each in new]
    known: set[tuple[str, bytes]] = set()
    for provider in sorted({each.provider for each in new}):
        known |= {(provider, row[0]) for row in await tx.any_of("known_batches", digests, provider=provider)}
    rows: dict[tuple[str, bytes], dict[str, object]] = {}
    answers = []
    for each, digest in zip(new, digests, strict=True):
        key = (each.provider, digest)
        answers.append(key in known or key in rows)
        if not answers[-1]:
            rows[key] = {
                "provider": each.provider,
                "digest": digest,
                "state": WAITING,
                "elements": each.elements,
                "received_at": each.at,
                "body": tx.vault.seal(each.body),
            }
    await tx.run_many("add_new_batch", [rows[key] for key in sorted(rows)])
    return answers


async def waiting_batches(tx: Tx, max_elements: int, max_bytes: int, limit: int = 500) -> list[Batch]:
    """Bodies that wait, oldest first: at least one, then as many as stay within the bounds. They are claimed."""
    chosen: list[int] = []
    elements = size = 0
    for batch_id, batch_elements, batch_size in await tx.all("waiting_sizes", limit=limit):
        elements, size = elements + batch_elements, size + batch_size
        if chosen and (elements > max_elements or size > max_bytes):
            break
        chosen.append(batch_id)
    if tx.shared:
        taken = {row[0] for row in await tx.any_of("take_batches", chosen)}
        chosen = [batch_id for batch_id in chosen if batch_id in taken]
        await renew(tx, chosen)
    places = {batch_id: place for place, batch_id in enumerate(chosen)}
    return sorted(await _get_batches(tx, chosen), key=lambda batch: places[batch.id])


async def renew(tx: Tx, batch_ids: Sequence[int]) -> None:
    """These bodies are being understood here."""
    await tx.any_of("lease_batches", batch_ids)


async def get_batch(tx: Tx, batch_id: int) -> Batch | None:
    """A body, whatever its state; None where it was pruned."""
    found = await _get_batches(tx, [batch_id])
    return found[0] if found else None


async def _get_batches(tx: Tx, ids: Sequence[int]) -> list[Batch]:
    rows = await tx.any_of("get_batches", ids)
    return [Batch(id_, provider, tx.vault.open(body), at, count) for id_, provider, body, at, count in rows]


async def waiting(tx: Tx) -> tuple[int, Millis | None]:
    """How many elements wait, and since when the oldest does."""
    row = await tx.one("count_waiting")
    return (row[0], row[1]) if row else (0, None)


async def finish_batches(tx: Tx, ids: Sequence[int], news: Set[int] | None = None) -> None:
    """They are understood. Where it is known in which of them something was new, the others are emptied: a provider may
    repeat everything for a day, in ever other batches. Their digests stay."""
    await tx.run_many("finish_batch", [{"id": each} for each in ids])
    if news is not None:
        await tx.any_of("prune_bodies", [each for each in ids if each not in news], nothing=b"")


async def known_outcomes(tx: Tx, message_ids: Sequence[MessageId]) -> dict[tuple[MessageId, bytes], str]:
    """What became of the elements that came before, by message and digest."""
    rows = await tx.any_of("callback_outcomes", message_ids)
    return {(message_id, digest): outcome for message_id, digest, outcome in rows}


class Understood(Struct, frozen=True):
    """An element and what became of it, to be kept beside its message."""

    message_id: MessageId
    arrived: Arrived
    report: DeliveryReport
    outcome: str


async def put_callbacks(tx: Tx, understood: Sequence[Understood]) -> None:
    """Keeps understood elements. One that was kept before gets its new outcome."""
    await tx.run_many("put_callback", [_callback_values(each) for each in understood])


def _callback_values(each: Understood) -> dict[str, object]:
    arrived, report, price = each.arrived, each.report, each.report.price
    return {
        "message_id": each.message_id,
        "digest": arrived.digest,
        "batch_id": arrived.batch_id,
        "position": arrived.position,
        "provider_message_id": report.provider_message_id,
        "event": report.event,
        "status": report.status,
        "outcome": each.outcome,
        "step": report.step,
        "error_code": report.error_code,
        "link": report.link,
        "parts": price.parts if price else None,
        "price": format(price.amount, "f") if price else None,
        "currency": price.currency if price else None,
        "provider_at": price.at if price else report.at,
        "received_at": arrived.received_at,
    }


async def add_orphan(tx: Tx, root: str, arrived: Arrived) -> bool:
    """Keeps an element until its message is known; says whether it is new.

    `root` is the id of the cascade's first message, or the element's own.
    """
    row = await tx.one(
        "add_orphan",
        provider=arrived.provider,
        root=root,
        digest=arrived.digest,
        batch_id=arrived.batch_id,
        position=arrived.position,
        raw=tx.vault.seal(arrived.raw),
        received_at=arrived.received_at,
    )
    return row is not None


async def awaited(tx: Tx, provider: str, roots: Sequence[str]) -> set[str]:
    """Those of the provider ids that elements wait for."""
    return {row[0] for row in await tx.any_of("awaited_roots", roots, provider=provider)}


async def take_orphans(tx: Tx, provider: str, root: str) -> list[Arrived]:
    """The elements that waited for this provider id, in the order of their arrival; they are orphans no more.

    One statement: others may add elements at this moment, and what is not given here must stay.
    """
    rows = await tx.all("take_orphans", provider=provider, root=root)
    return [
        Arrived(provider, batch_id, position, at, tx.vault.open(raw), digest)
        for at, batch_id, position, digest, raw in sorted(rows)
    ]


async def add_inbound(
    tx: Tx, arrived: Arrived, inbound: InboundMessage, keyword: str, message_id: MessageId | None
) -> bool:
    """Keeps a message from a handset; says whether it is new."""
    row = await tx.one(
        "add_inbound",
        provider=arrived.provider,
        provider_message_id=inbound.provider_message_id,
        channel=inbound.channel,
        handset_hash=tx.vault.hash(inbound.handset),
        handset_masked=mask_phone(inbound.handset),
        text=tx.vault.seal_text(inbound.text),
        special=tx.vault.seal_text(inbound.special) if inbound.special else None,
        keyword=keyword,
        message_id=message_id,
        provider_at=inbound.at,
        received_at=arrived.received_at,
    )
    return row is not None
