"""Databases of our own on an operator's PostgreSQL server: made for a run, filled from a SQLite file, dropped after it.

Nothing but databases whose name was drawn here is ever written to or dropped, and no text of here holds the address,
which may have a password in it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from asyncpg import exceptions

from bridge.bench.processes import server_pid
from bridge.errors import BridgeError
from bridge.store.postgres import connect
from bridge.store.postgres.copying import copy_into
from bridge.store.postgres.facts import cannot_connect
from bridge.store.sqlite.contents import open_contents

__all__ = ["PREFIX", "Databases", "open_databases", "own_url"]

PREFIX = "bridge_bench_"
_LONG = 600.0  # seconds: dropping a large database, or cleaning it
_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
)  # which the figures depend on
_NAMED = "the address after --database"
_REFUSED = f"The user of {_NAMED} may not create databases: ALTER ROLE … CREATEDB, or name another user."

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Databases:
    """One database at a time, its `name`; see `open_databases`. `version` and `settings` are those of the server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name: str | None = None
        self.version = ""
        self.settings: dict[str, str] = {}

    async def look(self) -> None:
        """Reads what there is to say of the server. BridgeError where it cannot be reached or used."""
        wanted = ", ".join(f"current_setting('{name}')" for name in ("server_version", *_SETTINGS))
        version, *values = await self._ask(f"SELECT {wanted}")
        self.version = version.split()[0]
        self.settings = dict(zip(_SETTINGS, values, strict=True))
        (may,) = await self._ask("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
        if not may:
            raise BridgeError(_REFUSED)

    async def fresh(self, source: Path) -> str:
        """The URL of a new database with all that is in the SQLite file; the one before it is dropped."""
        url = await self.empty()
        assert self.name
        await _fill(url, self.name, source)
        return url

    async def empty(self) -> str:
        """The URL of a new database with nothing in it; the one before it is dropped."""
        await self.drop()
        self.name = PREFIX + secrets.token_hex(6)
        await _to_the_end(self._execute(f"CREATE DATABASE {self.name} TEMPLATE template0"))
        return own_url(self._url, self.name)

    async def drop(self) -> None:
        """Drops the database of this run, if there is one, whoever is still connected to it."""
        if self.name is not None:
            await _to_the_end(self._execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)"))
            self.name = None

    async def megabytes(self) -> float:
        """The size of the database of this run."""
        (size,) = await self._ask("SELECT pg_database_size($1::text::name)", self.name)
        return float(round(size / 2**20, 1))

    async def server_pid(self) -> int | None:
        """The parent of all processes of the server; None where it does not run on this machine."""
        sql = "SELECT pg_backend_pid(), coalesce('(' || inet_client_port() || ')', '[local]')"
        async with _connected(self._url) as connection:
            return server_pid(*await _row(connection, sql))

    async def _execute(self, sql: str) -> None:
        async with _connected(self._url) as connection:
            await connection.execute(sql, timeout=_LONG)

    async def _ask(self, sql: str, *values: Any) -> Any:
        async with _connected(self._url) as connection:
            return await _row(connection, sql, *values)


@asynccontextmanager
async def open_databases(url: str, say: Callable[[str], None]) -> AsyncIterator[Databases]:
    """In the end nothing of the run is left on the server; where that fails, `say` gets the name of what is left."""
    databases = Databases(url)
    await databases.look()
    try:
        yield databases
    finally:
        try:
            await databases.drop()
        except BridgeError as error:
            say(f"{databases.name} could not be dropped: {error}")


def own_url(url: str, name: str) -> str:
    """The same server and user, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _fill(url: str, name: str, source: Path) -> None:
    """Copies the file, and leaves the database as one that has been in use for a while: cleaned, with statistics."""
    async with _connected(url) as connection:
        (found,) = await _row(connection, "SELECT current_database()")
        if found != name:
            raise BridgeError(f"{_NAMED} leads to the same database whatever its path says: change it.")
    with open_contents(source) as contents:
        await copy_into(url, contents, lambda *_: None)
    async with _connected(url) as connection:
        await connection.execute("VACUUM (ANALYZE)", timeout=_LONG)
        try:
            await connection.execute("CHECKPOINT", timeout=_LONG)
        except exceptions.InsufficientPrivilegeError:
            pass  # then some of what was copied goes to the disk while it is measured


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Is not interrupted half-way: else nobody knows whether the database is there."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _row(connection: Connection, sql: str, *values: Any) -> Any:
    return await connection.fetchrow(sql, *values)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Connection]:
    """A connection for a moment. BridgeError where there is none, or where the server refuses what is wanted."""
    try:
        connection = await connect(url)
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote the address
        raise cannot_connect(error, _NAMED) from None
    try:
        yield connection
    except exceptions.InsufficientPrivilegeError:
        raise BridgeError(_REFUSED) from None
    except (exceptions.PostgresError, exceptions.InterfaceError, OSError) as error:
        reason = error.args[0] if isinstance(error, exceptions.PostgresError) else type(error).__name__
        raise BridgeError(f"PostgreSQL does not do what the bench needs: {reason}.") from None
    finally:
        connection.terminate()
