"""Custom IM at the simulated platform: reports on notifications, and what is handed on to it."""

from __future__ import annotations

import random
import re
from base64 import b64encode
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge.sim import PlatformConfig, PlatformFaults, PlatformSimulator
from bridge.sim.platform_plan import OUTCOMES, choose_plan

if TYPE_CHECKING:
    from tests.sim.conftest import Eventually, Recorder

ID = "0190a540-f662-745b-8311-eebe56024200"
TAG = ID.replace("-", "")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def simulator(outcome: str, faults: PlatformFaults | None = None, **changes: Any) -> PlatformSimulator:
    """Everything quick and in order, and one outcome."""
    quick = {"step_seconds": 0.01, "flush_seconds": 0.005, "resend_seconds": 0.03, "callback_connections": 1}
    config = PlatformConfig(outcome_by_suffix={"": outcome}, **(quick | changes))
    return PlatformSimulator(config, faults)


async def notify(
    client: aiohttp.ClientSession, sim: PlatformSimulator, url: str, ext_message_id: str = ID
) -> int:
    """Post a notification as the bridge does; the status of the answer."""
    body = {
        "ext_message_id": ext_message_id,
        "ext_user_id": "user1",
        "body": "Hi",
        "extension": {"title": "x"},
        "callback_url": url,
    }
    async with client.post(f"{sim.url}/notifications", json=body) as answer:
        return answer.status


def drained(sim: PlatformSimulator) -> bool:
    """Whether the platform owes nothing more."""
    return bool(sim.ledger.by_id) and sim.ledger.callbacks_pending == 0


@pytest.mark.parametrize("outcome", sorted(OUTCOMES))
async def test_reports_have_the_agreed_form(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually, outcome: str
) -> None:
    """Every status of a life comes in order, with the id and an RFC 3339 time, and nothing else."""
    async with simulator(outcome) as sim:
        assert await notify(client, sim, recorder.url) == 202
        await eventually(lambda: drained(sim))
    assert [report["status"] for report in recorder.elements] == list(OUTCOMES[outcome])
    assert all(set(report) == {"ext_message_id", "status", "time"} for report in recorder.elements)
    assert all(TIME.fullmatch(report["time"]) for report in recorder.elements)
    [row] = sim.ledger.listing()
    assert (row.tags, row.channel_type, row.acknowledged) == ((TAG,), "CIM", OUTCOMES[outcome])


@pytest.mark.parametrize(
    ("login", "expected"), [("", b"inbox:p@ss:w%"), ("other:p%40", b"other:p@")], ids=["config", "url"]
)
async def test_reports_carry_credentials(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually, login: str, expected: bytes
) -> None:
    """Credentials of the config become Basic authorization, unless callback_url has its own."""
    url = recorder.with_login(login) if login else recorder.url
    async with simulator("rejected", callback_password="p@ss:w%") as sim:
        await notify(client, sim, url)
        await eventually(lambda: drained(sim))
    assert recorder.received[0].headers["Authorization"] == "Basic " + b64encode(expected).decode()


async def test_a_repeated_notification_is_counted_and_ignored(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """The same ext_message_id again is answered with 202, and has no second life."""
    async with simulator("delivered") as sim:
        for _ in range(3):
            assert await notify(client, sim, recorder.url) == 202
        await eventually(lambda: drained(sim))
    assert (sim.ledger.by_id[ID].received, sim.summary()["notifications_repeated"]) == (3, 2)
    assert len(recorder.elements) == 2
    assert len(sim.ledger.listing()) == 1


async def test_reports_can_be_switched_off(client: aiohttp.ClientSession, recorder: Recorder) -> None:
    """Without reports nothing is owed, whatever the callback_url."""
    async with simulator("delivered", reports=False) as sim:
        await notify(client, sim, recorder.url)
    assert (sim.ledger.callbacks_planned, recorder.received) == (0, [])


async def test_reports_are_batched_and_repeated(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Reports share requests, and one that was not answered with 2xx comes again as it was."""
    recorder.answers.append((503, b""))
    async with simulator("rejected", batch_size=10, flush_seconds=30, callback_connections=8) as sim:
        for number in range(30):
            await notify(client, sim, recorder.url, f"id{number}")
        await eventually(lambda: drained(sim))
    assert [len(received.json) for received in recorder.received] == [10] * 4
    counts = Counter(report["ext_message_id"] for report in recorder.elements)
    assert (len(counts), counts.total()) == (30, 40)


async def test_early_reports(client: aiohttp.ClientSession, recorder: Recorder) -> None:
    """Statuses up to the delivery may be there before the notification is answered."""
    async with simulator("clicked", PlatformFaults(early=1), step_seconds=60) as sim:
        await notify(client, sim, recorder.url)
        assert [report["status"] for report in recorder.elements] == ["accepted", "delivered"]


async def test_strange_reports(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Broken reports, unknown statuses and foreign ids come beside the right ones; so do repeats."""
    faults = PlatformFaults(next={"malformed": 1, "foreign": 1, "unknown_status": 1, "repeat_element": 1})
    async with simulator("rejected", faults) as sim:
        await notify(client, sim, recorder.url)
        await eventually(lambda: drained(sim) and len(recorder.elements) == 5)
    right, unknown, _, foreign, again = recorder.elements
    assert (right["status"], unknown["status"], foreign["status"]) == ("rejected", "teleported", "rejected")
    assert foreign["ext_message_id"] != ID
    assert again == right
    assert sim.ledger.callbacks_repeated == 1


async def test_late_reports(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """A late status comes after the one that follows it."""
    async with simulator("delivered", PlatformFaults(next={"late": 1}, late_seconds=0.2)) as sim:
        await notify(client, sim, recorder.url)
        await eventually(lambda: drained(sim))
    assert [report["status"] for report in recorder.elements] == ["delivered", "accepted"]


@pytest.mark.parametrize(("status", "refused"), [(422, 1), (400, 1), (404, 0)])
async def test_notifications_can_be_refused(client: aiohttp.ClientSession, status: int, refused: int) -> None:
    """A 400 or 422 refuses the notification itself; another status is about something else."""
    faults = PlatformFaults(refused=1, refused_status=status)
    async with simulator("delivered", faults) as sim:
        assert await notify(client, sim, "") == status
        async with client.get(f"{sim.url}/_sim/sent") as answer:
            rows = await answer.json()
    assert (len(rows), len(sim.ledger.by_id)) == (refused, 0)
    assert all(row["refused"] and row["tags"] == [TAG] for row in rows)


async def test_answers_that_hide_a_stored_notification(client: aiohttp.ClientSession) -> None:
    """A reset and a time-out after the notification was stored."""
    faults = PlatformFaults(next={"reset_after": 1, "timeout_after": 1}, timeout_seconds=0.01)
    async with simulator("silent", faults) as sim:
        for _ in range(2):
            with pytest.raises(aiohttp.ClientError):
                await notify(client, sim, "")
        assert await notify(client, sim, "") == 202
    assert (len(sim.ledger.notifications), len(sim.ledger.by_id)) == (3, 1)


@pytest.mark.parametrize("kind", ["communications", "inbound"])
async def test_what_is_handed_on_is_kept(client: aiohttp.ClientSession, kind: str) -> None:
    """Asset notifications and inbound messages are kept in order, with their headers."""
    async with PlatformSimulator() as sim:
        for number in range(3):
            headers = {"X-Number": str(number)}
            async with client.post(f"{sim.url}/{kind}", json={"number": number}, headers=headers) as answer:
                assert answer.status == 200
        async with client.post(f"{sim.url}/{kind}", data=b"{") as answer:
            assert answer.status == 400
        async with client.get(f"{sim.url}/_sim/{kind}") as answer:
            assert [one["body"]["number"] for one in await answer.json()] == [0, 1, 2]
    kept = getattr(sim.ledger, kind)
    assert [(one.body["number"], one.headers["X-Number"]) for one in kept] == [(0, "0"), (1, "1"), (2, "2")]
    assert sim.summary()[kind] == 3


async def test_faults_of_one_kind(client: aiohttp.ClientSession) -> None:
    """With `only`, requests of other kinds go through."""
    faults = PlatformFaults(error=1, error_status=503, only=("inbound",))
    async with PlatformSimulator(faults=faults) as sim:
        statuses = []
        for kind in ("communications", "inbound", "notifications"):
            async with client.post(f"{sim.url}/{kind}", json={}) as answer:
                statuses.append(answer.status)
        assert statuses == [200, 503, 202]
        sim.faults = PlatformFaults(next={"refused": 1, "reset_after": 1}, refused_status=410)
        async with client.post(f"{sim.url}/inbound", json={}) as answer:
            assert answer.status == 410
        with pytest.raises(aiohttp.ClientError):
            await client.post(f"{sim.url}/inbound", json={})
    assert len(sim.ledger.inbound) == 1


def test_outcomes_are_drawn_by_their_shares() -> None:
    """Thousands of plans have about the configured shares, and every status occurs."""
    config, draw = PlatformConfig(), random.Random(1)
    happened = Counter(step for _ in range(20_000) for step in set(choose_plan("user1", config, draw)))
    assert 17_700 < happened["delivered"] < 18_300
    assert 850 < happened["failed"] < 1_150
    assert 8_600 < happened["opened"] < 9_400
    assert len(happened) == 8
