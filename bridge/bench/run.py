"""Runs the scenarios that are wanted, one after the other, and puts their figures together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct, structs

from bridge.bench import arrivals, long, traffic
from bridge.bench.lab import Lab
from bridge.bench.machine import machine, versions
from bridge.bench.measured import Measured
from bridge.bench.prepared import Prepared
from bridge.bench.processes import require_proc
from bridge.bench.result import Headlines, Result, figures_of, headlines, ratios
from bridge.bench.subjects import BridgeSubject, NaiveSubject
from bridge.bench.workbench import open_workbench
from bridge.errors import BridgeError

__all__ = ["EVERY", "LONG", "SCENARIOS", "Options", "Session", "measure", "run_bench"]

Run = Callable[[Lab], Awaitable[Measured]]
SCENARIOS: Mapping[str, Run] = {
    "sends": traffic.sends,
    "callbacks": arrivals.callbacks,
    "reports": arrivals.reports,
    "end_to_end": traffic.end_to_end,
    "end_to_end_one": traffic.end_to_end_one,
    "latency": arrivals.latency,
}
LONG: Mapping[str, Run] = {
    "search": long.search,
    "growth": long.growth,
    "memory": long.memory,
    "backlog": arrivals.backlog,
}
EVERY = (*SCENARIOS, *LONG)
_NAIVE: Mapping[str, Run] = {
    "sends": traffic.sends,
    "callbacks": lambda lab: arrivals.callbacks_of(lab, (100, 1)),
    "end_to_end": traffic.end_to_end,
}
_NAIVE_SHARE = 10  # it is slow, and soon steady: the naive service gets that part of the messages
_NAIVE_LEAST = 300


class Options(Struct, frozen=True):
    """What is wanted. `only`: names of scenarios; empty: all that are not long, and those too with `long`."""

    messages: int
    only: tuple[str, ...] = ()
    runs: int = 1
    naive: bool = False
    long: bool = False

    def wanted(self) -> list[str]:
        everything = [*SCENARIOS, *(LONG if self.long else ())]
        return [name for name in (*SCENARIOS, *LONG) if name in (self.only or everything)]


async def run_bench(options: Options, say: Callable[[str], None]) -> Result:
    """The whole benchmark. `say`: tells a person what goes on. A scenario that fails is a problem of the result."""
    require_proc()
    naive = NaiveSubject() if options.naive else None
    async with open_workbench(say) as bench:
        reference = await asyncio.to_thread(machine, bench.folder)
        lab = Lab(bench, Prepared(bench), BridgeSubject(), options.messages)
        session = Session(lab, options.runs)
        await measure([session], options)
        compared = await _compare(lab, naive, options, session.problems) if naive else None
    ours = figures_of(session.found, EVERY, session.problems)
    return Result(
        **structs.asdict(ours),
        versions=versions(),
        machine=reference,
        messages=options.messages,
        naive=None if compared is None else structs.asdict(compared),
        ratios=None if compared is None else ratios(ours, compared),
    )


class Session:
    """Runs the scenarios of one subject, and collects what should not be."""

    def __init__(self, lab: Lab, runs: int) -> None:
        self._lab = lab
        self._runs = runs
        self.found: dict[str, list[Measured]] = {}
        self.problems: list[str] = []

    async def run(self, name: str, run: Run, number: int) -> None:
        """One scenario, for the time `number`."""
        of = f", run {number + 1} of {self._runs}" if self._runs > 1 else ""
        self._lab.bench.say(f"Measuring {name} of {self._lab.subject.name}{of}.")
        try:
            measured = await run(self._lab)
        except (BridgeError, OSError) as error:
            self.problems.append(f"{self._lab.subject.name} {name}: {error}")
            return
        self.found.setdefault(name, []).append(measured)
        if isinstance(self._lab.subject, BridgeSubject):
            self.problems += [f"{name}: {each}" for each in measured.problems]


async def measure(sessions: Sequence[Session], options: Options) -> None:
    """Every scenario so often as was asked, of one subject right after that of the other: the machine drifts."""
    known = {**SCENARIOS, **LONG}
    for number in range(options.runs):
        for name in options.wanted():
            for session in sessions:
                await session.run(name, known[name], number)


async def _compare(lab: Lab, naive: NaiveSubject, options: Options, problems: list[str]) -> Headlines:
    """The same peers and load against the naive service."""
    messages = min(lab.messages, max(_NAIVE_LEAST, lab.messages // _NAIVE_SHARE))
    session = Session(Lab(lab.bench, lab.prepared, naive, messages), options.runs)
    for number in range(options.runs):
        for name in options.wanted():
            if name in _NAIVE:
                await session.run(name, _NAIVE[name], number)
    problems += session.problems
    found = headlines(session.found)
    # It has no backlog: it reports within the request that brings the callback.
    while_called = (found.callback_items_per_second_with_reports or {}).get("100")
    return structs.replace(found, reports_per_second=while_called)
