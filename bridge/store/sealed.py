"""Every column that holds sealed values, and how they are sealed anew when the key was changed. Functions over a `Tx`.

A column is walked through in the order of its table's key. Looking and changing are two transactions, so that nobody
waits for the ciphers; a value that somebody changed in between is left as it is now, for the present key sealed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from bridge.pii import SealedWith
from bridge.store.tx import Row, Tx

__all__ = ["SEALED", "Part", "Sealed", "count_rows", "look", "needs_sealing", "seal_anew"]

_ROWS = 200  # at a time, and
_BYTES = 1 << 20  # no more than this, or one row: callback bodies are large


class Sealed(Struct, frozen=True):
    """A column of sealed values: its table, the columns of the table's key, and the statement that replaces a value."""

    table: str
    key: tuple[str, ...]
    column: str
    statement: str


# Contacts come first and the outbox last: whoever is sent to now gets a copy of the contact's address.
SEALED = (
    Sealed("contacts", ("ext_user_id",), "phone", "reseal_contact_phone"),
    Sealed("contacts", ("ext_user_id",), "email", "reseal_contact_email"),
    Sealed("messages", ("id",), "callback_url", "reseal_message_callback_url"),
    Sealed("texts", ("message_id",), "body", "reseal_text_body"),
    Sealed("batches", ("id",), "body", "reseal_batch_body"),
    Sealed("orphans", ("provider", "root", "digest"), "raw", "reseal_orphan_raw"),
    Sealed("inbound", ("provider", "provider_message_id"), "text", "reseal_inbound_text"),
    Sealed("inbound", ("provider", "provider_message_id"), "special", "reseal_inbound_special"),
    Sealed("review_items", ("id",), "sample", "reseal_review_sample"),
    Sealed("communications", ("id",), "view_url", "reseal_communication_view_url"),
    Sealed("communications", ("id",), "body", "reseal_communication_body"),
    Sealed("forwards", ("id",), "payload", "reseal_forward_payload"),
    Sealed("sends", ("message_id",), "destination", "reseal_send_destination"),
)


class Part(Struct, frozen=True):
    """Some rows that were looked at: how many, what their values are sealed with, and those that the present key did
    not seal. `place`: the key of the last row; None at the end of the column."""

    rows: int
    counts: Mapping[SealedWith, int]
    others: Sequence[Row]
    place: Row | None

    def __repr__(self) -> str:
        return f"<Part of {self.rows} rows>"


def needs_sealing(sealed_with: SealedWith) -> bool:
    """Whether such a value is to be sealed anew, and can be."""
    return sealed_with in (SealedWith.FORMER, SealedWith.PLAIN)


async def count_rows(tx: Tx) -> int:
    """How many rows a walk through all columns looks at."""
    counts = {}
    for table in {each.table for each in SEALED}:
        ((counts[table],),) = await tx.select(f"SELECT count(*) FROM {table}", ())  # noqa: S608 - named above
    return sum(counts[each.table] for each in SEALED)


async def look(tx: Tx, column: Sealed, place: Row | None) -> Part:
    """Looks at the rows behind `place`; None: at the first ones."""
    last, rows, more = await _next(tx, column, place)
    if last is None:
        return Part(0, {}, (), None)
    keys, values = _marks(column)
    where = f"{keys} <= {values}" if place is None else f"{keys} > {values} AND {keys} <= {values}"
    found = await tx.select(
        f"SELECT {', '.join(column.key)}, {column.column} FROM {column.table} WHERE {where}",  # noqa: S608
        (*(place or ()), *last),
    )
    counts: Counter[SealedWith] = Counter()
    others = []
    for row in found:
        if row[-1]:  # neither NULL nor emptied
            sealed_with = tx.vault.sealed_with(row[-1])
            counts[sealed_with] += 1
            if needs_sealing(sealed_with):
                others.append(row)
    return Part(rows, counts, others, last if more else None)


def seal_anew(tx: Tx, column: Sealed, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The values of the statement that replaces what is in these rows."""
    vault = tx.vault
    return [
        {
            **dict(zip(column.key, row, strict=False)),
            "before": row[-1],
            "sealed": vault.seal(vault.open(row[-1])),
        }
        for row in rows
    ]


async def _next(tx: Tx, column: Sealed, place: Row | None) -> tuple[Row | None, int, bool]:
    """The key of the last row to look at now, how many rows there are up to it, and whether there may be more."""
    keys, values = _marks(column)
    where = "" if place is None else f"WHERE {keys} > {values}"
    rows = await tx.select(
        f"SELECT {', '.join(column.key)}, coalesce(length({column.column}), 0) FROM {column.table} {where} "  # noqa: S608
        f"ORDER BY {', '.join(column.key)} LIMIT {_ROWS}",
        place or (),
    )
    last, count, size = None, 0, 0
    for row in rows:
        size += row[-1]
        if count and size > _BYTES:
            break
        last, count = row[:-1], count + 1
    return last, count, count < len(rows) or len(rows) == _ROWS


def _marks(column: Sealed) -> tuple[str, str]:
    """The key, and as many question marks."""
    return f"({', '.join(column.key)})", f"({', '.join('?' * len(column.key))})"
