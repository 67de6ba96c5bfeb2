"""Backup while traffic flows, and what a service makes of the file that is restored."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bridge.sim import RevicomConfig, RevicomFaults, SmarticoFaults
from tests.e2e.stage import PHONES, SMS, BridgeProcess, eventually, open_stage

pytestmark = pytest.mark.only_sqlite
USERS = sorted(PHONES)


def rows(file: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        return connection.execute(sql).fetchall()


async def run(bridge: BridgeProcess, *arguments: str) -> dict[str, Any]:
    """A command that prints JSON and must not fail."""
    code, out, errors = await bridge.command(*arguments, "--json")
    assert code == 0, errors
    printed: dict[str, Any] = json.loads(out)
    return printed


def consistent(file: Path) -> None:
    """What is in the backup belongs together: it is one moment of the database, whole."""
    assert rows(file, "PRAGMA integrity_check") == [("ok",)]
    for sql in (
        "SELECT id FROM messages WHERE state = 'queued' AND id NOT IN (SELECT message_id FROM sends)",
        "SELECT message_id FROM sends WHERE message_id NOT IN (SELECT id FROM messages)",
        "SELECT message_id FROM reports WHERE message_id NOT IN (SELECT id FROM messages)",
        "SELECT id FROM messages WHERE provider_message_id NOT IN (SELECT provider_message_id FROM provider_messages)",
        """SELECT id FROM messages AS m WHERE owed <> '' AND length(owed) - length(replace(owed, ' ', '')) + 1
        <> (SELECT count(*) FROM reports AS r WHERE r.message_id = m.id)""",
        "SELECT message_id FROM reports WHERE state = 'pending' GROUP BY message_id HAVING count(due_at) <> 1",
    ):
        assert rows(file, sql) == [], sql


def known(file: Path) -> dict[str, str]:
    """The messages of a file, with their states."""
    return dict(rows(file, "SELECT ext_message_id, state FROM v_messages"))


@pytest.mark.timeout(180)
async def test_a_backup_under_traffic_goes_on_where_it_was_made(tmp_path: Path) -> None:
    """The backup is whole; restored, nothing that it has is lost, and nothing is sent twice.

    It is made while messages wait, are being handed over, and are reported. What was done since the backup is not known
    to it: the provider is asked before anything is sent, and statuses may be reported again.
    """
    faults = RevicomFaults(slow=1.0, slow_seconds=0.3)
    provider = RevicomConfig(
        token="token-of-revicom", resend_seconds=0.3, step_seconds=0.2, delivered_share=1.0
    )
    slow = SmarticoFaults(slow=0.3, slow_seconds=0.3)
    async with open_stage(
        tmp_path, provider=provider, provider_faults=faults, smartico_faults=slow,
        revicom="max_batch = 5\nmax_in_flight = 2",
    ) as stage:  # fmt: skip
        traffic = asyncio.create_task(
            stage.smartico.run_traffic(stage.bridge.url, [SMS], USERS, rate=60, messages=200)
        )
        await eventually(lambda: len(stage.provider.ledger.messages) > 40)
        file = tmp_path / "backup.db"
        told = await run(stage.bridge, "db", "backup", str(file))
        assert told["bytes"] == file.stat().st_size
        consistent(file)
        in_backup = known(file)
        waiting = rows(file, "SELECT count(*) FROM sends WHERE phase = 'queued'")[0][0]
        owed = rows(file, "SELECT ext_message_id, status FROM v_reports WHERE state = 'pending'")
        assert len(in_backup) > 40
        assert waiting > 0
        await traffic
        await eventually(lambda: stage.provider_has(200))
        await stage.bridge.stop()
        restored = await run(stage.bridge, "db", "restore", str(file))
        assert restored["asked_for"] == waiting
        check = await run(stage.bridge, "check", "--offline")
        assert check["ok"]
        await stage.bridge.start()

        async def settled() -> bool:
            """Nothing waits any more, for the provider or for Smartico."""
            counts = [
                len((await stage.api.get(path, params={"state": state, "limit": 1000})).json()["items"])
                for path, state in (
                    ("/api/messages", "queued"),
                    ("/api/messages", "unknown"),
                    ("/api/reports", "pending"),
                )
            ]
            return sum(counts) == 0

        await eventually(settled, 60)
        assert not stage.provider.ledger.duplicates_by_tag
        assert len(stage.provider.ledger.messages) == 200
        listed = await stage.api.get("/api/messages", params={"limit": 1000})
        assert {item["ext_message_id"] for item in listed.json()["items"]} == set(in_backup)
        review = (await stage.api.get("/api/review")).json()["items"]
        assert [item for item in review if item["kind"] in ("unknown_send", "dead_report")] == []
        for ext_message_id, status in owed:
            assert status in stage.statuses(ext_message_id)
        assert Path(str(restored["kept"])).exists()
