"""The demo: the whole product on one machine. A real service on a temporary SQLite database, and around it the
simulated providers, Smartico and operator platform, on real sockets, with faults on.

What is lost, doubled or out of order is judged by comparing what the providers saw with what Smartico learned; the
bridge itself is not asked.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from bridge.app import Service
from bridge.assembly import open_database
from bridge.demo.scene import GATEWAYS, OPERATOR_TOKEN, Peers, settings_text
from bridge.settings import Settings, parse_settings
from bridge.sim import (
    PlatformSimulator,
    RevicomSimulator,
    SendgridSimulator,
    SmarticoSimulator,
    SmtpSimulator,
    Verdict,
    judge,
)

__all__ = ["OPERATOR_TOKEN", "Demo", "Figures", "open_demo"]

_POLL = 0.05  # seconds


class Figures(Struct, frozen=True):
    """Where the demo stands. `open`: accepted messages whose story is not told to the end yet.

    `notifications` of Smartico that were taken, and how many of them the operator's platform has not got yet.
    """

    accepted: int
    sent: int
    callbacks: int
    reports: int
    retries: int
    open: int
    notifications: int
    notifications_open: int
    verdict: Verdict


class Cast(Struct):
    """The peers."""

    revicom: RevicomSimulator
    sendgrid: SendgridSimulator
    smtp: SmtpSimulator
    platform: PlatformSimulator
    smartico: SmarticoSimulator

    @property
    def providers(self) -> tuple[RevicomSimulator, SendgridSimulator, SmtpSimulator, PlatformSimulator]:
        return self.revicom, self.sendgrid, self.smtp, self.platform


class Demo:
    """A running demo."""

    def __init__(self, service: Service, cast: Cast) -> None:
        self.url = service.url
        self._cast = cast
        self._users = cast.platform.user_ids()

    async def run_traffic(self, messages: int | None, rate: float) -> None:
        """Smartico sends `messages` (None: until cancelled), `rate` a second."""
        smartico = self._cast.smartico
        await smartico.run_traffic(self.url, list(GATEWAYS), self._users, rate=rate, messages=messages)

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
        return not (figures.open or figures.notifications_open or figures.verdict.unacknowledged)

    def figures(self) -> Figures:
        """The state of things, from the simulators' own books."""
        cast, verdict = self._cast, self._verdict()
        revicom, smartico = cast.revicom.ledger, cast.smartico.ledger
        sendgrid, platform = cast.sendgrid.ledger, cast.platform.ledger
        posted = {asset.body["view_url"] for asset in smartico.assets if asset.answer == "0"}
        return Figures(
            accepted=len(smartico.accepted),
            sent=sum(len(each.ledger.listing()) for each in cast.providers),
            callbacks=sum(each.callbacks_acknowledged for each in (revicom, sendgrid, platform)),
            reports=smartico.statuses.total(),
            retries=sum(smartico.status_answers.values()) - smartico.statuses.total(),
            open=len({finding.ext_message_id for finding in verdict.lost}),
            notifications=len(posted),
            notifications_open=len(posted - self._passed_on()),
            verdict=verdict,
        )

    def _verdict(self) -> Verdict:
        sent = [row for peer in self._cast.providers for row in peer.ledger.listing()]
        return judge(sent, self._cast.smartico.ledger.listing())

    def _passed_on(self) -> set[Any]:
        """The notifications that the platform has, each by its link, which has the id of its message in it."""
        return {each.body.get("view_url") for each in self._cast.platform.ledger.communications}


@asynccontextmanager
async def open_demo(port: int = 0) -> AsyncIterator[Demo]:
    """Everything up and running; taken down again at the end, the database with it."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-demo-")))
        cast = Cast(
            await stack.enter_async_context(RevicomSimulator(Peers.revicom, Peers.revicom_faults)),
            await stack.enter_async_context(SendgridSimulator(Peers.sendgrid, Peers.sendgrid_faults)),
            await stack.enter_async_context(SmtpSimulator(Peers.smtp, Peers.smtp_faults)),
            await stack.enter_async_context(PlatformSimulator(Peers.platform, Peers.platform_faults)),
            await stack.enter_async_context(SmarticoSimulator(Peers.smartico, Peers.smartico_faults)),
        )
        service = await _start(_settings(folder, cast), port)
        stack.push_async_callback(service.stop)
        cast.sendgrid.webhook_url = f"{service.url}/callbacks/sendgrid"
        yield Demo(service, cast)


def _settings(folder: Path, cast: Cast) -> Settings:
    text = settings_text(
        cast.revicom.url,
        cast.sendgrid.url,
        cast.sendgrid.public_key,
        cast.smtp.smtp_port,
        cast.platform.url,
    )
    return parse_settings(text, file="demo.toml", base_dir=folder, environ={})


async def _start(settings: Settings, port: int) -> Service:
    service = Service(settings, await open_database(settings), host="127.0.0.1", port=port, reached_here=True)
    await service.start()
    return service
