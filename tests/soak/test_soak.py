"""The soak in its short form: a few kills under traffic, and a death at each kind of commit, on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.soak.traffic import KINDS, Plan, soak
from bench.soak.walk import every_kind, walk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def hush(_: str) -> None:
    """The short form says nothing while it runs."""


async def test_three_kills_under_traffic_break_no_promise(tmp_path: Path, database: str) -> None:
    """300 messages by every surface, beside peers that misbehave: none lost, sent twice or told in a wrong order."""
    plan = Plan(
        messages=300,
        kills=3,
        rate=50,
        seed=3,
        surfaces=("sms", "whatsapp", "mailing", "cim"),
        instances=1 if database.startswith("sqlite") else 2,
        seconds=300,
    )
    outcome = await soak(plan, tmp_path, database, hush)
    assert outcome.ok, outcome
    assert outcome.kills == 3
    assert outcome.verdict["accepted"] + outcome.verdict["refused"] == 300


async def test_dying_at_each_commit_of_a_message_breaks_no_promise(tmp_path: Path, database: str) -> None:
    """Right before and right after each kind of commit: every message is sent once and told of in order.

    A death between the claim and the request leaves the decision to a person.
    """
    walked = await walk(tmp_path, database, every_kind(), hush)
    assert walked.ok, walked
    assert [death.point for death in walked.deaths] == list(every_kind())
    assert f"after 1 {KINDS['claimed']}" in [death.point for death in walked.deaths if death.decided]


@pytest.mark.only_sqlite
@pytest.mark.parametrize("peer", ["provider", "smartico"])
async def test_a_peer_that_comes_and_goes_breaks_no_promise(tmp_path: Path, database: str, peer: str) -> None:
    """It is cut off every second or so, in the middle of requests, for 200 messages."""
    plan = Plan(
        messages=200,
        kills=0,
        rate=40,
        seed=5,
        surfaces=("sms", "whatsapp"),
        flap=peer,
        away_seconds=1.0,
        seconds=300,
    )
    outcome = await soak(plan, tmp_path, database, hush)
    assert outcome.ok, outcome
    assert outcome.cuts
