"""A service whose every peer is behind a proxy that can misbehave, and what is asked of it meanwhile."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter

import httpx
import pytest

from bridge.sim import (
    Gateway,
    PlatformConfig,
    PlatformSimulator,
    RevicomConfig,
    RevicomSimulator,
    SmarticoConfig,
    SmarticoSimulator,
    judge,
)
from bridge.sim.smartico_traffic import Answer
from bridge.sim.smtp_certificate import make_certificate, server_context
from bridge.sim.verdict import Verdict
from tests.e2e.fault_proxy import FaultProxy
from tests.e2e.stage import SMS, BridgeProcess, Stage, eventually, platform_settings
from tests.servers import NO_TLS

__all__ = ["TIME_OUT", "Scene", "open_scene"]

TIME_OUT = 1.0  # seconds, for every peer
_PLATFORM = {
    "inbox": "unknown_after_seconds = 0.5\n",
    "contacts": "cache_seconds = 0\nnot_found_cache_seconds = 0",
}


class Scene:
    """The service and its peers. `proxies` by peer; `callers` stands before the service itself."""

    def __init__(
        self, stage: Stage, platform: PlatformSimulator, proxies: dict[str, FaultProxy], callback_url: str
    ) -> None:
        self.bridge = stage.bridge
        self.stage = stage
        self.platform = platform
        self.proxies = proxies
        self._callback_url = callback_url
        self._users = iter(range(1_000_000))

    async def send(self, count: int, gateway: Gateway = SMS) -> list[Answer]:
        """Sends messages to users that nobody has asked for before; each until it is answered."""
        port = self.proxies["callers"].port
        return await asyncio.gather(
            *(
                self.stage.smartico.send(
                    f"http://127.0.0.1:{port}",
                    gateway,
                    f"user{next(self._users)}",
                    callback_url=self._callback_url,
                )
                for _ in range(count)
            )
        )

    def verdict(self) -> Verdict:
        """What became of everything so far; the platform ignores notifications that it has had."""
        return judge(
            [*self.stage.provider.ledger.listing(), *self.platform.ledger.listing()],
            self.stage.smartico.ledger.listing(),
        )

    def settled(self) -> bool:
        """Whether every message has arrived, and every status of it."""
        verdict = self.verdict()
        return not verdict.lost and not verdict.unacknowledged

    async def settle(self, seconds: float = 20) -> None:
        """Waits until everything is done; then nothing may have been lost, done twice, or in a wrong order."""
        try:
            await eventually(self.settled, seconds)
        finally:
            verdict = self.verdict()
            assert not verdict.sent_twice
            assert not verdict.unexpected
            assert not verdict.out_of_order
            assert not verdict.lost, verdict.lost
        # After an answer that was lost on its way a repeat is right.
        assert [each for each in self.stage.smartico.ledger.errors if "was repeated" not in each.what] == []

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over what the labels leave open."""
        text = (await self.stage.api.get("/metrics")).text
        found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(value) for labelled, value in found if all(each in labelled for each in wanted))

    def memory(self, kind: str = "VmRSS") -> float:
        """Of the service, in MiB. VmHWM: the most since `forget_peak`."""
        status = Path(f"/proc/{self.bridge.pid}/status").read_text()
        found = re.search(rf"{kind}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.bridge.pid}/clear_refs").write_text("5")


class Watch:
    """Asks the service all the time whether it lives; `slowest` is the longest that it took, in seconds."""

    def __init__(self, url: str) -> None:
        self.slowest = 0.0
        self.asked = 0
        self._url = f"{url}/healthz"

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=10, verify=NO_TLS) as client:
            while True:
                began = perf_counter()
                answer = await client.get(self._url)
                assert answer.status_code == 200
                self.slowest = max(self.slowest, perf_counter() - began)
                self.asked += 1
                await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watch]:
    watch = Watch(url)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def open_scene(folder: Path, *, url: str = "sqlite:///bridge.db") -> AsyncIterator[Scene]:
    """A started service: its provider, Smartico and the operator's platform are reached over TLS, through proxies."""
    certificates = [folder / "ours", folder / "nobodys"]
    for each in certificates:
        each.mkdir()
        make_certificate(each)
    ours, nobodys = (server_context(each / "certificate.pem", each / "key.pem") for each in certificates)
    quick = {"resend_seconds": 0.3, "callback_timeout_seconds": TIME_OUT, "step_seconds": 0.05}
    revicom = RevicomSimulator(
        RevicomConfig(token="token-of-revicom", delivered_share=1.0, callback_connections=1, **quick)  # type: ignore[arg-type]
    )
    platform = PlatformSimulator(
        PlatformConfig(
            authorization="secret-of-the-platform",
            callback_password="password-of-reports",
            delivered_share=1.0,
            open_share=0.0,
            unsubscribe_share=0.0,
            complain_share=0.0,
            callback_connections=1,
            **quick,  # type: ignore[arg-type]
        )
    )
    crm = SmarticoSimulator(SmarticoConfig(api_key="key-of-smartico", send_timeout_seconds=3))
    async with AsyncExitStack() as stack:
        for simulator in (revicom, platform, crm):
            await stack.enter_async_context(simulator)
        peers = {"provider": revicom.url, "platform": platform.url, "smartico": crm.url}
        proxies = {
            name: FaultProxy(int(peer.rpartition(":")[2]), tls=ours, nobody=nobodys)
            for name, peer in peers.items()
        }
        proxies["callers"] = FaultProxy(0)
        for proxy in proxies.values():
            await stack.enter_async_context(proxy)
        bridge = BridgeProcess(
            folder,
            proxies["provider"].url,
            url=url,
            public_url=proxies["callers"].url,
            revicom='unknown_send = "resend"',
            more=platform_settings(proxies["platform"].url, **_PLATFORM),
        )
        text = bridge.settings.read_text()
        for name in ("timeout_seconds", "unknown_after_seconds"):
            text = text.replace(f"{name} = 2\n", f"{name} = {TIME_OUT}\n")
        bridge.settings.write_text(text)
        proxies["callers"].peer = bridge.port
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(certificates[0] / "certificate.pem"))
            await bridge.start()
        stage = Stage(bridge, revicom, crm)
        try:
            yield Scene(stage, platform, proxies, f"{proxies['smartico'].url}/callback/x")
        finally:
            await stage.api.aclose()
            if bridge.running:
                await bridge.kill()
