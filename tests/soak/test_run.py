"""The program, as people start it."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, cast

import pytest

from bench.soak.run import outcome_lines, read_options
from bench.soak.scene import SURFACES
from bench.soak.stage import Stage
from bench.soak.traffic import Outcome, Plan, Soak

COUNTS = (
    "accepted", "refused", "given_up", "sends_posted", "at_provider", "callbacks", "callbacks_again", "reports",
    "lost", "sent_twice", "out_of_order", "unexpected", "strangers", "callbacks_owed", "in_flight", "repeated",
    "unexcused", "protocol_errors",
)  # fmt: skip
KEPT = dict.fromkeys(COUNTS, 0)


def outcome(**more: object) -> Outcome:
    values = {
        "engine": "SQLite", "instances": 1, "messages": 10, "kills": 2, "kills_at_commits": 1,
        "commits": {"before claimed": 1}, "cuts": 0, "seconds": 3.0, "drained": True, "decided": 0, "dead_reports": 0,
        "verdict": KEPT | {"examples": []},
    }  # fmt: skip
    return Outcome(**{**values, **more})  # type: ignore[arg-type]


def test_the_table_says_whether_the_promises_were_kept() -> None:
    """Its last line; and what is wrong stands above it."""
    assert list(outcome_lines(outcome()))[-1] == "All promises were kept."
    wrong = outcome(verdict=KEPT | {"lost": 1, "examples": ["a: delivered was never reported"]})
    assert list(outcome_lines(wrong))[-2:] == [
        "    a: delivered was never reported",
        "Not all promises were kept.",
    ]


@pytest.mark.parametrize("more", [{"drained": False}, {"dead_reports": 1}])
def test_what_is_not_told_in_the_end_is_no_success(more: dict[str, object]) -> None:
    """A run that did not drain, or gave a report up, keeps no promise, whatever the books say."""
    assert not outcome(**more).ok


def test_options() -> None:
    """`all` is every surface; PostgreSQL gets two instances, SQLite one."""
    assert read_options(["--surfaces", "all"]).surfaces == SURFACES
    assert (read_options([]).instances, read_options(["--postgres"]).instances) == (1, 2)


@pytest.mark.parametrize("arguments", [["--surfaces", "pigeon"], ["--instances", "2"]])
def test_options_that_make_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """They are refused with a sentence."""
    with pytest.raises(SystemExit):
        read_options(arguments)
    assert arguments[0] in capsys.readouterr().err


async def test_time_ends_the_traffic_also_while_kills_are_due() -> None:
    """After `seconds` nothing new is sent, even where what is waited for has come already."""

    class Peers:
        asked: ClassVar[list[str]] = []

        async def ask(self, do: str) -> Any:
            self.asked.append(do)
            return {"accepted": 9, "statuses": 0, "repeated": 0, "sending": 1}

    enough = asyncio.Event()
    plan = Plan(messages=10, kills=5, rate=1, seed=1, surfaces=("sms",), seconds=-1)
    run = Soak(plan, cast(Stage, Peers()), lambda _: None, enough)
    await run._until(lambda progress: progress["accepted"] >= 5)
    assert enough.is_set()
    assert Peers.asked == ["progress", "enough"]
