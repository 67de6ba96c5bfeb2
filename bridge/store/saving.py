"""What the lifecycle decided, written in lists: the messages as they are now, and the reports that became owed.

A `Saving` gathers the transitions of one transaction; `write`, at its end, needs a few statements for all of them.
It decides nothing.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import replace

from bridge.core.lifecycle import Snapshot, Transition
from bridge.core.model import MessageId, Millis, State, Status
from bridge.store import reports
from bridge.store.messages import MessageView
from bridge.store.reports import DueReport
from bridge.store.tx import Tx

__all__ = ["Saving", "save_transition"]

_ARRIVED = frozenset({State.DELIVERED, State.READ})


class Saving:
    """One transaction's transitions. A report leaves `settle_ms` after its message was accepted, no earlier."""

    def __init__(self, tx: Tx, now: Millis, settle_ms: int) -> None:
        self._tx = tx
        self._now = now
        self._settle_ms = settle_ms
        self._changed: dict[MessageId, MessageView] = {}
        self._owed: dict[MessageId, list[Status]] = {}
        self._received: dict[MessageId, Millis] = {}

    def add(
        self, message: MessageView, transition: Transition, received_at: Millis | None = None
    ) -> MessageView:
        """Notes a transition, and gives the message as it is after it. `received_at`: of the callback behind it."""
        after = transition.after
        delivered_at = message.delivered_at
        if delivered_at is None and after.state in _ARRIVED:
            delivered_at = self._now
        message = replace(message, snapshot=after, delivered_at=delivered_at)
        self._changed[message.id] = message
        if transition.reports and message.lane:  # of a test message Smartico is told nothing
            self._owed.setdefault(message.id, []).extend(transition.reports)
            if received_at is not None:
                self._received.setdefault(message.id, received_at)  # of the report that goes first
        return message

    async def write(self) -> list[DueReport]:
        """Writes it all. Gives the reports that are the next ones of their messages."""
        changed, self._changed = self._changed, {}
        owed, self._owed = self._owed, {}
        await self._tx.run_many("save_message", [self._columns(message) for message in changed.values()])
        return await self._add_reports(owed, changed) if owed else []

    async def _add_reports(
        self, owed: dict[MessageId, list[Status]], changed: dict[MessageId, MessageView]
    ) -> list[DueReport]:
        waiting = {message_id for message_id, _ in await reports.pending(self._tx, list(owed))}
        due: list[DueReport] = []
        rows: list[dict[str, object]] = []
        for message_id, statuses in owed.items():
            message = changed[message_id]
            # It may have been accepted by a clock that was ahead.
            due_at = max(self._now, min(self._now, message.created_at) + self._settle_ms)
            seq = len(message.snapshot.owed) - len(statuses)
            for number, status in enumerate(statuses, seq):
                goes = number == seq and message_id not in waiting  # the others wait for it
                rows.append(self._row(message, status, number, due_at if goes else None))
                if goes:
                    due.append(self._due(message, status, number, due_at))
        await self._tx.run_many("add_report", rows)
        return due

    def _row(
        self, message: MessageView, status: Status, seq: int, due_at: Millis | None
    ) -> dict[str, object]:
        return {
            "message_id": message.id,
            "status": status,
            "seq": seq,
            "lane": message.lane,
            "due_at": due_at,
            "owed_at": self._now,
        }

    def _due(self, message: MessageView, status: Status, seq: int, due_at: Millis) -> DueReport:
        return DueReport(
            message_id=message.id,
            status=status,
            seq=seq,
            due_at=due_at,
            owed_at=self._now,
            attempts=0,
            retries=0,
            refusals=0,
            not_founds=0,
            lane=message.lane,
            gateway=message.gateway,
            type=message.type,
            callback_url=self._tx.vault.open_text(message.callback_url),
            received_at=self._received.get(message.id),
            since=self._tx.began,
        )

    def _columns(self, message: MessageView) -> dict[str, object]:
        snapshot = message.snapshot
        return {
            "id": message.id,
            "state": snapshot.state,
            "marks": _words(snapshot.marks),
            "owed": _words(snapshot.owed),
            "negatives": _negatives(snapshot) if snapshot.negatives else "",
            "provider_message_id": message.provider_message_id,
            "submitted_at": message.submitted_at,
            "delivered_at": message.delivered_at,
            "error_code": message.error_code,
            "error_text": message.error_text,
            "updated_at": self._now,
        }


async def save_transition(
    tx: Tx, message: MessageView, transition: Transition, now: Millis, settled_at: Millis
) -> MessageView:
    """One transition by itself; none of its reports leaves before `settled_at`."""
    saving = Saving(tx, now, settled_at - message.created_at)
    after = saving.add(message, transition)
    await saving.write()
    return after


@lru_cache(maxsize=1024)
def _words(words: frozenset[str]) -> str:
    return " ".join(sorted(words))


def _negatives(snapshot: Snapshot) -> str:
    return " ".join(
        f"{step}={state}" for step, states in sorted(snapshot.negatives.items()) for state in sorted(states)
    )
