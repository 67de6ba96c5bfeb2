"""What `bridge check` looks at on a PostgreSQL server: version, schema, rights, clock and connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bridge.assembly import open_shared
from bridge.cli.finding import Finding, Level
from bridge.cli.postgres import asyncpg_needed
from bridge.errors import StoreError
from bridge.settings import Settings

if TYPE_CHECKING:
    from bridge.store.postgres.facts import Server

__all__ = ["check_connections", "check_postgres", "check_server", "check_server_clock"]

_ODD_SECONDS = 2.0
_NEEDED = 14  # the oldest version of PostgreSQL that can be used
_OF_ONE = 11  # connections that one instance opens at most


async def check_postgres(settings: Settings) -> list[Finding]:
    """Makes the database where it is empty, and brings it up to date, as every command does."""
    try:
        with asyncpg_needed():
            from bridge.store.postgres.facts import read_server

        server = await read_server(settings.database.url.reveal())
        problems = list(check_server(server))
        if problems:
            return problems
        schema_version = await _use(settings)
    except StoreError as error:
        return [Finding("database", Level.ERROR, error.sentence)]
    encrypted = "encrypted" if settings.database.pii_key else "not encrypted (pii_key is empty)"
    text = (
        f"{settings.database_name()}, PostgreSQL {server.version}, schema version {schema_version}, "
        f"personal data {encrypted}; it can be written"
    )
    return [
        Finding("database", Level.OK, text),
        check_server_clock(server.clock_ahead),
        check_connections(server.free, server.connections),
    ]


async def _use(settings: Settings) -> int:
    """Opens the database and writes; gives its version. Raises StoreError."""
    from bridge.store.postgres.facts import latest_version, try_writing

    await (await open_shared(settings, worker=False)).close()
    await try_writing(settings.database.url.reveal())
    return latest_version()


def check_server(server: Server) -> Iterator[Finding]:
    """What makes a server unusable."""
    if server.major < _NEEDED:
        yield Finding(
            "database",
            Level.ERROR,
            f"PostgreSQL {server.version} is too old: install {_NEEDED} or newer",
        )
    if server.encoding != "UTF8":
        yield Finding(
            "database",
            Level.ERROR,
            f"its encoding is {server.encoding}, which cannot keep every text: make it with ENCODING 'UTF8'",
        )


def check_server_clock(ahead: float) -> Finding:
    """`ahead`: by how many seconds the server's clock is before ours."""
    text = f"the clock of the database is {abs(ahead):.1f} s {'before' if ahead > 0 else 'behind'} ours"
    if abs(ahead) > _ODD_SECONDS:
        return Finding(
            "database",
            Level.WARNING,
            f"{text}: leases go by its clock and due times by ours, so keep both with NTP",
        )
    return Finding("database", Level.OK, text)


def check_connections(free: int, connections: int) -> Finding:
    """`free`: how many of the server's connections nobody uses now."""
    text = f"{free} of {connections} connections are free, and one instance opens up to {_OF_ONE}"
    if free < 2 * _OF_ONE:
        return Finding("database", Level.WARNING, f"{text}: raise max_connections of the server")
    return Finding("database", Level.OK, text)
