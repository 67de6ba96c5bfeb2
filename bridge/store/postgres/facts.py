"""What can be said of a PostgreSQL server and its database, beside the rows: for `bridge check` and `bridge db`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asyncpg import exceptions
from msgspec import Struct

from bridge.errors import StoreError
from bridge.store.postgres import connect
from bridge.store.postgres.engine import Connection, translate
from bridge.store.postgres.schema import known_version, latest_version

__all__ = [
    "Leases",
    "Server",
    "cannot_connect",
    "count_leases",
    "latest_version",
    "read_schema_version",
    "read_server",
    "try_writing",
]

_LONG_SECONDS = 300.0
_LOOKS = 3  # at the clock; the quickest one counts

_SERVER = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS number,
       current_setting('server_encoding') AS encoding,
       pg_database_size(current_database()) AS bytes,
       current_setting('max_connections')::int AS connections,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS used
"""
_CLOCK = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS FLOAT8)"
_LEASES = """
SELECT count(*), count(DISTINCT owner)
FROM (
    SELECT owner, leased_until FROM sends
    UNION ALL SELECT owner, leased_until FROM batches WHERE state = 'waiting'
    UNION ALL SELECT owner, leased_until FROM reports WHERE state = 'pending'
    UNION ALL SELECT owner, leased_until FROM forwards WHERE state = 'pending'
) AS leases
WHERE owner IS NOT NULL AND leased_until > CAST(extract(epoch FROM now()) * 1000 AS BIGINT)
"""


class Server(Struct, frozen=True):
    """A server and its database. `bytes`: the size of the database. `free`: connections that nobody uses now.

    `clock_ahead`: by how many seconds its clock is before ours; below zero: behind it.
    """

    version: str
    major: int
    encoding: str
    bytes: int
    connections: int
    free: int
    clock_ahead: float


class Leases(Struct, frozen=True):
    """How many pieces of work are someone's now, and how many instances hold them."""

    held: int
    owners: int


async def read_server(dsn: str) -> Server:
    """Looks at the server, whatever is in the database. Raises StoreError with the mend."""
    async with _connected(dsn) as connection:
        row: Any = await connection.fetchrow(_SERVER)
        return Server(
            version=row["version"].split()[0],
            major=row["number"] // 10_000,
            encoding=row["encoding"],
            bytes=row["bytes"],
            connections=row["connections"],
            free=row["connections"] - row["reserved"] - row["used"] + 1,  # this one is closed at once
            clock_ahead=await _clock_ahead(connection),
        )


async def read_schema_version(dsn: str) -> int:
    """The number of the last migration that the database has seen, 0 for none. Raises StoreError."""
    async with _connected(dsn) as connection:
        return await known_version(connection)


async def count_leases(dsn: str) -> Leases:
    """Raises StoreError."""
    async with _connected(dsn) as connection:
        row: Any = await connection.fetchrow(_LEASES, timeout=_LONG_SECONDS)
        return Leases(held=row[0], owners=row[1])


async def try_writing(dsn: str) -> None:
    """Changes a row and takes it back, in a database that is up to date. Raises StoreError."""
    async with _connected(dsn) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE meta SET value = value WHERE key = 'schema_version'")
        await transaction.rollback()


async def _clock_ahead(connection: Connection) -> float:
    looks = []
    for _ in range(_LOOKS):
        began = time.time()
        theirs: float = await connection.fetchval(_CLOCK) / 1000
        ended = time.time()
        looks.append((ended - began, theirs - (began + ended) / 2))
    return min(looks)[1]


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Connection]:
    try:
        connection = await connect(dsn)
    except Exception as error:
        raise cannot_connect(error, "database.url") from None
    try:
        yield connection
    except Exception as error:
        raise _translated(error) from None
    finally:
        connection.terminate()


def _translated(error: Exception) -> Exception:
    translated = translate(error, "a look at the database")
    if isinstance(translated, StoreError) or translated is error:
        return translated
    return StoreError(f"The database cannot be used now ({type(error).__name__}).")


def cannot_connect(error: Exception, named: str) -> StoreError:
    """Why there is no connection, and the mend. `named`: what the address is called, such as "database.url"."""
    match error:
        case exceptions.InvalidPasswordError() | exceptions.InvalidAuthorizationSpecificationError():
            return StoreError(f"PostgreSQL refuses the user or the password: correct {named}.")
        case exceptions.InvalidCatalogNameError():
            return StoreError(
                f"The server has no database of that name: create it (createdb), or correct {named}."
            )
        case exceptions.TargetServerAttributeNotMatched():
            return StoreError(
                f"The server takes no changes, as a standby does: {named} has to name the primary."
            )
        case exceptions.TooManyConnectionsError():
            return StoreError(
                "PostgreSQL has no connection left: raise its max_connections, or stop what uses them."
            )
        case exceptions.ClientConfigurationError() | exceptions.InterfaceError() | ValueError():
            # Their texts may quote the address.
            return StoreError(
                f"PostgreSQL cannot be asked with this address: correct {named} and its parameters."
            )
        case TimeoutError() | asyncio.TimeoutError():
            reason = "it does not answer in time"
        case exceptions.PostgresError():
            reason = f"{error.args[0] if error.args else type(error).__name__}".splitlines()[0].rstrip(".")
        case OSError():
            reason = (error.strerror or str(error) or type(error).__name__).splitlines()[0]
        case _:
            reason = type(error).__name__
    return StoreError(
        f"PostgreSQL cannot be reached ({reason}): check host and port in {named}, and that the server runs."
    )
