"""`bridge db`: the database itself, a SQLite file or one on a PostgreSQL server."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.access import find_owner, open_for_reading, prepare_database
from bridge.cli.options import config_option, json_option, read_settings
from bridge.cli.output import print_json, print_record
from bridge.cli.postgres import asyncpg_needed
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.settings import Settings

__all__ = ["database_group"]


@click.group("db", epilog="Example: bridge db status")
def database_group() -> None:
    """The database."""


@database_group.command("migrate", epilog="Example: bridge db migrate")
@json_option
@config_option
def migrate_command(as_json: bool, config: Path) -> None:
    """Make the database where it is missing, and bring it up to date. A service does so by itself at its start."""
    result = asyncio.run(_migrate(read_settings(config)))
    if as_json:
        print_json(result)
    elif result["before"] == result["after"]:
        print(f"{result['path']} is up to date (schema version {result['after']}).")
    else:
        print(f"{result['path']} went from schema version {result['before']} to {result['after']}.")


@database_group.command("status", epilog="Example: bridge db status --json")
@json_option
@config_option
def status_command(as_json: bool, config: Path) -> None:
    """Show the database, who uses it, and how much of what is in it.

    Looks at every row: on large databases it takes a while.
    """
    status = asyncio.run(_status(read_settings(config)))
    if as_json:
        print_json(status)
    else:
        print_record({name.replace("_", " "): _shown(value) for name, value in status.items()})


@database_group.command("backup", epilog="Example: bridge db backup bridge-2026-11-21.db")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@config_option
def backup_command(file: Path, as_json: bool, config: Path) -> None:
    """Copy the SQLite database into a new FILE, also while a service runs. For PostgreSQL there is pg_dump.

    It is copied as it is, before a newer version brings it up to date. Whoever restores it needs the database.pii_key
    of today.
    """
    asyncio.run(_backup(read_settings(config), file))
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size})
    else:
        print(f"{file} is written ({size:,} bytes). Keep database.pii_key with it, but not beside it.")


@database_group.command("restore", epilog="Example: bridge db restore bridge-2026-11-21.db")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@config_option
def restore_command(file: Path, as_json: bool, config: Path) -> None:
    """Put a backup FILE in the place of the SQLite database. Stop bridge before.

    The database that is there is kept beside it. Messages that waited to be sent when the backup was made may have been
    sent since: the provider is asked for them first. Status reports that were done since are repeated.
    """
    result = _restore(read_settings(config), file)
    if as_json:
        print_json(result)
        return
    print(f"{result['path']} is restored from {file}.")
    if result["kept"]:
        print(f"What was there before is {result['kept']}.")
    if result["asked_for"]:
        print(
            f"{result['asked_for']:,} messages waited to be sent: the provider is asked for them first. Those of which "
            "it has no trace go the way of unknown_send (bridge review list)."
        )
    print("Next: start bridge.")


@database_group.command(
    "copy", epilog="Example: bridge db copy --to postgresql://bridge:password@db.example:5432/bridge"
)
@click.option(
    "--to",
    "url",
    required=True,
    metavar="URL",
    help="An empty PostgreSQL database, as database.url would name it. $PGPASSWORD can hold the password.",
)
@json_option
@config_option
def copy_command(url: str, as_json: bool, config: Path) -> None:
    """Move from SQLite to PostgreSQL: copy everything into an empty database, and compare both.

    Stop bridge before. Nothing is kept of a copy that fails. The SQLite file stays as it is.
    """
    from bridge.cli.database_copy import copy_database, target_settings

    settings = read_settings(config)
    result = asyncio.run(copy_database(settings, target_settings(settings, url)))
    if as_json:
        print_json(result)
    else:
        print(
            f"{result.rows:,} rows of {len(result.tables)} tables are now in {result.target}, and the check found them "
            f"equal.\nNext: set database.url to that database, keep database.pii_key, and start bridge. "
            f"{result.source} is as it was; no bridge may serve from it any more."
        )


@database_group.command("prune", epilog="Example: bridge db prune --dry-run")
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@json_option
@config_option
def prune_command(dry_run: bool, as_json: bool, config: Path) -> None:
    """Delete what is older than database.retention_days and raw_retention_days. A service does so by itself.

    What is not finished stays, however old: messages in the outbox, reports pending or dead, open review items.
    """
    from bridge.cli.database_prune import prune_database

    settings = read_settings(config)
    result = asyncio.run(prune_database(settings, dry_run=dry_run))
    if as_json:
        print_json(result)
    elif result.by_service is not None:
        print(f"Nothing to do: the service that runs (process {result.by_service}) prunes by itself.")
    elif not result.rows:
        print("Nothing is old enough to go.")
    else:
        print_record({name.replace("_", " "): f"{count:,}" for name, count in result.rows.items()})
        print("These would go; nothing was changed." if dry_run else "These are gone.")
        if settings.database.is_sqlite and not dry_run:
            print(
                "The file keeps its size and fills the room again. To shrink it, stop bridge and run VACUUM on it."
            )


async def _migrate(settings: Settings) -> dict[str, Any]:
    if not settings.database.is_sqlite:
        return await _migrate_postgres(settings)
    from bridge.store.sqlite import latest_version, schema_version

    owner, path = find_owner(settings), settings.database_path()
    before = schema_version(path)
    if owner is not None and before < latest_version():
        raise BridgeError(f"Process {owner.get('pid', 'unknown')} owns the database: stop it first.")
    await prepare_database(settings)
    return {"path": str(path), "before": before, "after": schema_version(path)}


async def _migrate_postgres(settings: Settings) -> dict[str, Any]:
    with asyncpg_needed():
        from bridge.store.postgres.facts import latest_version, read_schema_version

    before = await read_schema_version(settings.database.url.reveal())
    async with open_for_reading(settings):
        return {"path": settings.database_name(), "before": before, "after": latest_version()}


async def _status(settings: Settings) -> dict[str, Any]:
    from bridge.store.figures import count_all

    owner = find_owner(settings)
    async with open_for_reading(settings) as store:
        figures = await store.search(count_all)
        about = _about_file(settings, owner) if settings.database.is_sqlite else await _about_server(settings)
    return {
        **about,
        "messages": figures.messages,
        "reports_owed": figures.reports.get("pending", 0),
        "reports_done": figures.reports.get("done", 0),
        "reports_dead": figures.reports.get("dead", 0),
        "inbox_waiting": figures.inbox_waiting,
        "review_open": sum(figures.review.values()),
    }


def _about_file(settings: Settings, owner: dict[str, str] | None) -> dict[str, Any]:
    from bridge.store.sqlite.facts import read_facts

    path = settings.database_path()
    facts = read_facts(path)
    return {
        "path": str(path),
        "bytes": facts.bytes,
        "schema_version": facts.schema_version,
        "journal": facts.journal,
        "owner": owner,
    }


async def _about_server(settings: Settings) -> dict[str, Any]:
    from bridge.store.postgres.facts import count_leases, read_schema_version, read_server

    dsn = settings.database.url.reveal()
    server, leases = await read_server(dsn), await count_leases(dsn)
    return {
        "path": settings.database_name(),
        "bytes": server.bytes,
        "schema_version": await read_schema_version(dsn),
        "server": f"PostgreSQL {server.version}",
        "leases": leases.held,
        "lease_owners": leases.owners,
    }


async def _backup(settings: Settings, file: Path) -> None:
    if not settings.database.is_sqlite:
        raise BridgeError(
            "bridge db backup copies SQLite files: use pg_dump for PostgreSQL, such as "
            f"pg_dump --format=custom --username=USER --file=bridge.dump {settings.database_name()}"
        )
    from bridge.store.sqlite import backup

    backup(
        settings.database_path(), file
    )  # as it is: of an older version too, which can then be gone back to


def _restore(settings: Settings, file: Path) -> dict[str, Any]:
    if not settings.database.is_sqlite:
        raise BridgeError(
            "bridge db restore is for SQLite files: use pg_restore for PostgreSQL, such as "
            f"pg_restore --clean --if-exists --username=USER --dbname={settings.database_name()} bridge.dump"
        )
    from bridge.store.sqlite.restoring import kept_path, restore

    path = settings.database_path()
    asked_for = restore(file, path, settings.database.pii_key.reveal(), time.time_ns() // 1_000_000)
    kept = kept_path(path)
    return {"path": str(path), "kept": str(kept) if kept.exists() else None, "asked_for": asked_for}


def _shown(value: object) -> str:
    if value is None:
        return "nobody"
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
