"""Exports: messages, reports, callbacks and costs as plain rows, page by page, so that millions need no memory.

Times are RFC 3339 in UTC, money is exact text. Nothing leaves in clear that belongs to a person: an address is its
mask, texts and callback addresses are not read at all, and what peers wrote into an error or a link is masked.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from enum import StrEnum
from functools import lru_cache
from urllib.parse import unquote

from msgspec import Struct

from bridge.core.model import Millis, State, id_text, id_time
from bridge.core.moments import format_time
from bridge.flows.showing import hide_addresses
from bridge.pii import mask_email, mask_phone, normalise_phone
from bridge.store.export import (
    Key,
    Page,
    PageReader,
    Span,
    callback_page,
    message_page,
    price_page,
    report_page,
)
from bridge.store.tx import Row, Store

__all__ = ["COLUMNS", "NUMBERS", "Part", "What", "read_parts"]


class What(StrEnum):
    """What can be exported."""

    MESSAGES = "messages"
    REPORTS = "reports"
    CALLBACKS = "callbacks"
    COSTS = "costs"


# What stands where; docs/exports.md says what each means. The order is part of the promise: new ones come last.
COLUMNS: dict[What, tuple[str, ...]] = {
    What.MESSAGES: (
        "ext_message_id", "gateway", "type", "channel", "state", "marks", "statuses_owed", "smartico_uid",
        "ext_user_id", "provider", "provider_message_id", "sender", "parts", "price", "currency", "error_code",
        "error_text", "address_masked", "created_at", "submitted_at", "delivered_at", "updated_at",
    ),
    What.REPORTS: (
        "ext_message_id", "gateway", "type", "status", "seq", "state", "attempts", "last_error", "latency_ms",
        "owed_at", "next_attempt_at", "finished_at",
    ),
    What.CALLBACKS: (
        "ext_message_id", "gateway", "provider", "channel", "provider_message_id", "event", "status", "outcome",
        "step", "error_code", "error_text", "link", "parts", "price", "currency", "provider_time", "received_at",
    ),
    What.COSTS: (
        "day", "gateway", "sender", "currency", "messages", "parts", "cost", "delivered", "cost_per_delivered",
    ),
}  # fmt: skip
NUMBERS = frozenset(
    {"parts", "seq", "attempts", "latency_ms", "step", "messages", "delivered"}
)  # whole; else text

_DAY = 86_400_000
_DELIVERED = frozenset({State.DELIVERED.value, State.READ.value})
_PLACES = Decimal("0.000001")  # of what one delivered message cost, the one figure that is rounded
_EXACT = Context(prec=200, traps=[Inexact])  # a sum that is not exact would be an error of ours
_WIDE = Context(prec=200)


class Part(Struct, frozen=True):
    """Some rows, the next after those before. `at`: how far it is, as the time of the last message that was read."""

    rows: list[Row]
    at: Millis | None


async def read_parts(store: Store, what: What, span: Span, size: int = 2000) -> AsyncGenerator[Part, None]:
    """All rows, oldest message first, after each page that was read; there may be none in a part. Raises StoreError.

    `size`: rows in a page.
    """
    if what is What.COSTS:
        costs = _Costs()
        async for page in _pages(store, price_page, span, size):
            yield Part(costs.add(page.rows), page.at)
        yield Part(costs.end(), None)
        return
    reader, shown = _READERS[what]
    async for page in _pages(store, reader, span, size):
        yield Part(shown(page.rows), page.at)


async def _pages(store: Store, reader: PageReader, span: Span, size: int) -> AsyncGenerator[Page, None]:
    after: Key | None = None
    while True:
        page = await _search(store, reader, span, after, size)
        yield page
        if page.last is None:
            return
        after = page.last


async def _search(store: Store, reader: PageReader, span: Span, after: Key | None, size: int) -> Page:
    return await store.search(lambda tx: reader(tx, span, after, size))


# --- rows as people see them ---


def _messages(rows: Sequence[Row]) -> list[Row]:
    return [
        (
            id_text(row[0]), *row[1:7], _plain(row[7]), _person(row[8]), row[9], _plain(row[10]), _plain(row[11]),
            *row[12:15], _plain(row[15]), _hidden(row[16]), _plain(row[17]), *map(_time, row[18:]),
        )
        for row in rows
    ]  # fmt: skip


def _reports(rows: Sequence[Row]) -> list[Row]:
    """A report without its message is not shown: the view has none either."""
    return [
        (id_text(row[0]), row[2], row[3], row[1], *row[4:7], _hidden(row[7]), row[8], *map(_time, row[9:]))
        for row in rows
        if row[2] is not None
    ]


def _callbacks(rows: Sequence[Row]) -> list[Row]:
    return [
        (
            id_text(row[0]), *row[2:5], *map(_plain, row[5:8]), row[8], row[9], _plain(row[10]), _hidden(row[11]),
            _link(row[12]), *row[13:16], *map(_time, row[16:]),
        )
        for row in rows
        if row[2] is not None
    ]  # fmt: skip


_READERS: dict[What, tuple[PageReader, Callable[[Sequence[Row]], list[Row]]]] = {
    What.MESSAGES: (message_page, _messages),
    What.REPORTS: (report_page, _reports),
    What.CALLBACKS: (callback_page, _callbacks),
}


@lru_cache(4096)
def _second(second: int) -> str:
    return format_time(second * 1000)[:-4]


def _time(at: Millis | None) -> str | None:
    if at is None:
        return None
    second, rest = divmod(at, 1000)  # many rows share a second
    return f"{_second(second)}{rest:03d}Z"


def _plain(text: str | None) -> str | None:
    """A NUL is no character of a file that others read; PostgreSQL keeps none either."""
    return text.replace("\0", "\ufffd") if text and "\0" in text else text


@lru_cache(1024)
def _masked(text: str) -> str:
    return hide_addresses(text.replace("\0", "\ufffd"))


def _hidden(text: str | None) -> str | None:
    """A sentence of a peer: it may repeat what it was given."""
    return _masked(text) if text else text


def _link(link: str | None) -> str | None:
    """What was clicked, without its query, where the person may stand, and without what looks like an address."""
    if not link:
        return link
    pieces = unquote(_QUERY.split(link, maxsplit=1)[0]).split("/")
    return "/".join("•••" if "@" in piece else _masked(piece) for piece in pieces)


_QUERY = re.compile(r"[?#;]")


def _person(ext_user_id: str) -> str:
    """The operator's own id of a person. Where that is an e-mail address or a phone number, its mask."""
    text = ext_user_id.replace("\0", "\ufffd")
    if "@" in text:
        return mask_email(text)
    if text.startswith("+") and (phone := normalise_phone(text)):
        return mask_phone(phone)
    return text


# --- costs ---


class _Group:
    """What one day, gateway, sender and currency cost."""

    def __init__(self) -> None:
        self.messages = 0
        self.delivered = 0
        self.parts = 0
        self.cost = Decimal(0)
        self.last = b""

    def add(self, message_id: bytes, state: str, parts: int | None, price: str) -> None:
        """One price. The steps of a cascade, which come one after the other, are one message."""
        if message_id != self.last:
            self.last = message_id
            self.messages += 1
            self.delivered += state in _DELIVERED
        self.parts += parts or 0
        self.cost = _EXACT.add(self.cost, Decimal(price))

    def shown(self) -> tuple[int, int, str, int, str | None]:
        each = None
        if self.delivered:
            exact = _WIDE.divide(self.cost, Decimal(self.delivered))
            each = format(exact.quantize(_PLACES, ROUND_HALF_UP, _WIDE), "f")
        return self.messages, self.parts, format(self.cost, "f"), self.delivered, each


class _Costs:
    """Adds up prices, a day (UTC) at a time: messages come in the order of their times, and a day is done for good."""

    def __init__(self) -> None:
        self._day = 0
        self._groups: dict[tuple[str, str, str], _Group] = {}

    def add(self, rows: Sequence[Row]) -> list[Row]:
        """Takes prices; gives the rows of the days that are done."""
        done: list[Row] = []
        for message_id, gateway, sender, state, parts, price, currency in rows:
            if price is None:
                continue
            day = id_time(message_id) // _DAY
            if day != self._day:
                done += self.end()
                self._day = day
            key = (gateway, sender, currency or "")
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = _Group()
            group.add(message_id, state, parts, price)
        return done

    def end(self) -> list[Row]:
        """The rows of the day at hand."""
        date = format_time(self._day * _DAY)[:10]
        rows = [
            (date, gateway, _plain(sender), currency, *group.shown())
            for (gateway, sender, currency), group in sorted(self._groups.items())
        ]
        self._groups = {}
        return rows
