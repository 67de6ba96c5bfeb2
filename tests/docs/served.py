"""A service on SQLite, with the settings of the tests of the web."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bridge.app import Service
from bridge.assembly import open_database
from bridge.settings import parse_settings
from tests.web.conftest import OPERATOR, SETTINGS


@asynccontextmanager
async def serving(folder: Path, first_lines: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of an operator; the database in `folder` stays for the next service."""
    text = f"{first_lines}\n{SETTINGS.replace('{database}', 'sqlite:///bridge.db')}"
    settings = parse_settings(text, file="bridge.toml", base_dir=folder, environ={})
    service = Service(settings, await open_database(settings), host="127.0.0.1", port=0)
    await service.start()
    async with httpx.AsyncClient(base_url=service.url, headers=OPERATOR) as client:
        yield client
    await service.stop()
