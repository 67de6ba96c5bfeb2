"""The replay of dead reports: which ones, and what the audit trail says of it."""

from __future__ import annotations

import pytest

from bridge.core.model import id_text
from bridge.errors import StoreError
from bridge.flows.review import Actor, Replayed, ReplayFilter, choose_reports, replay_reports
from bridge.store.audit import AuditLine, audit_lines
from bridge.store.search import ReportFilter, find_report_keys
from tests.dead_reports import LANE, add_dead_reports
from tests.flows.desk import NOW, Desk

ALICE = Actor("alice", "they are back")
LOCKED = "error_code 4: ••• is locked"


async def trail(desk: Desk) -> list[AuditLine]:
    """The audit, oldest first."""
    return (await desk.store.read(lambda tx: audit_lines(tx, 2**62, 100)))[::-1]


async def replay(desk: Desk, chosen: ReportFilter | None) -> Replayed:
    assert chosen is not None
    return await replay_reports(desk.store, chosen, ALICE, NOW, dry_run=False)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (ReplayFilter(), ReportFilter("dead")),
        (
            ReplayFilter("pending", "2h", "sms", "302", LOCKED, LANE),
            ReportFilter("pending", NOW - 7_200_000, "sms", "302", cause=LOCKED, lane=LANE),
        ),
        (ReplayFilter(since="yesterday"), None),
    ],
)
def test_every_field_of_a_filter_counts(by: ReplayFilter, expected: ReportFilter | None) -> None:
    """What people write reaches the store whole; a time that cannot be read is no time, not all times."""
    assert choose_reports(by, NOW) == expected


async def test_the_audit_says_what_was_chosen(desk: Desk) -> None:
    """The first line has the fields of the filter and how many fit, the second how many were replayed."""
    await add_dead_reports(desk.store, "HTTP 500", "error_code 4: 48213 is locked", "HTTP 500")
    by = ReplayFilter("dead", "1970-01-01", "sms", "error_code", LOCKED, LANE)
    assert await replay(desk, choose_reports(by, NOW)) == Replayed(1, 1)
    asked, done = await trail(desk)
    assert (asked.actor, asked.action) == ("alice", "reports.replay")
    assert asked.detail == {
        "matched": 1,
        "gateway": "sms",
        "error": "error_code",
        "cause": LOCKED,
        "lane": LANE,
        "since": "1970-01-01T00:00:00.000Z",
        "reason": "they are back",
    }
    assert (done.actor, done.action, done.detail) == (
        "alice",
        "reports.replayed",
        {"matched": 1, "replayed": 1},
    )


async def test_the_audit_of_all_and_of_single_ones(desk: Desk) -> None:
    """Without a filter only the number stands there; of ids how many they are, and a single id itself."""
    ids = await add_dead_reports(desk.store, *["HTTP 500"] * 4)
    keys = await desk.store.search(lambda tx: find_report_keys(tx, ReportFilter()))
    for chosen in (keys[:1], keys[1:3], None):
        await replay(desk, ReportFilter(state="dead", keys=chosen))
    reason = {"reason": "they are back"}
    assert [line.detail for line in await trail(desk) if line.action == "reports.replay"] == [
        {"matched": 1, "ids": 1, "id": f"{id_text(ids[0])}:delivered", **reason},
        {"matched": 2, "ids": 2, **reason},
        {"matched": 1, **reason},
    ]


async def test_no_address_gets_into_the_audit(desk: Desk) -> None:
    """Who looks for an error by a phone number or a mail address leaves neither in the trail."""
    for error in ("+44 7700 900123 is locked", "jane.doe@example.com is locked"):
        await replay(desk, ReportFilter(state="dead", error=error))
    told = [line.detail["error"] for line in await trail(desk) if line.action == "reports.replay"]
    assert told == ["••• is locked", "••• is locked"]


async def test_a_replay_that_stops_half_way_leaves_a_trail(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who chose what stands there before the first report is revived; no line claims that it came to an end."""
    await add_dead_reports(desk.store, *["HTTP 500"] * 3)
    monkeypatch.setattr("bridge.flows.review._CHUNK", 2)

    def stop(far: Replayed) -> None:
        raise StoreError(f"stopped after {far.replayed}")

    chosen = ReportFilter(state="dead", lane=LANE)
    with pytest.raises(StoreError, match="stopped after 2"):
        await replay_reports(desk.store, chosen, ALICE, NOW, dry_run=False, progress=stop)
    (line,) = await trail(desk)
    assert (line.action, line.detail["matched"], line.detail["lane"]) == ("reports.replay", 3, LANE)


async def test_a_dry_run_leaves_no_trail(desk: Desk) -> None:
    """Counting changes nothing, and so is nobody's deed."""
    await add_dead_reports(desk.store, "HTTP 500")
    chosen = ReportFilter(state="dead")
    assert await replay_reports(desk.store, chosen, ALICE, NOW, dry_run=True) == Replayed(1, 0)
    assert await trail(desk) == []
