"""Runs the scenarios that are wanted, one after the other, and puts their figures together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct, structs

from bridge.bench import arrivals, long, traffic
from bridge.bench.lab import Lab
from bridge.bench.machine import machine, versions
from bridge.bench.measured import Measured
from bridge.bench.prepared import Prepared
from bridge.bench.processes import require_proc
from bridge.bench.result import Headlines, Result, Scenario, headlines, median_run, ratios
from bridge.bench.subjects import BridgeSubject, NaiveSubject
from bridge.bench.workbench import Workbench, open_workbench
from bridge.errors import BridgeError

__all__ = ["LONG", "SCENARIOS", "Options", "run_bench"]

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
        session = _Session(bench, options)
        lab = Lab(bench, Prepared(bench), BridgeSubject(), options.messages)
        runs = await session.run(lab, {**SCENARIOS, **LONG}, options.wanted())
        compared = await session.compare(lab, naive) if naive else None
    ours = headlines(runs)
    return Result(
        **structs.asdict(ours),
        versions=versions(),
        machine=reference,
        messages=options.messages,
        problems=session.problems,
        scenarios={
            name: Scenario(median_run(runs[name]), runs[name]) if runs.get(name) else None
            for name in (*SCENARIOS, *LONG)
        },
        naive=None if compared is None else structs.asdict(compared),
        ratios=None if compared is None else ratios(ours, compared),
    )


class _Session:
    """Runs scenarios and collects what should not be."""

    def __init__(self, bench: Workbench, options: Options) -> None:
        self._bench = bench
        self._options = options
        self.problems: list[str] = []

    async def run(self, lab: Lab, known: Mapping[str, Run], names: list[str]) -> dict[str, list[Measured]]:
        """Every scenario so often as was asked."""
        found: dict[str, list[Measured]] = {}
        for number in range(self._options.runs):
            for name in names:
                self._tell(lab.subject.name, name, number)
                measured = await self._one(lab, name, known[name])
                if measured is not None:
                    found.setdefault(name, []).append(measured)
        return found

    def _tell(self, subject: str, name: str, number: int) -> None:
        runs = f", run {number + 1} of {self._options.runs}" if self._options.runs > 1 else ""
        self._bench.say(f"Measuring {name} of {subject}{runs}.")

    async def _one(self, lab: Lab, name: str, run: Run) -> Measured | None:
        try:
            measured = await run(lab)
        except (BridgeError, OSError) as error:
            self.problems.append(f"{lab.subject.name} {name}: {error}")
            return None
        if isinstance(lab.subject, BridgeSubject):
            self.problems += [f"{name}: {each}" for each in measured.problems]
        return measured

    async def compare(self, lab: Lab, naive: NaiveSubject) -> Headlines:
        """The same peers and load against the naive service."""
        messages = min(lab.messages, max(_NAIVE_LEAST, lab.messages // _NAIVE_SHARE))
        other = Lab(lab.bench, lab.prepared, naive, messages)
        names = [name for name in self._options.wanted() if name in _NAIVE]
        found = headlines(await self.run(other, _NAIVE, names))
        # It has no backlog: it reports within the request that brings the callback.
        while_called = (found.callback_items_per_second_with_reports or {}).get("100")
        return structs.replace(found, reports_per_second=while_called)
