"""`bridge db`: the database file itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.access import find_owner, open_for_reading, prepare_database
from bridge.cli.options import config_option, json_option, read_settings
from bridge.cli.output import print_json, print_record
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
    """Show the file, who owns it, and how much of what is in it.

    Looks at every row: on large files it takes a while.
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
    """Copy the database into a new FILE, also while a service runs.

    Whoever restores it needs the database.pii_key of today.
    """
    asyncio.run(_backup(read_settings(config), file))
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size})
    else:
        print(f"{file} is written ({size:,} bytes). Keep database.pii_key with it, but not beside it.")


async def _migrate(settings: Settings) -> dict[str, Any]:
    from bridge.store.sqlite import latest_version, schema_version

    owner, path = find_owner(settings), settings.database_path()
    before = schema_version(path)
    if owner is not None and before < latest_version():
        raise BridgeError(f"Process {owner.get('pid', 'unknown')} owns the database: stop it first.")
    await prepare_database(settings)
    return {"path": str(path), "before": before, "after": schema_version(path)}


async def _status(settings: Settings) -> dict[str, Any]:
    from bridge.store.figures import count_all
    from bridge.store.sqlite.facts import read_facts

    owner, path = find_owner(settings), settings.database_path()
    async with open_for_reading(settings) as store:
        figures, facts = await store.search(count_all), read_facts(path)
    return {
        "path": str(path),
        "bytes": facts.bytes,
        "schema_version": facts.schema_version,
        "journal": facts.journal,
        "owner": owner,
        "messages": figures.messages,
        "reports_owed": figures.reports.get("pending", 0),
        "reports_done": figures.reports.get("done", 0),
        "reports_dead": figures.reports.get("dead", 0),
        "inbox_waiting": figures.inbox_waiting,
        "review_open": sum(figures.review.values()),
    }


async def _backup(settings: Settings, file: Path) -> None:
    from bridge.store.sqlite import backup

    await prepare_database(settings)
    backup(settings.database_path(), file)


def _shown(value: object) -> str:
    if value is None:
        return "nobody"
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
