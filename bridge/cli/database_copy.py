"""`bridge db copy`: everything of a SQLite file goes into an empty PostgreSQL database, and is compared there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import rich_click as click
from msgspec import Struct
from msgspec.structs import replace

from bridge.cli.access import find_owner
from bridge.cli.postgres import asyncpg_needed
from bridge.errors import BridgeError
from bridge.secret import Secret
from bridge.settings import Settings
from bridge.settings.rules import DATABASE_URL
from bridge.store.copying import Step, Table, Tell
from bridge.store.sqlite import open_store
from bridge.store.sqlite.contents import open_contents

__all__ = ["CopyResult", "copy_database", "target_settings"]

_LINE_EVERY = 50_000  # rows, where there is no terminal; the steps of a copy meet it


class CopyResult(Struct, frozen=True):
    """What was copied, and found equal: the rows by table, and their sum. `source` and `target` are names to show."""

    source: str
    target: str
    rows: int
    tables: dict[str, int]
    seconds: float


def target_settings(settings: Settings, url: str) -> Settings:
    """The settings with another database. Raises UsageError, without the address, where it is no PostgreSQL."""
    if not (url.startswith("postgresql:") and DATABASE_URL.holds(url)):
        raise click.BadParameter(
            "write it as database.url is written: postgresql://user:password@host:5432/name",
            param_hint="--to",
        )
    return replace(settings, database=replace(settings.database, url=Secret(url)))


async def copy_database(settings: Settings, target: Settings) -> CopyResult:
    """Copies the SQLite database of `settings` into that of `target`. Nobody else can own the file meanwhile.

    Raises BridgeError; then the target holds none of it.
    """
    _refuse_what_cannot_be_copied(settings)
    with asyncpg_needed("--to"):
        from bridge.store.postgres.copying import copy_into
    path, began = settings.database_path(), monotonic()
    owned = open_store(path, *settings.database.reveal_keys())  # up to date from here on, and ours alone
    try:
        with open_contents(path) as contents:
            rows = sum(table.rows for table in contents.tables)
            with _progress(rows) as tell:
                await copy_into(target.database.url.reveal(), contents, tell)
    finally:
        await owned.close()
    return CopyResult(
        source=str(path),
        target=target.database_name(),
        rows=rows,
        tables={table.name: table.rows for table in contents.tables},
        seconds=round(monotonic() - began, 3),
    )


def _refuse_what_cannot_be_copied(settings: Settings) -> None:
    if not settings.database.is_sqlite:
        raise BridgeError(
            "bridge db copy starts from SQLite, and database.url names PostgreSQL already: "
            "set it to the SQLite file that is to be copied."
        )
    path, owner = settings.database_path(), find_owner(settings)
    if not path.exists():
        raise BridgeError(f"There is no database {path}: check database.url.")
    if owner is not None:
        raise BridgeError(f"Process {owner.get('pid', 'unknown')} owns the database {path}: stop it first.")


@contextmanager
def _progress(total: int) -> Iterator[Tell]:
    """Shows on standard error how far it is: a bar on a terminal, lines elsewhere. Each row is copied and checked."""
    if not sys.stderr.isatty():
        yield _print_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=2 * total or None)
        finished = 0

        def tell(step: Step, table: Table, done: int) -> None:
            nonlocal finished
            description = f"{table.name}: {done:,} rows {step}"
            progress.update(task, description=description, completed=finished + done)
            if done == table.rows:
                finished += done

        yield tell


def _print_line(step: Step, table: Table, done: int) -> None:
    if done == table.rows or done % _LINE_EVERY == 0:
        click.echo(f"{table.name}: {done:,} rows {step}", err=True)
