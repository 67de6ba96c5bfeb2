"""The schema of a PostgreSQL database: made and brought up to date under an advisory lock, one process at a time."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from asyncpg import exceptions

from bridge.errors import StoreError
from bridge.store.postgres.engine import Connection

__all__ = ["check_version", "known_version", "latest_version", "migrate"]

_MIGRATIONS = files("bridge.store.postgres").joinpath("migrations")
_LOCK = 0x6272696467650000  # "bridge", in ASCII: whoever migrates holds this lock
_VERSION = "schema_version"
_PATIENCE = (
    86_400.0  # seconds for a step: on many rows it takes its time, and begun anew it would take it again
)


def latest_version() -> int:
    """The number of the last migration of this program."""
    return len(_scripts())


async def known_version(connection: Connection) -> int:
    """The number of the last migration that the database has seen, 0 for none. Raises StoreError for a newer one."""
    try:
        value = await connection.fetchval("SELECT value FROM meta WHERE key = $1", _VERSION)
    except exceptions.UndefinedTableError:
        return 0
    version = int(value) if value else 0
    if version > latest_version():
        raise StoreError(
            "The database was written by a newer version of bridge: install that version, or restore a backup."
        )
    return version


async def check_version(connection: Connection) -> None:
    """Raises StoreError where the database is not up to date."""
    if await known_version(connection) < latest_version():
        raise StoreError("The database is not up to date: run bridge db migrate, or start bridge serve.")


async def migrate(connection: Connection) -> None:
    """Runs the migrations that the database has not seen, all or none. Whoever else wants to waits."""
    if await known_version(connection) == latest_version():
        return
    try:
        await _migrate(connection)
    except exceptions.DependentObjectsStillExistError:
        raise StoreError(
            "The database cannot be brought up to date: something of yours is built upon the views of bridge "
            "(v_messages and others). Drop it, run bridge db migrate, and make it again."
        ) from None


async def _migrate(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=_PATIENCE)
        version = await known_version_in_transaction(connection)
        for number, script in enumerate(_scripts()[version:], version + 1):
            await connection.execute(script, timeout=_PATIENCE)
            await connection.execute(_views())
            await connection.execute(
                "INSERT INTO meta (key, value) VALUES ($1, $2) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                _VERSION,
                str(number).encode(),
            )


async def known_version_in_transaction(connection: Connection) -> int:
    """As `known_version`, where a failed statement would end the transaction."""
    there = await connection.fetchval("SELECT to_regclass('meta') IS NOT NULL")
    return await known_version(connection) if there else 0


def _scripts() -> list[str]:
    return list(_texts(sorted(file.name for file in _MIGRATIONS.iterdir() if file.name[0].isdigit())))


def _texts(names: Iterable[str]) -> Iterable[str]:
    return (_MIGRATIONS.joinpath(name).read_text(encoding="utf-8") for name in names)


def _views() -> str:
    return _MIGRATIONS.joinpath("views.sql").read_text(encoding="utf-8")
