"""How much of what is in the database: for `bridge db status`. Functions over a `Tx`; they look at every row."""

from __future__ import annotations

from msgspec import Struct

from bridge.store import inbox
from bridge.store.tx import Tx

__all__ = ["Figures", "count_all"]


class Figures(Struct, frozen=True):
    """Messages and reports by state, waiting callback elements, open review items by kind."""

    messages: dict[str, int]
    reports: dict[str, int]
    inbox_waiting: int
    review: dict[str, int]


async def count_all(tx: Tx) -> Figures:
    waiting, _ = await inbox.waiting(tx)
    return Figures(
        messages=dict(await tx.all("count_messages")),
        reports=dict(await tx.all("count_reports")),
        inbox_waiting=waiting,
        review=dict(await tx.all("count_reviews")),
    )
