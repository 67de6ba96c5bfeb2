"""A service on SQLite, with the settings of the tests of the web."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.servers import NO_TLS
from tests.web.conftest import OPERATOR, SETTINGS
from tests.web.started import start_service


@asynccontextmanager
async def serving(folder: Path, first_lines: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of an operator; the database in `folder` stays for the next service."""
    service = await start_service(f"{first_lines}\n{SETTINGS}", folder, "sqlite:///bridge.db")
    async with httpx.AsyncClient(base_url=service.url, headers=OPERATOR, verify=NO_TLS) as client:
        yield client
    await service.stop()
