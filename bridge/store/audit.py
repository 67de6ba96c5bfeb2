"""The audit trail: who did what, when and why. Functions over a `Tx`."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, json

from bridge.core.model import Millis
from bridge.store.tx import Tx

__all__ = ["AuditLine", "add_audit", "audit_lines"]


class AuditLine(Struct, frozen=True):
    """One thing that somebody did. `detail`: what belongs to the action, `reason` among it."""

    id: int
    at: Millis
    actor: str
    action: str
    detail: dict[str, Any]


async def add_audit(tx: Tx, at: Millis, actor: str, action: str, detail: dict[str, Any]) -> None:
    await tx.run("add_audit", at=at, actor=actor, action=action, detail=json.encode(detail).decode())


async def audit_lines(tx: Tx, before: int, limit: int) -> list[AuditLine]:
    """Newest first."""
    rows = await tx.all("audit_lines", before=before, limit=limit)
    return [AuditLine(id_, at, actor, action, json.decode(detail)) for id_, at, actor, action, detail in rows]
