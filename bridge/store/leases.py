"""Leases, where several processes share the database: their clock, and what a process that stops gives back."""

from __future__ import annotations

import time

from bridge.store.tx import Tx

__all__ = ["give_back", "steady"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Seconds of a clock that never goes back, and that goes on while the machine is suspended."""
    return time.clock_gettime(_CLOCK)


async def give_back(tx: Tx) -> None:
    """Ends all leases of this process. What it was handing over and could not finish is looked up by the others."""
    await tx.run("give_back_sends")
    await tx.run("give_back_batches")
    await tx.run("give_back_reports")
    await tx.run("give_back_forwards")
