"""Who is signed in to the pages. Functions over a `Tx`; what the browser keeps is never stored, only its digest."""

from __future__ import annotations

from msgspec import Struct

from bridge.core.model import Millis
from bridge.store.tx import Tx

__all__ = ["Session", "add_session", "end_session", "get_session", "prune_sessions", "touch_session"]


class Session(Struct, frozen=True):
    """`operator` is a name in the settings, `token` a digest of that operator's token when they signed in."""

    operator: str
    token: bytes
    created_at: Millis
    seen_at: Millis


async def add_session(tx: Tx, session_id: bytes, operator: str, token: bytes, now: Millis) -> None:
    await tx.run("add_session", id=session_id, operator=operator, token=token, now=now)


async def get_session(tx: Tx, session_id: bytes) -> Session | None:
    row = await tx.one("get_session", id=session_id)
    return Session(*row) if row else None


async def touch_session(tx: Tx, session_id: bytes, now: Millis) -> None:
    """It was used."""
    await tx.run("touch_session", id=session_id, now=now)


async def end_session(tx: Tx, session_id: bytes) -> None:
    await tx.run("end_session", id=session_id)


async def prune_sessions(tx: Tx, created_until: Millis, seen_until: Millis) -> None:
    """Forgets those that began, or were last used, too long ago."""
    await tx.run("prune_sessions", created_until=created_until, seen_until=seen_until)
