"""The counts behind the gauges: what waits, since when, how large it all is, and that counting goes on."""

from __future__ import annotations

from pathlib import Path

from bridge.metrics import Metrics
from bridge.store import sends
from bridge.store.tx import Tx
from bridge.worker.counts import Backlog, CountPump
from tests.flows.desk import Desk

LANE = "sms@api.smartico.ai"


async def nothing() -> None:
    """The inbox counts for itself."""


async def gauges(desk: Desk) -> str:
    """What the metrics say after one round."""
    metrics = Metrics()
    pump = CountPump(
        desk.store,
        lambda: desk.now,
        metrics,
        Backlog(),
        recount_inbox=nothing,
        compare=lambda owed: None,
        hosts_down=list,
        leap=int,
    )
    await pump.step()
    return metrics.text().decode()


async def test_the_age_of_what_waits(desk: Desk) -> None:
    """The oldest message that waits for anything but a person tells how late sending is, by gateway."""
    reviewed = await desk.accept()

    async def to_review(tx: Tx) -> None:
        await tx.run("review_send", message_id=reviewed)

    await desk.store.write(to_review)
    desk.now += 60_000
    await desk.accept()
    desk.now += 30_000
    await desk.accept()
    text = await gauges(desk)
    assert 'bridge_sends_oldest_seconds{gateway="sms"} 30.0' in text
    assert 'bridge_sends_waiting{gateway="sms",phase="queued"} 2.0' in text
    assert await desk.store.read(lambda tx: sends.next_due(tx, "revicom", "queued", 0)) is not None


async def test_how_late_reports_are(desk: Desk) -> None:
    """The lane says for how long its longest due report has been due; a later attempt is not late."""
    message_id = await desk.accept()
    await desk.submit("u-1")
    await desk.receive({
        "message_uuid": "u-1", "channel_type": "SMS", "callback_event": "delivered", "status": "delivered",
        "status_time": "2026-11-21T18:51:13Z",
    })  # fmt: skip
    assert await desk.owed(message_id)
    desk.now += 45_000 + desk.rules.settle_ms
    text = await gauges(desk)
    assert f'bridge_reports_overdue_seconds{{lane="{LANE}"}} 45.0' in text
    assert f'bridge_reports_waiting{{lane="{LANE}"}} 1.0' in text
    desk.now -= 90_000
    assert f'bridge_reports_overdue_seconds{{lane="{LANE}"}} 0.0' in await gauges(desk)


async def test_size_and_time(desk: Desk) -> None:
    """The size of the database and the time of the count are there, whatever the engine."""
    text = await gauges(desk)
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["bridge_database_bytes"]) > 10_000
    assert float(values["bridge_counted_timestamp_seconds"]) == desk.now / 1000
    assert float(values["bridge_forwards_dead"]) == 0
    assert "process_resident_memory_bytes" in text or not Path("/proc/self/stat").exists()
