"""`/api/keys/rotate`: a portion a call, for operators who mean the key that the service runs with."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.app import Service
from bridge.pii import cipher_key_of, key_name
from tests.servers import NO_TLS
from tests.web.conftest import OPERATOR, SETTINGS, VIEWER
from tests.web.started import start_service

FORMER, PRESENT = (b64encode(bytes([number]) * 32).decode() for number in (1, 2))
KEY = {"key": key_name(cipher_key_of(PRESENT))}
PHONE = "+447700900123"


async def serve(folder: Path, database: str, keys: str) -> Service:
    return await start_service(SETTINGS.replace("[server]", f"{keys}\n[server]"), folder, database)


@pytest.fixture
async def rotating(tmp_path: Path, database: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that was restarted with a new key; contacts were kept with the former one."""
    service = await serve(tmp_path, database, f'pii_key = "{FORMER}"')
    async with httpx.AsyncClient(base_url=service.url, headers=OPERATOR, verify=NO_TLS) as client:
        rows = [{"ext_user_id": f"user-{number}", "phone": PHONE} for number in range(150)]
        assert (await client.post("/api/contacts", json=rows)).status_code == 200
    await service.stop()
    service = await serve(tmp_path, database, f'pii_key = "{PRESENT}"\npii_key_old = "{FORMER}"')
    async with httpx.AsyncClient(base_url=service.url, headers=OPERATOR, verify=NO_TLS) as client:
        yield client
    await service.stop()


async def rotate(client: httpx.AsyncClient) -> dict[str, Any]:
    """To the end."""
    while True:
        answer = await client.post("/api/keys/rotate", json=KEY)
        assert answer.status_code == 200, answer.text
        rotated: dict[str, Any] = answer.json()
        if rotated["step"] == "done":
            return rotated


async def test_rows_are_sealed_anew(rotating: httpx.AsyncClient) -> None:
    """Repeated until it is done, the call says how many values it sealed; who asked for it is written down."""
    rotated = await rotate(rotating)
    assert (rotated["resealed"], rotated["unreadable"]) == (150, 0)
    assert (await rotate(rotating))["resealed"] == 0
    lines = (await rotating.get("/api/audit")).json()["items"]
    assert [(line["actor"], line["detail"]) for line in lines if line["action"] == "keys.rotate"] == [
        ("alice", {"step": "done", "resealed": 150, "unreadable": 0}),
        ("alice", {"step": "begun"}),
    ]
    assert (await rotating.get("/api/contacts/user-7")).json()["phone"].endswith("0123")


async def test_only_operators_may(rotating: httpx.AsyncClient) -> None:
    """A viewer changes nothing, nor does a stranger."""
    assert (await rotating.post("/api/keys/rotate", json=KEY, headers=VIEWER)).status_code == 403
    assert (
        await rotating.post("/api/keys/rotate", json=KEY, headers={"Authorization": ""})
    ).status_code == 401


async def test_another_key_is_refused(rotating: httpx.AsyncClient) -> None:
    """Who has newer settings than the service must not believe that their key is in use."""
    answer = await rotating.post("/api/keys/rotate", json={"key": key_name(cipher_key_of(FORMER))})
    assert answer.status_code == 409
    assert "restart it with the new settings" in answer.json()["detail"]
    wrong: list[Any] = [{}, {"key": 1}, [], {"key": "", "more": 1}]
    for body in wrong:
        assert (await rotating.post("/api/keys/rotate", json=body)).status_code == 400


async def test_a_service_without_a_key(web: httpx.AsyncClient) -> None:
    """There is nothing to seal with."""
    answer = await web.post("/api/keys/rotate", json={"key": ""}, headers=OPERATOR)
    assert answer.status_code == 409
    assert "database.pii_key is empty" in answer.json()["detail"]
