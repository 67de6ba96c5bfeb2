"""Reads everything, a page at a time, for exports: rows in the order of their keys, oldest message first.

Each page is one short statement that begins behind the last key of the page before it. So no transaction stays open
while somebody writes a file, and no page is slower than the one before. Rows that come or change meanwhile may be in
it or not. Functions over a `Tx`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct

from bridge.core.model import Millis, first_id, id_time
from bridge.store.tx import Row, Tx

__all__ = [
    "Key",
    "Page",
    "PageReader",
    "Span",
    "callback_page",
    "message_page",
    "price_page",
    "report_page",
]

Key = tuple[Any, ...]
_BEHIND_ALL = b"\xff" * 17  # no id is as long


class Span(Struct, frozen=True):
    """Of messages accepted at `since` or later, and before `until`; None: no bound.

    An id begins with its time, so that both are bounds of the keys.
    """

    since: Millis | None = None
    until: Millis | None = None

    @property
    def start(self) -> bytes:
        """Behind every id before `since`, and before every other one: the six bytes of the time alone."""
        return b"" if self.since is None else first_id(self.since)[:6]

    @property
    def end(self) -> bytes:
        return _BEHIND_ALL if self.until is None else first_id(self.until)


class Page(Struct, frozen=True):
    """Rows, and the key of the last one; None: there are no more. `at`: the time of the last message."""

    rows: list[Row]
    last: Key | None
    at: Millis | None


PageReader = Callable[[Tx, Span, Key | None, int], Coroutine[Any, Any, Page]]


async def message_page(tx: Tx, span: Span, after: Key | None, size: int) -> Page:
    """The next messages."""
    (start,) = after or (span.start,)
    rows = await tx.select(_MESSAGES, (start, span.end, size))
    return _page(rows, 1, size)


async def report_page(tx: Tx, span: Span, after: Key | None, size: int) -> Page:
    """The next status reports. Key: message and status."""
    start, status = after or (span.start, "")
    rows = await tx.select(_REPORTS, (start, status, span.end, size))
    return _page(rows, 2, size)


async def callback_page(tx: Tx, span: Span, after: Key | None, size: int) -> Page:
    """The next callback elements. Key: message and digest."""
    start, digest = after or (span.start, b"")
    rows = await tx.select(_CALLBACKS, (start, digest, span.end, size))
    return _page(rows, 2, size)


async def price_page(tx: Tx, span: Span, after: Key | None, size: int) -> Page:
    """The prices of the next `size` messages: a row for each id at the provider that has one.

    A message without a price is one row without one, so that the next page begins behind it.
    """
    (start,) = after or (span.start,)
    rows = await tx.select(_PRICES, (start, span.end, size))
    messages = len({row[0] for row in rows})
    return _page(rows, 1, size, messages)


def _page(rows: list[Row], key_columns: int, size: int, count: int | None = None) -> Page:
    """A page. One that is not full is the last."""
    full = (len(rows) if count is None else count) >= size
    last = rows[-1][:key_columns] if rows else None
    return Page(rows, last if full else None, id_time(rows[-1][0]) if rows else None)


_MESSAGES = """
SELECT id, gateway, type, channel, state, marks, owed, smartico_uid, ext_user_id, provider, provider_message_id, sender,
    parts, price, currency, error_code, error_text, address_masked, created_at, submitted_at, delivered_at, updated_at
FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?
"""

# The page is cut before it is joined: no plan of a planner can then read more than these rows.
_REPORTS = """
SELECT r.message_id, r.status, m.gateway, m.type, r.seq, r.state, r.attempts, r.last_error, r.latency_ms, r.owed_at,
    r.due_at, r.finished_at
FROM (
    SELECT message_id, status, seq, state, attempts, last_error, latency_ms, owed_at, due_at, finished_at
    FROM reports WHERE (message_id, status) > (?, ?) AND message_id < ? ORDER BY message_id, status LIMIT ?
) AS r LEFT JOIN messages AS m ON m.id = r.message_id
ORDER BY r.message_id, r.status
"""

_CALLBACKS = """
SELECT c.message_id, c.digest, m.gateway, m.provider, m.channel, c.provider_message_id, c.event, c.status, c.outcome,
    c.step, c.error_code, t.text, c.link, c.parts, c.price, c.currency, c.provider_at, c.received_at
FROM (
    SELECT message_id, digest, provider_message_id, event, status, outcome, step, error_code, link, parts, price,
        currency, provider_at, received_at
    FROM callbacks WHERE (message_id, digest) > (?, ?) AND message_id < ? ORDER BY message_id, digest LIMIT ?
) AS c LEFT JOIN messages AS m ON m.id = c.message_id
LEFT JOIN error_texts AS t ON t.provider = m.provider AND t.code = c.error_code
ORDER BY c.message_id, c.digest
"""

_PRICES = """
SELECT m.id, m.gateway, m.sender, m.state, p.parts, p.price, p.currency
FROM (
    SELECT id, gateway, sender, state FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?
) AS m LEFT JOIN provider_messages AS p ON p.message_id = m.id AND p.price IS NOT NULL
ORDER BY m.id
"""
