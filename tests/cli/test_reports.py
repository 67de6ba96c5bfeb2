"""`bridge reports` without a service: the list with its filters, the causes, and a replay of no more than asked."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from bridge.assembly import open_database
from bridge.core.model import id_text
from bridge.settings import load_settings
from bridge.store.audit import AuditLine, audit_lines
from bridge.store.tx import Store
from tests.cli.conftest import Run
from tests.dead_reports import LANE, add_dead_reports

LOCKED = "error_code 4: ••• is locked"
OTHER = "sms@api2.smartico.ai"


async def open_store(folder: Path) -> Store:
    return await open_database(load_settings(folder / "bridge.toml", os.environ))


@pytest.fixture
def ids(folder: Path) -> list[str]:
    """A database with four dead reports: one of HTTP 500, and three of one cause on two lanes."""

    async def fill() -> list[str]:
        store = await open_store(folder)
        errors = ["HTTP 500", "error_code 4: 48213 is locked", "error_code 4: 99231 is locked"]
        found = await add_dead_reports(store, *errors)
        found += await add_dead_reports(store, "error_code 4: 50001 is locked", lane=OTHER, first=3)
        await store.close()
        return [id_text(each) for each in found]

    return asyncio.run(fill())


def audit(folder: Path) -> list[AuditLine]:
    async def read() -> list[AuditLine]:
        store = await open_store(folder)
        lines = await store.read(lambda tx: audit_lines(tx, 2**62, 100))
        await store.close()
        return lines

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [3, 2, 1, 0]),
        (("--cause", LOCKED), [3, 2, 1]),
        (("--cause", LOCKED, "--lane", LANE), [2, 1]),
        (("--lane", OTHER), [3]),
        (("--error", "http"), [0]),
        (("--since", "1970-01-01T00:00:00.003Z", "--gateway", "sms"), [3, 2]),
        (("--gateway", "email"), []),
    ],
)
def test_the_list_and_the_replay_choose_the_same(
    bridge: Run, ids: list[str], options: tuple[str, ...], expected: list[int]
) -> None:
    """Every option means the same in both."""
    found = bridge("reports", "list", "--state", "dead", *options, "--json").json["items"]
    assert [each["ext_message_id"] for each in found] == [ids[number] for number in expected]
    counted = bridge("reports", "replay", "--state", "dead", *options, "--dry-run", "--json")
    assert counted.json == {"matched": len(expected), "replayed": 0}


def test_no_more_is_replayed_than_was_asked(bridge: Run, folder: Path, ids: list[str]) -> None:
    """By cause and lane just that group goes; the others stay dead, and the audit says what was chosen."""
    replay = ("reports", "replay", "--state", "dead", "--cause", LOCKED, "--lane", LANE)
    assert bridge(*replay, "--reason", "mended", "--json").json == {"matched": 2, "replayed": 2}
    left = bridge("reports", "list", "--state", "dead", "--json").json["items"]
    assert [each["ext_message_id"] for each in left] == [ids[3], ids[0]]
    done, asked = audit(folder)
    assert asked.detail == {"matched": 2, "cause": LOCKED, "lane": LANE, "reason": "mended"}
    assert (done.action, done.detail) == ("reports.replayed", {"matched": 2, "replayed": 2})


def test_causes(bridge: Run, ids: list[str]) -> None:
    """As JSON what `/api/reports/causes` answers, for people a line each; nothing is pending."""
    found = bridge("reports", "causes", "--json").json
    assert [(each["cause"], each["lane"], each["count"]) for each in found["items"]] == [
        (LOCKED, OTHER, 1),
        (LOCKED, LANE, 2),
        ("HTTP 500", LANE, 1),
    ]
    assert found["total"] == 4
    everything: dict[str, Any] = {"state": "dead", "since": "", "gateway": "", "error": ""}
    assert found["items"][2]["filter"] == {**everything, "cause": "HTTP 500", "lane": LANE}
    lines = [line.split("\t") for line in bridge("reports", "causes").out.splitlines()]
    assert lines[0] == ["CAUSE", "GATEWAY", "HOST", "LANE", "COUNT", "FIRST", "LAST"]
    assert lines[2] == [
        LOCKED,
        "sms",
        "api.smartico.ai",
        LANE,
        "2",
        "1970-01-01T00:00:00.002Z",
        "1970-01-01T00:00:00.003Z",
    ]
    assert bridge("reports", "causes", "--state", "pending", "--json").json == {"items": [], "total": 0}


@pytest.mark.parametrize("command", [("list",), ("replay", "--state", "dead")])
def test_a_time_that_is_none(bridge: Run, command: tuple[str, ...]) -> None:
    """A wrong --since is a wrong call (2); nothing is shown or replayed as if it was not there."""
    refused = bridge("reports", *command, "--since", "yesterday")
    assert (refused.code, "--since is no time" in refused.err) == (2, True)


def test_a_cause_is_no_filter_of_ids(bridge: Run, ids: list[str]) -> None:
    """Either ids or a filter: both together are a wrong call."""
    refused = bridge("reports", "replay", f"{ids[0]}:delivered", "--cause", LOCKED)
    assert (refused.code, "not both" in refused.err) == (2, True)
