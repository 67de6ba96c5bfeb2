"""The scenarios that begin with messages which are there already: `callbacks`, `latency` and `reports`."""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from bridge.bench.figures import per_second, percentiles
from bridge.bench.files import read_rows, write_lines
from bridge.bench.lab import Lab, beside
from bridge.bench.lag import Lag
from bridge.bench.measured import Measured, told
from bridge.bench.prepared import Kind
from bridge.bench.scene import HOST
from bridge.bench.subjects import BridgeSubject, Running
from bridge.bench.wire import request_bytes
from bridge.bench.workbench import Meter, order_load

__all__ = ["RATES", "SIZES", "backlog", "callbacks", "latency", "reports"]

SIZES = {1000: 4, 100: 16, 10: 64, 1: 64}  # elements in a callback: connections
RATES = (50, 200, 1000)  # callbacks a second
_SECONDS, _LEAST_SECONDS = 10.0, 1.5  # at each rate, with many messages and with few
_FEW = 1500  # with fewer than ten times as many messages, it is shorter
_REPORTED = ["delivered"]
_SEED = 20261001
_BACKLOG = 500_000


async def callbacks(lab: Lab) -> Measured:
    """Elements kept, in batches of several sizes; one `delivered` for each message."""
    return await callbacks_of(lab, SIZES)


async def callbacks_of(lab: Lab, sizes: Collection[int]) -> Measured:
    """`callbacks` with these sizes only."""
    bench, count = lab.bench, lab.messages
    ids = await _submitted(lab, count * len(sizes))
    await bench.reset()
    lag = Lag()
    async with bench.running(lab.subject, ids.parent) as service:
        await _submit_naive(lab, service, ids, count * len(sizes))
        meter = Meter(bench, service)
        alongside = lag.watch if isinstance(lab.subject, BridgeSubject) else None
        async with beside(alongside, service):
            runs = {
                size: await _callbacks(lab, service, ids, number * count, size, lag)
                for number, size in enumerate(sizes)
            }
        cpu, peak = meter.cpu(), meter.peak_rss_mb()
        await bench.settle()
    figures: dict[str, Any] = {str(size): runs[size] for size in sorted(runs)}
    if alongside:
        figures["inbox"] = lag.figures()
    return await _judged(lab, ids, runs[100]["items_per_second"], "elements/s", figures, peak, cpu)


async def _callbacks(lab: Lab, service: Running, ids: Path, skip: int, size: int, lag: Lag) -> dict[str, Any]:
    """All elements of one size, until the last report was made."""
    measured = isinstance(lab.subject, BridgeSubject)
    before = await lab.bench.reported()
    applied = await lag.applied(service) if measured else 0
    posted = await order_load(
        lab.bench,
        "callbacks",
        **_door(service),
        ids=str(ids),
        skip=skip,
        count=lab.messages,
        batch=size,
        connections=SIZES[size],
    )
    kept, last_ns = posted["acknowledged"], posted["last_ns"]
    lagged = await lag.wait(service, applied + kept, last_ns) if measured else None
    await lab.bench.until(lab.bench.reported, before + kept)
    reported_ns = (await lab.bench.smartico.ask("seen"))["last_ns"]
    return {
        "elements": posted["elements"],
        "acknowledged": kept,
        "items_per_second": per_second(kept, posted["first_ns"], last_ns),
        "items_per_second_with_reports": per_second(kept, posted["first_ns"], max(last_ns, reported_ns)),
        "latency_ms": posted["latency_ms"],
        "seconds_until_applied": lagged,
        "seconds_until_last_report": round(max(0, reported_ns - last_ns) / 1e9, 3),
    }


async def latency(lab: Lab) -> Measured:
    """Callbacks of one element at a steady rate: from just before the POST to the arrival of the report."""
    bench = lab.bench
    seconds = min(_SECONDS, max(_LEAST_SECONDS, lab.messages / _FEW))
    counts = {rate: min(lab.messages, int(rate * seconds)) for rate in RATES}
    ids = await _submitted(lab, sum(counts.values()))
    runs: dict[str, Any] = {}
    await bench.reset(timed=True)
    async with bench.running(lab.subject, ids.parent) as service:
        meter, skip = Meter(bench, service), 0
        for rate, count in counts.items():
            runs[str(rate)] = await _paced(lab, service, ids, skip, count, rate)
            skip += count
        cpu, peak = meter.cpu(), meter.peak_rss_mb()
        await bench.settle()
    return await _judged(lab, ids, runs["200"]["report_latency_ms"]["p50"], "ms", runs, peak, cpu)


async def _paced(lab: Lab, service: Running, ids: Path, skip: int, count: int, rate: int) -> dict[str, Any]:
    before = await lab.bench.reported()
    left, came = ids.with_name("left.txt"), ids.with_name("came.txt")
    posted = await order_load(
        lab.bench,
        "paced",
        **_door(service),
        ids=str(ids),
        skip=skip,
        count=count,
        rate=rate,
        times=str(left),
    )
    await lab.bench.until(lab.bench.reported, before + count)
    await lab.bench.smartico.ask("times", path=str(came))
    arrivals = {name: int(at) for name, at in read_rows(came)}
    took = [arrivals[name] - int(at) for name, at in read_rows(left) if name in arrivals]
    return posted | {"report_latency_ms": percentiles(took)}


async def reports(lab: Lab) -> Measured:
    """A backlog of reports is there when the service starts, and is drained."""
    return await _drained(lab, lab.messages)


async def backlog(lab: Lab) -> Measured:
    """`reports` with very many."""
    return await _drained(lab, max(lab.messages, _BACKLOG))


async def _drained(lab: Lab, count: int) -> Measured:
    bench = lab.bench
    seeded = await lab.prepared.copy(Kind.OWED, count - 1)
    await bench.reset()
    async with bench.running(lab.subject, seeded.folder) as service:
        meter = Meter(bench, service)
        await bench.until(bench.reported, count)
        cpu, peak = meter.cpu(), meter.peak_rss_mb()
        seen = await bench.smartico.ask("seen")
        await bench.settle()
    rate = per_second(seen["pairs"] - 1, seen["first_ns"], seen["last_ns"])
    figures = {"reports": seen["pairs"], "seconds": round((seen["last_ns"] - seen["first_ns"]) / 1e9, 2)}
    return await _judged(lab, seeded.ids, rate, "reports/s", figures, peak, cpu)


# --- parts ---


def _door(service: Running) -> dict[str, Any]:
    return {
        "ports": service.ports,
        "path": service.callback_path,
        "authorization": service.callback_authorization,
    }


async def _submitted(lab: Lab, count: int) -> Path:
    """The file of ids, beside a database with messages that the provider has."""
    if isinstance(lab.subject, BridgeSubject):
        return (await lab.prepared.copy(Kind.SUBMITTED, count - 1)).ids
    return lab.bench.new_folder() / "ids.txt"


async def _submit_naive(lab: Lab, service: Running, ids: Path, count: int) -> None:
    """The naive service makes its messages itself: with ids of the provider that follow from a number."""
    if isinstance(lab.subject, BridgeSubject):
        return
    draw = random.Random(_SEED)
    write_lines(ids, [str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in range(count)])
    body = msgspec.json.encode({"seed": _SEED, "count": count, "callback_url": lab.bench.callback_url})
    request = request_bytes("POST", "/seed", HOST, body, "Content-Type: application/json\r\n")
    await service.ask(request, 120)


async def _judged(
    lab: Lab,
    ids: Path,
    headline: float | None,
    unit: str,
    figures: dict[str, Any],
    peak: float,
    cpu: dict[str, float],
) -> Measured:
    """Every message of the file is owed one report; the naive service alone knows what it called its messages."""
    refused = sum(run["elements"] - run["acknowledged"] for run in figures.values() if _has_elements(run))
    verdict: dict[str, Any] = {"lost": 0, "duplicated": 0, "unexpected": 0}
    if isinstance(lab.subject, BridgeSubject):
        verdict = await lab.bench.smartico.ask("verdict", ids=str(ids), statuses=_REPORTED)
    return Measured(
        headline=headline,
        unit=unit,
        figures=figures,
        lost=verdict["lost"],
        duplicated=verdict["duplicated"],
        peak_rss_mb=peak,
        cpu_seconds=cpu,
        problems=told(
            (refused, "callback elements were not acknowledged"),
            (verdict["unexpected"], "reports were not expected"),
        ),
    )


def _has_elements(run: Any) -> bool:
    return isinstance(run, dict) and "acknowledged" in run
