"""The scenarios in which Smartico sends: `sends`, `end_to_end` and `end_to_end_one`, and the traffic of longer ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.bench.figures import per_second
from bridge.bench.lab import Alongside, Lab, beside
from bridge.bench.measured import Measured, told
from bridge.bench.scene import PEOPLE
from bridge.bench.workbench import Meter, order_load

__all__ = ["end_to_end", "end_to_end_one", "sends", "traffic"]

CONNECTIONS = 64
_DAY = 86_400.0
_WORDS = {"sent": "accepted", "delivered": "delivered"}  # the provider's event → Smartico's status


async def sends(lab: Lab) -> Measured:
    """Sends only: the provider takes all and says nothing more."""
    return await traffic(lab, ())


async def end_to_end(lab: Lab) -> Measured:
    """Each message: one send, two callback elements, two reports."""
    return await traffic(lab, ("sent", "delivered"))


async def end_to_end_one(lab: Lab) -> Measured:
    """Each message: one send, one callback element, one report."""
    return await traffic(lab, ("delivered",))


async def traffic(
    lab: Lab,
    events: tuple[str, ...],
    *,
    folder: Path | None = None,
    seconds: float = _DAY,
    count: int | None = None,
    alongside: Alongside | None = None,
) -> Measured:
    """As many sends as come through, and what follows from them, until the last report has arrived."""
    bench = lab.bench
    folder = folder or await lab.empty_folder()
    ids = folder / "sent.txt"
    await bench.reset(*events)
    async with bench.running(lab.subject, folder) as service:
        meter = Meter(bench, service)
        async with beside(alongside, service):
            sent = await order_load(
                bench,
                "sends",
                ports=service.ports,
                count=count or lab.messages,
                connections=CONNECTIONS,
                run=lab.run_name(),
                callback_url=bench.callback_url,
                people=PEOPLE,
                ids=str(ids),
                seconds=seconds,
            )
            await bench.until(bench.taken, sent["accepted"])
            await bench.until(bench.reported, sent["accepted"] * len(events))
        cpu, peak, seen = meter.cpu(), meter.peak_rss_mb(), await bench.smartico.ask("seen")
        await bench.settle()
    last_ns = seen["last_ns"] if events else sent["last_ns"]
    return await _judged(lab, sent, events, ids, last_ns, peak, cpu)


async def _judged(
    lab: Lab,
    sent: dict[str, Any],
    events: tuple[str, ...],
    ids: Path,
    last_ns: int,
    peak: float,
    cpu: dict[str, float],
) -> Measured:
    taken = await lab.bench.provider.ask("seen")
    verdict = await lab.bench.smartico.ask(
        "verdict", ids=str(ids), statuses=[_WORDS[each] for each in events]
    )
    accepted = sent["accepted"]
    return Measured(
        headline=per_second(accepted, sent["first_ns"], last_ns),
        unit="messages/s",
        figures={
            "messages": accepted,
            "seconds": round((last_ns - sent["first_ns"]) / 1e9, 2),
            "sends_per_second": per_second(accepted, sent["first_ns"], sent["last_ns"]),
            "send_latency_ms": sent["latency_ms"],
            "service_cpu_us_per_message": _each(cpu["service"], accepted),
            "database_cpu_us_per_message": _each(cpu.get("database"), accepted),
            "overloaded_answers": sent["overloaded"],
            "provider_requests": taken["requests"],
            "callbacks_posted_again": taken["repeated"],
            "examples_of_lost": verdict["examples"],
        },
        lost=max(verdict["lost"], accepted - taken["messages"]),
        duplicated=verdict["duplicated"] + taken["duplicated"],
        peak_rss_mb=peak,
        cpu_seconds=cpu,
        problems=told(
            (sent["refused"], "sends were refused"), (verdict["unexpected"], "reports were not expected")
        ),
    )


def _each(seconds: float | None, count: int) -> int | None:
    """Microseconds for each; None where that is not known."""
    return round(seconds * 1e6 / count) if seconds is not None and count else None
