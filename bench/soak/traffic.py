"""The soak: traffic, kills at random moments and at commits, a peer that is away again and again, the verdict."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.soak.bridges import Bridge
from bench.soak.stage import Stage, open_stage
from bridge.errors import BridgeError

__all__ = ["KINDS", "Outcome", "Plan", "broken", "soak"]

# The commits of a message's life, each by a statement that only it has.
KINDS = {
    "accepted": "add_message",
    "claimed": "hand_send",
    "settled with the provider": "delete_send",
    "callback kept": "add_new_batch",
    "callback understood": "finish_batch",
    "report done": "finish_report",
}
_PROMISES = (
    "lost",
    "sent_twice",
    "out_of_order",
    "unexpected",
    "strangers",
    "unexcused",
    "protocol_errors",
)
_IN_TIME = 3.0  # seconds for a commit to come at which to die
_EVERYBODY = 0.2  # of the kills: all instances at once
_EARLY = 0.1  # of the starts: killed again before they are ready, if kills are left
_POLL = 0.25


def broken(verdict: dict[str, Any]) -> dict[str, int]:
    """The promises that were not kept, and how often."""
    return {name: verdict[name] for name in _PROMISES if verdict[name]}


class Plan(Struct, frozen=True, kw_only=True):
    """What a run does. `at_commits`: the share of the kills that happen at a commit. `seconds`: the traffic
    ends after them, however many messages that were; and so long is waited for what it leaves to do."""

    messages: int
    kills: int
    rate: float
    seed: int
    surfaces: tuple[str, ...]
    instances: int = 1
    faults: bool = True
    at_commits: float = 0.5
    flap: str = ""
    away_seconds: float = 4.0
    unknown_send: str = "review"
    seconds: float = 3600.0


class Outcome(Struct, frozen=True, kw_only=True):
    """The figures of a run. `in_flight` at kills and cuts; `unexcused`: repeats that were not in flight."""

    engine: str
    instances: int
    messages: int
    kills: int
    kills_at_commits: int
    commits: dict[str, int]
    cuts: int
    seconds: float
    drained: bool
    decided: int
    dead_reports: int
    verdict: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether what is promised was kept."""
        return self.drained and not self.dead_reports and not broken(self.verdict)


class Soak:
    """One run."""

    def __init__(self, plan: Plan, stage: Stage, say: Callable[[str], None], enough: asyncio.Event) -> None:
        self._plan = plan
        self._enough = enough
        self._stage = stage
        self._say = say
        self._draw = random.Random(plan.seed)
        self._began = time.monotonic()
        self._kinds = list(KINDS.values())
        self._commits = 0
        self.kills = self.cuts = 0

    async def run(self) -> tuple[bool, int]:
        """Whether everything was told in the end, and how many messages a person had to decide about."""
        plan, stage = self._plan, self._stage
        await stage.ask("traffic", messages=plan.messages, rate=plan.rate)
        flapping = asyncio.create_task(self._flap(stage)) if plan.flap else None
        try:
            await self._kill_again_and_again()
            await self._until(lambda progress: not progress["sending"])
        finally:
            if flapping:
                flapping.cancel()
                await asyncio.gather(flapping, return_exceptions=True)
                await stage.gates[plan.flap].open()
        drained = await stage.drain(plan.seconds, self._show)
        decided = 0
        while drained and (more := await stage.decide()):
            decided += more
            drained = await stage.drain(plan.seconds, self._show)
        return drained, decided

    async def _kill_again_and_again(self) -> None:
        """Each kill comes once so many messages were accepted, and a moment later."""
        plan, draw = self._plan, self._draw
        marks = sorted(draw.uniform(0.02, 0.97) * plan.messages for _ in range(plan.kills))
        for mark in marks:
            if self.kills >= plan.kills:
                break
            await self._until_accepted(mark)
            if self._enough.is_set():
                break
            await asyncio.sleep(draw.uniform(0.0, 0.5))
            bridges = list(self._stage.bridges)
            draw.shuffle(bridges)
            victims = bridges if draw.random() < _EVERYBODY else bridges[:1]
            await asyncio.gather(*(self._kill(each) for each in victims[: plan.kills - self.kills]))
            await asyncio.gather(*(self._start(each) for each in bridges))

    async def _kill(self, bridge: Bridge) -> None:
        """At a commit, where it is drawn; else at this very moment."""
        self.kills += 1
        if self._draw.random() < self._plan.at_commits:
            kind = self._kinds[self._commits // 2 % len(self._kinds)]
            when = ("before", "after")[self._commits % 2]
            self._commits += 1
            bridge.aim(f"{when} {self._draw.randint(1, 5)} {kind}")
            if await bridge.died(_IN_TIME):
                bridge.spare()
                await self._stage.note_kill(time.time())
                return
            bridge.spare()
        await self._stage.kill(bridge)

    async def _start(self, bridge: Bridge) -> None:
        """Starts it again, if it is down; now and then it is killed once more while it starts."""
        while not bridge.running:
            await bridge.start()
            if self.kills < self._plan.kills and self._draw.random() < _EARLY:
                await asyncio.sleep(self._draw.uniform(0.2, 1.5))
                self.kills += 1
                await self._stage.kill(bridge)
        if not await bridge.ready():
            raise BridgeError(f"{bridge.name} died, though nobody killed it.")

    async def _flap(self, stage: Stage) -> None:
        """The peer is away for some seconds, is there for some, and so on."""
        plan, gate = self._plan, stage.gates[self._plan.flap]
        while True:
            await asyncio.sleep(plan.away_seconds * self._draw.uniform(0.5, 1.5))
            await gate.shut()
            self.cuts += 1
            await stage.note_kill(time.time())
            await asyncio.sleep(plan.away_seconds * self._draw.uniform(0.5, 1.5))
            await gate.open()

    async def _until_accepted(self, messages: float) -> None:
        await self._until(lambda progress: progress["accepted"] >= messages)

    async def _until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        while True:
            progress = await self._stage.ask("progress")
            self._show(progress, "traffic")
            if time.monotonic() - self._began > self._plan.seconds:
                self._enough.set()
            if self._enough.is_set():
                await self._stage.ask("enough")
            if condition(progress) or not progress["sending"]:
                return
            await asyncio.sleep(_POLL)

    def _show(self, progress: dict[str, Any], what: str) -> None:
        cuts = f", {self.cuts} cuts" if self.cuts else ""
        self._say(
            f"{time.monotonic() - self._began:5.0f} s  {progress['accepted']:,}/{self._plan.messages:,} accepted, "
            f"{progress['statuses']:,} reports, {progress['repeated']:,} repeated, {self.kills}/{self._plan.kills} "
            f"kills{cuts}  {what}"
        )


async def soak(
    plan: Plan,
    folder: Path,
    database: str,
    say: Callable[[str], None],
    enough: asyncio.Event | None = None,
) -> Outcome:
    """One run, from nothing to the verdict, in a folder of its own and a database that is empty.

    Once `enough` is set the traffic ends, and what there was is judged.
    """
    began = time.monotonic()
    async with open_stage(
        folder,
        database,
        surfaces=plan.surfaces,
        instances=plan.instances,
        seed=plan.seed,
        faults=plan.faults,
        flap=plan.flap,
        unknown_send=plan.unknown_send,
    ) as stage:
        run = Soak(plan, stage, say, enough or asyncio.Event())
        drained, decided = await run.run()
        verdict = await stage.ask("verdict")
        deaths = [line for bridge in stage.bridges for line in bridge.deaths()]
        dead = await stage.database.dead()
        for bridge in stage.bridges:
            await bridge.stop()
    return Outcome(
        engine="SQLite" if database.startswith("sqlite") else "PostgreSQL",
        instances=plan.instances,
        messages=plan.messages,
        kills=run.kills,
        kills_at_commits=len(deaths),
        commits=dict(Counter(_named(line) for line in deaths)),
        cuts=run.cuts,
        seconds=round(time.monotonic() - began, 1),
        drained=drained,
        decided=decided,
        dead_reports=dead,
        verdict=verdict,
    )


def _named(death: str) -> str:
    """ "before 3 hand_send: …" as people call it: "before claimed"."""
    when, _, kind = death.partition(":")[0].split()
    return f"{when} {next((name for name, statement in KINDS.items() if statement == kind), kind)}"
