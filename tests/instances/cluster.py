"""Several `bridge serve` processes on one PostgreSQL database, behind a balancer, with simulated peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bridge.sim import (
    RevicomConfig,
    RevicomFaults,
    RevicomSimulator,
    SmarticoConfig,
    SmarticoFaults,
    SmarticoSimulator,
    judge,
)
from bridge.sim.verdict import Verdict
from tests.e2e.balancer import Balancer
from tests.e2e.stage import OPERATOR_TOKEN, PHONES, SMS, WHATSAPP, BridgeProcess
from tests.servers import NO_TLS

__all__ = ["Cluster", "open_cluster"]


class Cluster:
    """The instances and their peers; `api` goes through the balancer."""

    def __init__(
        self,
        instances: Sequence[BridgeProcess],
        url: str,
        provider: RevicomSimulator,
        smartico: SmarticoSimulator,
    ) -> None:
        self.instances = instances
        self.url = url
        self.provider = provider
        self.smartico = smartico
        headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}", "Connection": "close"}
        self.api = httpx.AsyncClient(base_url=url, headers=headers, timeout=10, verify=NO_TLS)

    async def load_contacts(self) -> None:
        rows = [{"ext_user_id": user, "phone": phone} for user, phone in PHONES.items()]
        answer = await self.api.post("/api/contacts", json=rows)
        assert answer.status_code == 200, answer.text

    def traffic(self, messages: int, rate: float) -> asyncio.Task[Any]:
        """Messages of two gateways; what is not accepted is repeated."""
        return asyncio.create_task(
            self.smartico.run_traffic(self.url, [SMS, WHATSAPP], sorted(PHONES), rate=rate, messages=messages)
        )

    def verdict(self) -> Verdict:
        return judge(self.provider.ledger.listing(), self.smartico.ledger.listing())

    async def listed(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """The items of a list; none while no instance answers."""
        try:
            answer = await self.api.get(path, params=params)
        except httpx.HTTPError:
            return []
        items: list[dict[str, Any]] = answer.json()["items"] if answer.status_code == 200 else []
        return items

    async def settled(self) -> bool:
        """Every status that is owed has arrived, but those of messages that are unknown and under review."""
        verdict = self.verdict()
        if verdict.unacknowledged:
            return False
        lost = {finding.ext_message_id for finding in verdict.lost}
        if not lost:
            return True
        unknown = {
            each["ext_message_id"] for each in await self.listed("/api/messages", state="unknown", limit=1000)
        }
        review = await self.listed("/api/review")
        under_review = sum(each["count"] for each in review if each["kind"] == "unknown_send")
        return lost <= unknown and under_review == len(lost)


@asynccontextmanager
async def open_cluster(
    folder: Path,
    database: str,
    *,
    roles: Sequence[str] = ("all", "all"),
    provider: RevicomConfig | None = None,
    provider_faults: RevicomFaults | None = None,
    smartico_faults: SmarticoFaults | None = None,
    **parts: str,
) -> AsyncIterator[Cluster]:
    """One started instance for each role; `parts` are further lines of their settings, by section."""
    revicom = RevicomSimulator(
        provider or RevicomConfig(token="token-of-revicom", resend_seconds=0.3, step_seconds=0.1),
        provider_faults,
    )
    crm = SmarticoSimulator(SmarticoConfig(api_key="key-of-smartico"), smartico_faults)
    async with revicom, crm, Balancer() as balancer:
        instances = [
            BridgeProcess(
                folder,
                revicom.url,
                name=f"{role}-{number}",
                role=role,
                public_url=balancer.url,
                url=database,
                **parts,
            )
            for number, role in enumerate(roles)
        ]
        balancer.ports = [each.port for each, role in zip(instances, roles, strict=True) if role != "worker"]
        try:
            await asyncio.gather(*(each.start() for each in instances))
            cluster = Cluster(instances, balancer.url, revicom, crm)
            await cluster.load_contacts()
            yield cluster
            await cluster.api.aclose()
        finally:
            for each in instances:
                if each.running:
                    await each.kill()
