"""The scenarios that take long: `search` and `growth` on millions of messages, `memory` under load for minutes."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from itertools import pairwise
from statistics import mean
from typing import Any

from msgspec import structs

from bridge.bench.files import read_rows
from bridge.bench.lab import Lab
from bridge.bench.measured import Measured
from bridge.bench.prepared import Kind, Seeded
from bridge.bench.processes import Child, rss_mb
from bridge.bench.scene import PEOPLE, person, phone
from bridge.bench.seed import seeded_uid
from bridge.bench.subjects import BridgeSubject, Running
from bridge.bench.traffic import traffic
from bridge.bench.workbench import LONG

__all__ = ["growth", "memory", "search"]

_EVENTS = ("sent", "delivered")
_ENDLESS = 1_000_000_000  # messages: the time is what ends it

_SEARCHED = 1_000_000  # messages in the database
_SEARCH_SECONDS = 30.0
_LEAD = 1.0  # seconds of traffic before the first search, and after the last
_QUERIES = 200  # of each kind

_SIZES = (10_000, 1_000_000, 10_000_000)
_ROOM = 1.2  # of the disk space that a step is expected to need

_MEMORY_SECONDS = 600.0
_MINUTE = 60


async def search(lab: Lab, messages: int = _SEARCHED, seconds: float = _SEARCH_SECONDS) -> Measured:
    """Searches by every kind of id while end-to-end traffic runs at full speed."""
    seeded = await lab.prepared.copy(Kind.DONE, messages)
    queries = _queries(seeded, messages)
    found: dict[str, Any] = {}
    searcher = await Child.start("load", lab.bench.new_folder())

    async def look(service: Running) -> None:
        await asyncio.sleep(_LEAD)
        found.update(
            await searcher.ask("searches", LONG, port=service.port, queries=queries, seconds=seconds)
        )

    try:
        measured = await traffic(
            lab, _EVENTS, folder=seeded.folder, count=_ENDLESS, seconds=seconds + 2 * _LEAD, alongside=look
        )
    finally:
        await searcher.stop()
    missed = [f"A search by {kind} found nothing." for kind, each in found.items() if not each["found"]]
    return structs.replace(
        measured,
        headline=max((each["latency_ms"]["p95"] for each in found.values()), default=None),
        unit="ms (worst p95)",
        figures={"messages_in_database": messages, "searches": found, "traffic": measured.figures},
        problems=[*measured.problems, *missed],
    )


def _queries(seeded: Seeded, messages: int) -> list[tuple[str, str]]:
    """All kinds in turn, each of messages and people that are there."""
    draw = random.Random(1)
    queries = []
    rows = read_rows(seeded.ids)
    for _ in range(_QUERIES):
        number, who = draw.randint(1, messages), draw.randrange(PEOPLE)
        queries += [
            ("ext_message_id", rows[number][1]),
            ("im_uid", seeded_uid(number)),
            ("provider_message_id", rows[number][0]),
            ("ext_user_id", person(who)),
            ("phone", phone(who)),
        ]
    return queries


async def growth(lab: Lab, sizes: tuple[int, ...] = _SIZES) -> Measured:
    """The same traffic on a database that has grown."""
    assert isinstance(lab.subject, BridgeSubject)
    seeded = await lab.prepared.copy(Kind.DONE)
    steps: dict[str, Any] = {}
    runs: list[Measured] = []
    problems: list[str] = []
    for before, size in pairwise((0, *sizes)):
        missing = _missing_room(seeded, before, size)
        if missing:
            problems.append(missing)
            break
        started = time.monotonic()
        await lab.prepared.add(seeded, size - before, note=False)
        took = time.monotonic() - started
        run = await traffic(lab, _EVENTS, folder=seeded.folder)
        runs.append(run)
        megabytes = round(await lab.subject.database_mb(seeded.folder))
        steps[str(size)] = _step(run, megabytes, (size - before) / took)
    return Measured(
        headline=runs[-1].headline if runs else None,
        unit="messages/s (at the most)",
        figures=steps,
        lost=sum(run.lost for run in runs),
        duplicated=sum(run.duplicated for run in runs),
        peak_rss_mb=max((run.peak_rss_mb for run in runs), default=0.0),
        cpu_seconds=runs[-1].cpu_seconds if runs else {},
        problems=[*problems, *(each for run in runs for each in run.problems)],
    )


def _step(run: Measured, database_mb: int, prepared_per_second: float) -> dict[str, Any]:
    return {
        "messages_per_second": run.headline,
        "service_cpu_us_per_message": run.figures["service_cpu_us_per_message"],
        "send_latency_ms": run.figures["send_latency_ms"],
        "peak_rss_mb": run.peak_rss_mb,
        "database_mb": database_mb,
        "prepared_per_second": round(prepared_per_second),
    }


def _missing_room(seeded: Seeded, before: int, size: int) -> str:
    """Why the database cannot grow so far; empty where it can."""
    if not before:
        return ""
    needed = (size - before) * seeded.database.stat().st_size / before * _ROOM
    free = shutil.disk_usage(seeded.folder).free
    if needed <= free:
        return ""
    return (
        f"{size:,} messages need {needed / 2**30:.0f} GiB and {free / 2**30:.0f} GiB are free: set TMPDIR to "
        "a larger disk."
    )


async def memory(lab: Lab, seconds: float = _MEMORY_SECONDS) -> Measured:
    """Full load for minutes; the memory of the service, every second."""
    samples: list[float] = []

    async def sample(service: Running) -> None:
        while True:
            samples.append(round(sum(map(rss_mb, service.pids)), 1))
            await asyncio.sleep(1)

    measured = await traffic(lab, _EVENTS, count=_ENDLESS, seconds=seconds, alongside=sample)
    during = samples[: int(seconds)]
    figures = {
        "first_minute_mb": round(mean(during[:_MINUTE]), 1),
        "last_minute_mb": round(mean(during[-_MINUTE:]), 1),
        "max_mb": max(samples),
        "samples_mb": during,
        "traffic": measured.figures,
    }
    return structs.replace(
        measured, headline=figures["last_minute_mb"], unit="MB (last minute)", figures=figures
    )
