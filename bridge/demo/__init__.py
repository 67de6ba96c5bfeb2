"""The demo: the whole product on one machine. A real service on a temporary SQLite database, and around it the
simulated provider, Smartico and operator platform, on real sockets, with faults on.

What is lost, doubled or out of order is judged by comparing what the provider saw with what Smartico learned; the
bridge itself is not asked.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from bridge.app import Service
from bridge.assembly import open_database
from bridge.core.exchange import Reply, Request
from bridge.settings import Settings, parse_settings
from bridge.sim import (
    Gateway,
    PlatformSimulator,
    RevicomConfig,
    RevicomFaults,
    RevicomSimulator,
    SmarticoConfig,
    SmarticoFaults,
    SmarticoSimulator,
    Verdict,
    judge,
)
from bridge.transport import ProviderTransport

__all__ = ["OPERATOR_TOKEN", "Demo", "Figures", "open_demo"]

OPERATOR_TOKEN = "demo-operator-token"
_GATEWAYS = (
    Gateway(name="sms", authorization="demo-sms-secret"),
    Gateway(name="whatsapp", authorization="demo-whatsapp-secret"),
)
_IMPORT_CHUNK = 1000
_POLL = 0.05  # seconds

_SETTINGS = """
[server]
host = "127.0.0.1"
port = 0

[database]
url = "sqlite:///demo.db"

[smartico]
api_key = "demo-api-key"
callback_hosts = ["127.0.0.1"]
allow_insecure_callbacks = true
timeout_seconds = 2
settle_seconds = 0.2
retry_schedule = [0.3, 0.6, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]
not_found_schedule = [0.1, 0.3, 1, 2, 2, 2]

[providers.revicom]
adapter = "revicom"
base_url = "{provider}/api/v1"
token = "demo-token"
callback_password = "demo-callback-password"
timeout_seconds = 2
unknown_after_seconds = 5

[gateways.sms]
provider = "revicom"
channel = "SMS"
authorization = ["demo-sms-secret"]
senders = ["Amazing", "DemoBrand"]
short_links = true

[gateways.whatsapp]
provider = "revicom"
channel = "WHATSAPP"
authorization = ["demo-whatsapp-secret"]
senders = ["Amazing", "DemoBrand"]

[[ops.operators]]
name = "demo"
token = "{token}"
role = "operator"
"""

# What can go wrong and must cost nothing. Ambiguous ends come after the messages were taken: then the look-up finds
# them. (A request that is lost before that leaves no trace, and by default a person has to decide: `bridge review`.)
_PROVIDER_FAULTS = RevicomFaults(
    slow=0.05,
    slow_seconds=0.5,
    too_many_requests=0.03,
    early=0.1,
    error_after=0.03,
    reset_after=0.03,
    timeout_after=0.01,
    timeout_seconds=3.0,
    broken_json=0.02,
    short_items=0.02,
    lookup_error=0.1,
    shuffle=0.3,
    repeat_batch=0.1,
    late=0.05,
    late_seconds=0.5,
    repeat_element=0.05,
    unknown_status=0.002,
    malformed=0.002,
    foreign=0.002,
)
_SMARTICO_FAULTS = SmarticoFaults(
    slow=0.01,
    slow_seconds=0.5,
    error=0.03,
    too_many_requests=0.01,
    reset=0.01,
    timeout=0.002,
    timeout_seconds=3.0,
    html=0.01,
    reset_after=0.01,
    not_found_seconds=0.3,
    twin_send=0.02,
    repeat_send=0.02,
)


class Figures(Struct, frozen=True):
    """Where the demo stands. `open`: accepted messages whose story is not told to the end yet."""

    accepted: int
    sent: int
    callbacks: int
    reports: int
    retries: int
    repeated_requests: int
    open: int
    verdict: Verdict


class Demo:
    """A running demo."""

    def __init__(
        self, service: Service, provider: RevicomSimulator, smartico: SmarticoSimulator, users: list[str]
    ) -> None:
        self.url = service.url
        self._provider = provider
        self._smartico = smartico
        self._users = users

    async def run_traffic(self, messages: int | None, rate: float) -> None:
        """Smartico sends `messages` (None: until cancelled), `rate` a second."""
        await self._smartico.run_traffic(self.url, list(_GATEWAYS), self._users, rate=rate, messages=messages)

    async def drain(self, seconds: float) -> bool:
        """Waits until every story is told; False when that takes longer."""
        try:
            async with asyncio.timeout(seconds):
                while not self._quiet():
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            return False
        return True

    def _quiet(self) -> bool:
        figures = self.figures()
        return figures.open == 0 and figures.verdict.unacknowledged == 0

    def figures(self) -> Figures:
        """The state of things, from the simulators' own books."""
        verdict = judge(self._provider.ledger.listing(), self._smartico.ledger.listing())
        provider, smartico = self._provider.ledger, self._smartico.ledger
        return Figures(
            accepted=len(smartico.accepted),
            sent=len(provider.messages) + len(provider.refused),
            callbacks=provider.callbacks_acknowledged,
            reports=smartico.statuses.total(),
            retries=sum(smartico.status_answers.values()) - smartico.statuses.total(),
            repeated_requests=sum(provider.requests_by_outcome.values())
            - provider.requests_by_outcome.get("accepted", 0),
            open=len({finding.ext_message_id for finding in verdict.lost}),
            verdict=verdict,
        )


@asynccontextmanager
async def open_demo(port: int = 0) -> AsyncIterator[Demo]:
    """Everything up and running; taken down again at the end, the database with it."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-demo-")))
        provider = await stack.enter_async_context(
            RevicomSimulator(RevicomConfig(token="demo-token", resend_seconds=1.0), _PROVIDER_FAULTS)
        )
        smartico = await stack.enter_async_context(
            SmarticoSimulator(SmarticoConfig(api_key="demo-api-key"), _SMARTICO_FAULTS)
        )
        platform = await stack.enter_async_context(PlatformSimulator())
        service = await _start(_settings(folder, provider.url), port)
        stack.push_async_callback(service.stop)
        users = platform.user_ids()
        await _import_contacts(service.url, platform, users)
        yield Demo(service, provider, smartico, users)


def _settings(folder: Path, provider_url: str) -> Settings:
    text = _SETTINGS.replace("{provider}", provider_url).replace("{token}", OPERATOR_TOKEN)
    return parse_settings(text, file="demo.toml", base_dir=folder, environ={})


async def _start(settings: Settings, port: int) -> Service:
    service = Service(settings, await open_database(settings), host="127.0.0.1", port=port, reached_here=True)
    await service.start()
    return service


async def _import_contacts(url: str, platform: PlatformSimulator, users: list[str]) -> None:
    """The operator's people, through the API as a script would do it."""
    transport = ProviderTransport(1)
    headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}", "Content-Type": "application/json"}
    for start in range(0, len(users), _IMPORT_CHUNK):
        rows = [
            {"ext_user_id": user, **(platform.find_user(user) or {})}
            for user in users[start : start + _IMPORT_CHUNK]
        ]
        request = Request("POST", f"{url}/api/contacts", 30.0, headers, msgspec.json.encode(rows))
        outcome = await transport.exchange(request)
        assert isinstance(outcome, Reply), outcome
        assert outcome.status == 200, outcome.body
    await transport.close()
