"""Looks into the database of the bridge from outside: what is pending, and whether anything is left to do."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from bridge.core.model import id_text

__all__ = ["Database"]

_PENDING = "SELECT message_id, status FROM reports WHERE state = 'pending' AND due_at IS NOT NULL"
_OPEN = """SELECT (SELECT count(*) FROM sends WHERE phase <> 'review')
    + (SELECT count(*) FROM reports WHERE state = 'pending')
    + (SELECT count(*) FROM batches WHERE state = 'waiting')"""
_UNDECIDED = "SELECT count(*) FROM sends WHERE phase = 'review'"
_DEAD = "SELECT count(*) FROM reports WHERE state = 'dead'"


class Database:
    """The database of a run; `url` is that of the settings, whose file is in `folder`."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._file = folder / "bridge.db"

    async def pending(self) -> list[tuple[str, str]]:
        """The oldest pending report of each message, as (ext_message_id, status)."""
        return [(id_text(bytes(row[0])), row[1]) for row in await self._rows(_PENDING)]

    async def open(self) -> int:
        """How much is left that the bridge does by itself."""
        return int((await self._rows(_OPEN))[0][0])

    async def undecided(self) -> int:
        """Messages that wait for a person: perhaps sent, and without trace at the provider."""
        return int((await self._rows(_UNDECIDED))[0][0])

    async def dead(self) -> int:
        """Reports that were given up, and wait for a person."""
        return int((await self._rows(_DEAD))[0][0])

    async def _rows(self, sql: str) -> list[Any]:
        if self.is_sqlite:
            return await asyncio.to_thread(self._read, sql)
        import asyncpg

        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    def _read(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=ro", uri=True)) as file:
            return file.execute(sql).fetchall()
