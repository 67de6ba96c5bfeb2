"""The pump of silence on a real database: how it asks, how patiently, and when it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from bridge.assembly import build_providers, build_rules
from bridge.core.breaker import Breaker
from bridge.core.exchange import NoReply, Outcome, Reply, Request
from bridge.core.model import MessageId
from bridge.flows.silence import ask_again
from bridge.metrics import Metrics
from bridge.settings import parse_settings
from bridge.sim import SendgridSimulator
from bridge.store.review import list_reviews
from bridge.store.silence import next_due
from bridge.worker.silent import SilentPump
from tests.flows.desk import Desk, open_desk


class Oracle:
    """A transport: what is asked is kept, and it answers that these ids have this status."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.delivered: set[str] = set()
        self.failure: Outcome | None = None
        self.at_a_time = self.most = 0

    async def exchange(self, request: Request) -> Outcome:
        query = parse_qs(urlsplit(request.url).query)
        self.asked.append(query)
        self.at_a_time += 1
        self.most = max(self.most, self.at_a_time)
        await asyncio.sleep(0)
        self.at_a_time -= 1
        if self.failure is not None:
            return self.failure
        ids = [each for each in query["message_uuid"] if query.get("status", ["delivered"]) == ["delivered"]]
        found = [{"messageUuid": each} for each in ids if each in self.delivered]
        return Reply(200, json.dumps({"items": found}).encode())

    async def close(self) -> None:
        """There is nothing to let go of."""


class Bench:
    """A desk, and a pump that asks an oracle."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.oracle = Oracle()
        self.breaker = Breaker(1, first=1.0, longest=15.0)
        self.owed: list[str] = []
        self.pump = SilentPump(
            desk.rules.providers["revicom"],
            desk.store,
            desk.rules,
            self.oracle,
            lambda: desk.now,
            Metrics(),
            breaker=self.breaker,
            slots=asyncio.Semaphore(1),
            reported=lambda due: self.owed.extend(each.status for each in due),
        )

    async def silent(self, *uuids: str) -> list[MessageId]:
        """Messages of which the provider is to be asked now."""
        made = []
        for uuid in uuids:
            made.append(await self.desk.accept())
            await self.desk.submit(uuid)
        for each in made:
            job = partial(ask_again, message_id=each, provider="revicom", now=self.desk.now)
            await self.desk.store.write(job)
        return made

    def rested(self) -> None:
        """The pause of the pump is over."""
        self.pump._not_before = 0.0

    async def reviewed(self) -> list[str]:
        return [each.cause for each in await self.desk.store.read(lambda tx: list_reviews(tx, 2**62, 9))]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    desk = await open_desk(tmp_path)
    await desk.add_contact()
    yield Bench(desk)
    await desk.store.close()


async def test_many_are_asked_for_at_once(bench: Bench) -> None:
    """Five requests for all of them, one after the other; what is told is owed, the others go under review."""
    await bench.silent("a", "b", "c")
    bench.oracle.delivered = {"a", "c"}
    assert await bench.pump.step() == 0.0
    assert [each["message_uuid"] for each in bench.oracle.asked] == [["a", "b", "c"]] * 5
    assert bench.oracle.most == 1
    assert bench.owed == ["delivered", "delivered"]
    assert len(await bench.reviewed()) == 1


async def test_questions_are_a_second_apart(bench: Bench) -> None:
    """However often the pump is woken; and where there is nothing to ask nothing is asked."""
    await bench.silent("a")
    await bench.pump.step()
    await bench.silent("b")
    wait = await bench.pump.step()
    assert wait is not None
    assert 0.5 < wait <= 1.0
    assert len(bench.oracle.asked) == 5
    bench.rested()
    await bench.pump.step()
    assert len(bench.oracle.asked) == 10
    bench.rested()
    wait = await bench.pump.step()
    assert wait is not None
    assert wait > 1
    assert len(bench.oracle.asked) == 10


@pytest.mark.parametrize("failure", [NoReply("time-out"), Reply(503, b"")])
async def test_without_answers_the_pauses_grow(bench: Bench, failure: Outcome) -> None:
    """One request is enough to see that the others would fare no better; nothing is decided."""
    bench.oracle.failure = failure
    pauses = []
    for number in range(4):
        await bench.silent(f"u{number}")
        await bench.pump.step()
        pauses.append(round(await bench.pump.step() or 0))
        bench.rested()
    assert pauses == [1, 2, 4, 8]
    assert len(bench.oracle.asked) == 4
    assert await bench.reviewed() == []


async def test_nothing_is_asked_while_the_provider_is_left_alone(bench: Bench) -> None:
    """But where the sends have nothing to try it with for a minute, a question does."""
    await bench.silent("a")
    bench.breaker.failed(bench.desk.now, "HTTP 402")
    for _ in range(3):
        assert await bench.pump.step() == 1.0
        bench.desk.now += 10_000
    assert bench.oracle.asked == []
    bench.desk.now += 60_000
    await bench.pump.step()
    assert len(bench.oracle.asked) == 5


async def test_a_provider_that_cannot_be_asked(bench: Bench) -> None:
    """No request, no pause: straight under review."""
    await bench.silent("a", "b")
    provider = bench.desk.rules.providers["revicom"]
    provider.asks = False
    try:
        assert await bench.pump.step() == 0.0
    finally:
        provider.asks = True
    assert bench.oracle.asked == []
    assert await bench.reviewed() == ["no final callback after 30 h"]
    assert await bench.desk.store.read(lambda tx: next_due(tx, "revicom")) is None


KEY = SendgridSimulator().public_key
SETTINGS = """
[smartico]
api_key = "k"
[providers.revicom]
token = "t"
callback_password = "p"
[providers.mail]
silent_after_hours = 3
[providers.sendgrid]
token = "t"
{sendgrid}
[providers.inbox]
url = "https://platform.example/in"
callback_password = "p"
{inbox}
"""


@pytest.mark.parametrize(
    ("parts", "hours"),
    [
        ({}, {"revicom": 30}),
        ({"sendgrid": f'webhook_public_key = "{KEY}"'}, {"revicom": 30, "sendgrid": 78}),
        ({"sendgrid": 'callback_password = "p"'}, {"revicom": 30, "sendgrid": 78}),
        ({"sendgrid": 'callback_password = "p"\nsilent_after_hours = 0'}, {"revicom": 30}),
        ({"inbox": "silent_after_hours = 0.5"}, {"revicom": 30, "inbox": 0.5}),
    ],
)
def test_whose_messages_may_be_silent(tmp_path: Path, parts: dict[str, str], hours: dict[str, float]) -> None:
    """Never a mail server's, which tells no ends, nor of who cannot call back; of the rest as the settings say."""
    text = SETTINGS.format(**{"sendgrid": "", "inbox": "", **parts})
    settings = parse_settings(text, file="bridge.toml", base_dir=tmp_path, environ={})
    providers = build_providers(settings, "https://bridge.example")
    after = build_rules(settings, providers).silent_after()
    assert {name: each / 3_600_000 for name, each in after.items()} == hours
