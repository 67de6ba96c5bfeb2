"""`bridge keys`: the key that encrypts personal data, and its change."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from msgspec import Struct

from bridge.cli.access import open_for_changing, open_for_reading
from bridge.cli.options import config_option, json_option, read_settings
from bridge.cli.output import print_json, print_record
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.flows.rotating import Rotated
    from bridge.settings import Settings

__all__ = ["keys_group"]

_LINE_EVERY = 50_000  # rows, where there is no terminal
Tell = Callable[[str, int, int], None]  # what is done, rows, of how many


class KeysStatus(Struct, frozen=True):
    """How many values are sealed with what. `key`: the name of `database.pii_key`, empty where there is none.

    `unfinished`: the former key is needed still.
    """

    key: str
    present: int
    former: int
    plain: int
    unreadable: int
    unfinished: bool


class RotateResult(Struct, frozen=True):
    """How many values were sealed anew (in a dry run: would be), and how many no key opens."""

    resealed: int
    unreadable: int
    dry_run: bool


@click.group("keys", epilog="Example: bridge keys status")
def keys_group() -> None:
    """The key that encrypts personal data (database.pii_key), and its change: docs/keys.md has the steps."""


@keys_group.command("status", epilog="Example: bridge keys status --json")
@json_option
@config_option
def status_command(as_json: bool, config: Path) -> None:
    """Show how many values are sealed with database.pii_key, with database.pii_key_old, or not at all.

    Looks at every row: on large databases it takes a while.
    """
    settings = read_settings(config)
    status = asyncio.run(_status(settings))
    if as_json:
        print_json(status)
        return
    print_record(
        {
            "key": status.key or "none: database.pii_key is empty",
            "sealed with it": f"{status.present:,}",
            "sealed with the former key": f"{status.former:,}",
            "not sealed": f"{status.plain:,}",
            "sealed with an unknown key": f"{status.unreadable:,}",
        }
    )
    print(_next_step(settings, status))


@keys_group.command("rotate", epilog="Example: bridge keys rotate --dry-run")
@click.option("--dry-run", is_flag=True, help="Only count what would be sealed anew.")
@json_option
@config_option
def rotate_command(dry_run: bool, as_json: bool, config: Path) -> None:
    """Seal everything anew with database.pii_key: what database.pii_key_old sealed, and what was not sealed.

    Runs beside a service that was restarted with both keys. It can be interrupted and repeated.
    """
    settings = read_settings(config)
    result = asyncio.run(_count_only(settings) if dry_run else _rotate(settings))
    if as_json:
        print_json(result)
        return
    if dry_run:
        print(f"{result.resealed:,} values would be sealed anew; nothing was changed.")
    else:
        print(f"{result.resealed:,} values were sealed anew with database.pii_key. {_after(settings)}")
        if result.resealed and settings.database.is_sqlite:
            print(
                "Free pages of the file may hold former values: to clear them, stop bridge and run VACUUM on it."
            )
    if result.unreadable:
        print(f"{result.unreadable:,} values can be opened with neither key, and stay as they are.")


def _after(settings: Settings) -> str:
    if settings.database.pii_key_old:
        return "Nothing needs the former key now: take database.pii_key_old out, and restart bridge."
    return "All are sealed with it."


def _next_step(settings: Settings, status: KeysStatus) -> str:
    if not status.key:
        return "Personal data is not encrypted."
    if status.former or status.plain or status.unfinished:
        return "Next: bridge keys rotate."
    if settings.database.pii_key_old:
        return "Nothing needs the former key: take database.pii_key_old out."
    return "Nothing is left to do."


async def _status(settings: Settings) -> KeysStatus:
    from bridge.flows.rotating import count_values
    from bridge.pii import SealedWith
    from bridge.store.keys import is_rotating

    async with open_for_reading(settings) as store:
        with _progress() as tell:
            counts = await count_values(store, lambda rows, of: tell("counting", rows, of))
        return KeysStatus(
            key=store.vault.key_name,
            present=counts.get(SealedWith.PRESENT, 0),
            former=counts.get(SealedWith.FORMER, 0),
            plain=counts.get(SealedWith.PLAIN, 0),
            unreadable=counts.get(SealedWith.UNKNOWN, 0),
            unfinished=await store.read(is_rotating),
        )


async def _count_only(settings: Settings) -> RotateResult:
    _refuse_without_key(settings)
    status = await _status(settings)
    return RotateResult(status.former + status.plain, status.unreadable, dry_run=True)


async def _rotate(settings: Settings) -> RotateResult:
    from bridge.pii import cipher_key_of, key_name

    _refuse_without_key(settings)
    key = key_name(cipher_key_of(settings.database.pii_key.reveal()))
    async with open_for_changing(settings) as backend:
        with _progress() as tell:
            while (rotated := await backend.rotate_keys(key)).step != "done":
                tell(rotated.step, rotated.rows, rotated.of)
    return _result(rotated)


def _result(rotated: Rotated) -> RotateResult:
    return RotateResult(rotated.resealed, rotated.unreadable, dry_run=False)


def _refuse_without_key(settings: Settings) -> None:
    if not settings.database.pii_key:
        raise BridgeError("database.pii_key is empty: set the key that is to be used from now on.")


@contextmanager
def _progress() -> Iterator[Tell]:
    """Shows on standard error how far it is: a bar on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _print_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda step, rows, of: progress.update(
            task, description=f"{step}: {rows:,} rows", completed=rows, total=of or None
        )


def _print_lines() -> Tell:
    printed = ("", 0)

    def tell(step: str, rows: int, of: int) -> None:
        nonlocal printed
        now = (step, rows // _LINE_EVERY)
        if now[1] and now != printed:
            printed = now
            click.echo(f"{step}: {rows:,} of {of:,} rows", err=True)

    return tell
