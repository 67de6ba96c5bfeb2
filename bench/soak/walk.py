"""One message for each commit of a message's life, at which the bridge dies: right before it, and right after it.

After each death the bridge is started as always, everything is told, and the books are compared, before the next
message comes. A life is: accepted, claimed, settled with the provider; callbacks kept and understood; reports done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.soak.stage import Stage, open_stage
from bench.soak.traffic import KINDS, broken
from bridge.errors import BridgeError

__all__ = ["Death", "Walked", "every_commit", "every_kind", "walk"]

_LIFE = 120.0  # seconds that one message may take, on a machine that is busy
_MOST = 60  # commits of one life
_POLL = 0.05
_TOLD = {"accepted", "delivered", "opened"}  # what Smartico learns of a message that was read


class Death(Struct, frozen=True):
    """One point: what the transaction had written, and what Smartico learned of the message in the end."""

    point: str
    wrote: str
    statuses: list[str]
    decided: int
    seconds: float


class Walked(Struct, frozen=True):
    """A whole walk."""

    engine: str
    deaths: list[Death]
    decided: int
    seconds: float
    verdict: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether what is promised was kept at every point."""
        return bool(self.deaths) and not broken(self.verdict)


def every_kind() -> Iterator[str]:
    """The short walk: the first commit of each kind."""
    for statement in KINDS.values():
        for when in ("before", "after"):
            yield f"{when} 1 {statement}"


def every_commit() -> Iterator[str]:
    """The whole walk: every commit from the acceptance on, whatever it is."""
    for number in range(1, _MOST + 1):
        for when in ("before", "after"):
            yield f"{when} {number} any"


async def walk(
    folder: Path,
    database: str,
    points: Iterable[str],
    say: Callable[[str], None],
    *,
    again: bool = False,
) -> Walked:
    """Dies at each point, until a message gets through its life before its point comes. `again`: the start after each
    death ends at the first commit of its own, too."""
    began = time.monotonic()
    deaths: list[Death] = []
    async with open_stage(
        folder,
        database,
        surfaces=("whatsapp",),
        step_seconds=0.02,
        outcome="read",
        timeout_seconds=2.0,
        unknown_after_seconds=1.5,
        lease_seconds=1.0,
    ) as stage:
        for point in points:
            say(f"{time.monotonic() - began:5.0f} s  {len(deaths)} deaths, {point}")
            death = await _die(stage, point, again=again)
            if death is None:
                break
            deaths.append(death)
        verdict = await stage.ask("verdict")
        await stage.bridges[0].stop()
    return Walked(
        engine="SQLite" if database.startswith("sqlite") else "PostgreSQL",
        deaths=deaths,
        decided=sum(each.decided for each in deaths),
        seconds=round(time.monotonic() - began, 1),
        verdict=verdict,
    )


async def _die(stage: Stage, point: str, *, again: bool) -> Death | None:
    """One message; None where it got through its life alive."""
    began, bridge = time.monotonic(), stage.bridges[0]
    seen = len(bridge.deaths())
    bridge.aim(point)
    uid = await stage.ask("send")
    dead = await _dead_or_told(stage, uid)
    bridge.spare()
    if not dead:
        return None
    await stage.note_kill(time.time())
    if again:
        bridge.aim("before 1 any")
        await bridge.start()
        if await bridge.died(3.0):
            await stage.note_kill(time.time())
        bridge.spare()
    if not bridge.running:
        await bridge.start()
    await bridge.ready()
    decided = 0
    while True:
        if not await stage.drain(_LIFE, poll=_POLL):
            raise BridgeError(f"{point}: after {_LIFE:.0f} s something is still left to do.")
        if not (more := await stage.decide()):
            break
        decided += more
    known = await stage.ask("message", uid=uid)
    return Death(
        point=point,
        wrote=bridge.deaths()[seen].partition(": ")[2],
        statuses=known["statuses"],
        decided=decided,
        seconds=round(time.monotonic() - began, 1),
    )


async def _dead_or_told(stage: Stage, uid: str) -> bool:
    """True: it died; False: Smartico knows all there is to know, and nothing is left to do."""
    end = time.monotonic() + _LIFE
    while time.monotonic() < end:
        if await stage.bridges[0].died(_POLL):
            return True
        told = set((await stage.ask("message", uid=uid))["statuses"])
        if told >= _TOLD - {"accepted"} and not await stage.database.open():
            return await stage.bridges[0].died(0.5)
    raise BridgeError(f"{uid}: neither dead nor told after {_LIFE:.0f} s.")
