"""A service in this process, from the text of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.app import Service
from bridge.assembly import open_database
from bridge.settings import parse_settings

__all__ = ["start_service"]


async def start_service(text: str, folder: Path, database: str, **how: Any) -> Service:
    """It listens on a free port. `{database}` in the settings stands for the URL of its database."""
    settings = parse_settings(
        text.replace("{database}", database), file="bridge.toml", base_dir=folder, environ={}
    )
    service = Service(settings, await open_database(settings), host="127.0.0.1", port=0, **how)
    await service.start()
    return service
