"""Dead status reports, put into a database by hand, for what shows and replays them."""

from __future__ import annotations

from bridge.core.model import MessageId, Status, new_id
from bridge.flows import reporting
from bridge.store.reports import Settlement
from bridge.store.tx import Store, Tx

__all__ = ["LANE", "add_dead_reports"]

LANE = "sms@api.smartico.ai"
_FIRST_AT = 1_795_234_921_250


async def add_dead_reports(store: Store, *errors: str, lane: str = LANE, first: int = 0) -> list[MessageId]:
    """Messages whose report is dead, each with its error, owed since 1 ms, 2 ms, … of 1970; `first` moves all that."""
    ids = [new_id(_FIRST_AT + first + number, number) for number in range(len(errors))]
    gateway = lane.partition("@")[0]

    async def job(tx: Tx) -> None:
        for number, (each, error) in enumerate(zip(ids, errors, strict=True)):
            await tx.run(
                "add_message", id=each, gateway=gateway, type="sms", channel="SMS", provider="revicom",
                smartico_uid=each.hex(), ext_user_id="user", sender="", address_hash=None, address_masked=None,
                callback_url=tx.vault.seal_text("https://api.smartico.ai/x"), lane=lane, created_at=1,
            )  # fmt: skip
            await tx.run(
                "add_report", message_id=each, status=Status.DELIVERED, seq=0, lane=lane, due_at=None,
                owed_at=1 + first + number,
            )  # fmt: skip
            failed = Settlement(each, Status.DELIVERED, "dead", None, 1, 1, 0, 0, None, error)
            await reporting.settle(tx, [(lane, failed)], 1)

    await store.write(job)
    return ids
