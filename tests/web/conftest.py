"""A whole service in this process, on a free port, with nobody on the other side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from bridge.app import Service
from tests.servers import NO_TLS
from tests.web.started import start_service

SETTINGS = """
[database]
url = "{database}"
[server]
max_body_bytes = 20000
trusted_proxies = ["127.0.0.0/8"]
metrics_public = false
[smartico]
api_key = "key-of-smartico"
allowed_ips = ["127.0.0.1", "10.1.0.0/16"]
[providers.revicom]
token = "token-of-revicom"
base_url = "http://127.0.0.1:9/api/v1"
callback_password = "password-of-callbacks"
allowed_ips = ["185.203.96.7"]
[gateways.sms]
authorization = ["old-secret", "new-secret"]
[[ops.operators]]
name = "alice"
token = "an-operator-token-for-tests"
role = "operator"
[[ops.operators]]
name = "victor"
token = "a-viewer-token-for-tests"
role = "viewer"
"""
OPERATOR = {"Authorization": "Bearer an-operator-token-for-tests"}
VIEWER = {"Authorization": "Bearer a-viewer-token-for-tests"}


@pytest.fixture
async def service(tmp_path: Path, database: str) -> AsyncIterator[Service]:
    service = await start_service(SETTINGS, tmp_path, database)
    yield service
    await service.stop()


@pytest.fixture
async def web(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service, without credentials."""
    async with httpx.AsyncClient(base_url=service.url, verify=NO_TLS) as client:
        yield client
