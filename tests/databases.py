"""Looks into a database from outside, past the bridge, whatever its engine."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg

__all__ = ["every_byte", "execute", "rows"]


async def rows(database: str, folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a query gives."""
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(f"{(folder / 'bridge.db').as_uri()}?mode=ro", uri=True)) as file:
            return file.execute(sql).fetchall()
    connection = await asyncpg.connect(database)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def execute(database: str, folder: Path, sql: str) -> None:
    """Does something to a database behind the back of the service."""
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(folder / "bridge.db", timeout=10)) as file, file:
            file.execute(sql)
        return
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def every_byte(database: str, folder: Path) -> bytes:
    """All that is stored: the file with its write-ahead log, or every table."""
    if database.startswith("sqlite"):
        return b"".join(path.read_bytes() for path in folder.glob("bridge.db*"))
    connection = await asyncpg.connect(database)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = BytesIO()
        for (table,) in tables:
            await connection.copy_from_table(table, output=found, format="binary")
        return found.getvalue()
    finally:
        await connection.close()
