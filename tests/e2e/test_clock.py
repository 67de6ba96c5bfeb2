"""A real service whose clock leaps by hours and years, forth and back."""

from __future__ import annotations

import asyncio
import struct
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.sim import RevicomConfig, RevicomFaults, SmarticoFaults, judge
from tests.e2e.stage import PHONES, SMS, eventually, open_stage

HOUR = 3600

# Runs before anything else in the process: its clock is the real one and what a file says.
SHIFTED = """
import mmap, os, struct, time
with open(os.environ["SHIFTED_BY"], "r+b") as file:
    shift = mmap.mmap(file.fileno(), 8)
real = time.time_ns
time.time_ns = lambda: real() + struct.unpack("<q", shift)[0] * 1_000_000_000
time.time = lambda: time.time_ns() / 1e9
"""


class Shift:
    """Sets the clock of the services that are started with `environ`."""

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(SHIFTED)
        self._file = folder / "shift"
        self.set(0)
        self.environ = {"SHIFTED_BY": str(self._file), "PYTHONPATH": f"{folder}:{Path.cwd()}"}

    def set(self, seconds: int) -> None:
        if not self._file.exists():
            self._file.write_bytes(bytes(8))
        with self._file.open("r+b") as file:
            file.write(struct.pack("<q", seconds))


@pytest.mark.timeout(180)
async def test_a_clock_that_leaps_forth_and_back(tmp_path: Path) -> None:
    """Traffic goes on, with retries on both sides: nothing fails, dies, stalls, or goes out twice or out of order.

    The leaps are told. Ids stay in the order of time, for pages go by them.
    """
    shift = Shift(tmp_path)
    provider = RevicomConfig(
        token="token-of-revicom", resend_seconds=0.3, step_seconds=0.1, delivered_share=1.0
    )
    refusing = RevicomFaults(too_many_requests=0.2)
    failing = SmarticoFaults(error=0.2)
    async with open_stage(
        tmp_path,
        provider=provider,
        provider_faults=refusing,
        smartico_faults=failing,
        sms="max_age_hours = 1",
    ) as stage:
        await stage.bridge.stop()
        await stage.bridge.start(environ=shift.environ)
        traffic = asyncio.create_task(
            stage.smartico.run_traffic(stage.bridge.url, [SMS], sorted(PHONES), rate=40, messages=240)
        )
        for seconds in (5 * HOUR, 0, -7 * HOUR, 400 * 24 * HOUR, -400 * 24 * HOUR, 0):
            shift.set(seconds)
            await asyncio.sleep(0.8)
        shift.set(9 * HOUR)

        async def told() -> bool:
            text = (await stage.api.get("/metrics")).text
            return "bridge_clock_leap_seconds 32" in text

        await eventually(told)
        await traffic

        def settled() -> bool:
            verdict = judge(stage.provider.ledger.listing(), stage.smartico.ledger.listing())
            return not verdict.lost and not verdict.unacknowledged

        await eventually(settled, 40)
        verdict = judge(stage.provider.ledger.listing(), stage.smartico.ledger.listing())
        assert len(stage.smartico.ledger.accepted) == 240
        assert not verdict.sent_twice
        assert not verdict.unexpected
        assert not verdict.out_of_order
        dead = await stage.api.get("/api/reports", params={"state": "dead"})
        assert dead.json()["items"] == []
        seen: list[str] = []
        cursor = None
        while True:
            params = {"limit": "50"} | ({"cursor": cursor} if cursor else {})
            page = (await stage.api.get("/api/messages", params=params)).json()
            seen += [item["created_at"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert len(seen) == 240
        assert all(later >= earlier for later, earlier in pairwise(seen))
        log = stage.bridge.log.read_text()
        assert "the clock has leapt" in log
        assert "Traceback" not in log


@pytest.mark.timeout(180)
@pytest.mark.only_sqlite
async def test_a_clock_that_was_wrong_when_it_started(tmp_path: Path) -> None:
    """What was put off by a clock hours ahead goes out soon once a service starts with the right one.

    Nothing is given up as too old by one that is a year ahead, and nothing is pruned; it is said.
    """
    shift = Shift(tmp_path)
    down = SmarticoFaults(error=1.0)
    async with open_stage(tmp_path, smartico_faults=down, smartico="report_max_age_hours = 87600") as stage:
        first = await stage.send()

        async def delivered() -> bool:
            return bool((await stage.message(first))["state"] == "delivered")

        await eventually(lambda: stage.provider_has(1))
        await stage.bridge.stop()
        shift.set(400 * 24 * HOUR)
        await stage.bridge.start(environ=shift.environ)
        second = await stage.send()
        await eventually(lambda: stage.provider_has(2))
        await eventually(lambda: len(stage.smartico.ledger.listing()) == 2)
        await eventually(delivered)
        assert "nothing is given up for an hour, or pruned for a day" in stage.bridge.log.read_text()
        await stage.bridge.stop()
        stage.smartico.faults.error = 0.0
        shift.set(0)
        await stage.bridge.start(environ=shift.environ)
        await eventually(lambda: all(stage.statuses(each)[-1:] == ["delivered"] for each in (first, second)))
        assert "the clock went back; what waits is brought forward" in stage.bridge.log.read_text()
