"""`/api/status` and `/api/reports/causes`: what is going on, for people and scripts that may look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.app import Service
from bridge.core.model import MessageId, Status, id_text, new_id
from bridge.flows import reporting
from bridge.store.reports import Settlement
from bridge.store.tx import Tx
from tests.postgres import PostgresServer
from tests.servers import NO_TLS
from tests.web.conftest import OPERATOR, VIEWER
from tests.web.started import start_service

SMS = {"Authorization": "secret-of-sms"}
SETTINGS = """
[database]
url = "{database}"
[smartico]
api_key = "key-of-smartico"
[providers.revicom]
token = "token-of-revicom"
base_url = "http://127.0.0.1:9/api/v1"
callback_password = "password-of-callbacks"
[gateways.sms]
authorization = ["secret-of-sms"]
[[ops.operators]]
name = "alice"
token = "an-operator-token-for-tests"
role = "operator"
[[ops.operators]]
name = "victor"
token = "a-viewer-token-for-tests"
role = "viewer"
"""


@pytest.fixture
async def service(tmp_path: Path, database: str) -> AsyncIterator[Service]:
    service = await start_service(SETTINGS, tmp_path, database)
    yield service
    await service.stop()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, headers=VIEWER, verify=NO_TLS) as client:
        yield client


async def status(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/api/status", headers=VIEWER)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def dead_reports(service: Service, *errors: str) -> list[MessageId]:
    """Messages whose report is dead, each with its error."""
    ids = [new_id(1_795_234_921_250, number) for number in range(len(errors))]
    lane = "sms@api.smartico.ai"

    async def job(tx: Tx) -> None:
        for each, error in zip(ids, errors, strict=True):
            await tx.run(
                "add_message", id=each, gateway="sms", type="sms", channel="SMS", provider="revicom",
                smartico_uid=each.hex(), ext_user_id="user", sender="", address_hash=None, address_masked=None,
                callback_url=tx.vault.seal_text("https://api.smartico.ai/x"), lane=lane, created_at=1,
            )  # fmt: skip
            await tx.run(
                "add_report",
                message_id=each,
                status=Status.DELIVERED,
                seq=0,
                lane=lane,
                due_at=None,
                owed_at=1,
            )
            failed = Settlement(each, Status.DELIVERED, "dead", None, 1, 1, 0, 0, None, error)
            await reporting.settle(tx, [(lane, failed)], 1)

    await service.store.write(job)
    return ids


async def test_nothing_is_going_on(client: httpx.AsyncClient) -> None:
    """A new service has nothing to tell, in the form that pages rely on."""
    found = await status(client)
    assert found.pop("at").endswith("Z")
    assert found == {
        "role": "all",
        "sends": {},
        "inbox": {"waiting": 0, "oldest_seconds": None},
        "reports": {"pending": 0, "retrying": 0, "dead": 0},
        "forwards": {"pending": 0, "retrying": 0, "dead": 0},
        "review": {},
        "providers": [
            {
                "name": "revicom", "adapter": "revicom", "worker": True, "paused": False, "reason": "",
                "since": None, "next_try_at": None,
            }
        ],
        "hosts": [],
    }  # fmt: skip


async def test_who_may(client: httpx.AsyncClient) -> None:
    """Both addresses want an operator token; a viewer's will do."""
    for path in ("/api/status", "/api/reports/causes"):
        assert (await client.get(path)).status_code == 200
        assert (await client.get(path, headers={"Authorization": ""})).status_code == 401


async def test_a_provider_that_is_away(service: Service, client: httpx.AsyncClient) -> None:
    """A message waits, its provider is paused: since when, why, and when it is tried next."""
    await client.put("/api/contacts/u1", json={"phone": "+447700900123"}, headers=OPERATOR)
    send = {"ext_user_id": "u1", "body": "Hi", "im_uid": "1", "callback_url": "https://api.smartico.ai/x"}
    answer = await client.post("/smartico/sms", json=send, headers=SMS)
    assert answer.json()["error_code"] == 0, answer.text
    async with asyncio.timeout(15):
        while not (found := await status(client))["providers"][0]["paused"] or not found["sends"]:
            await asyncio.sleep(0.05)
    (provider,) = found["providers"]
    assert provider["reason"]
    assert provider["since"].endswith("Z")
    assert found["sends"]["sms"].keys() <= {"queued", "handed"}
    assert "447700900123" not in str(found)


async def test_many_pages_count_once(service: Service, client: httpx.AsyncClient) -> None:
    """Whoever asks within a second gets the same counts; after it they are new."""
    first = await asyncio.gather(*(status(client) for _ in range(20)))
    assert len({each["at"] for each in first}) <= 2
    await dead_reports(service, "HTTP 500")
    async with asyncio.timeout(10):
        while (await status(client))["reports"]["dead"] != 1:
            await asyncio.sleep(0.1)
    assert (await status(client))["review"] == {"dead_report": 1}


async def test_a_process_without_a_worker(tmp_path: Path, postgres: PostgresServer) -> None:
    """With --role web the counts are there, and nothing is claimed of how the providers are."""
    url = await postgres.create()
    service = await start_service(SETTINGS, tmp_path, url, role="web")
    async with httpx.AsyncClient(base_url=service.url, verify=NO_TLS) as client:
        found = await status(client)
    await service.stop()
    await postgres.drop(url)
    assert found["role"] == "web"
    assert [(each["worker"], each["paused"]) for each in found["providers"]] == [(False, None)]


async def test_a_group_is_replayed_by_its_filter(service: Service, client: httpx.AsyncClient) -> None:
    """Dead reports come grouped by cause; the filter of a group selects just that group for the replay."""
    errors = ["HTTP 500", "error_code 4: 48213 is locked", "error_code 4: 99231 is locked", "HTTP 500"]
    ids = await dead_reports(service, *errors)
    found = (await client.get("/api/reports/causes", params={"state": "dead", "gateway": "sms"})).json()
    assert found["total"] == 4
    assert [(each["cause"], each["count"], each["host"]) for each in found["items"]] == [
        ("HTTP 500", 2, "api.smartico.ai"),
        ("error_code 4: ••• is locked", 2, "api.smartico.ai"),
    ]
    locked = found["items"][1]
    assert (locked["gateway"], locked["first_owed_at"]) == ("sms", "1970-01-01T00:00:00.001Z")
    for wanted in ({"dry_run": True}, {"reason": "mended"}):
        body = {"filter": locked["filter"], **wanted}
        answer = await client.post("/api/reports/replay", json=body, headers=OPERATOR)
        assert answer.json()["matched"] == 2, answer.text
    left = (await client.get("/api/reports?state=dead")).json()["items"]
    assert {each["ext_message_id"] for each in left} == {id_text(ids[0]), id_text(ids[3])}


@pytest.mark.parametrize("query", ["state=done", "state=", "since=yesterday"])
async def test_wrong_questions(client: httpx.AsyncClient, query: str) -> None:
    """400, and a sentence."""
    assert (await client.get(f"/api/reports/causes?{query}")).status_code == 400


async def test_refused_requests_are_counted(client: httpx.AsyncClient) -> None:
    """A wrong secret, an unknown gateway: by HTTP status, and a made-up name becomes no label."""
    await client.post("/smartico/sms", json={}, headers={"Authorization": "wrong"})
    await client.post("/smartico/made-up", json={}, headers=SMS)
    text = (await client.get("/metrics")).text
    assert 'bridge_send_refused_total{gateway="sms",status="401"} 1.0' in text
    assert 'bridge_send_refused_total{gateway="",status="404"} 1.0' in text
    assert "made-up" not in text
