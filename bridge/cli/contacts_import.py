"""`bridge contacts import`: a file goes into the contact directory, a thousand rows a transaction."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import rich_click as click
from msgspec import Struct

from bridge.cli.access import Backend, open_for_changing
from bridge.cli.contacts_csv import ContactFile, RejectedFile, RejectedRow, open_contacts, rejected_path
from bridge.errors import BridgeError
from bridge.flows.directory import ContactDraft
from bridge.settings import Settings

__all__ = ["ImportResult", "import_contacts"]

_CHUNK = 1000  # rows in one transaction
_LINE_EVERY = 50_000  # rows, where there is no terminal
Advance = Callable[[int, int], None]


class ImportResult(Struct, frozen=True):
    """How many rows were good, were imported, and were rejected, and where those are now."""

    valid: int
    imported: int
    rejected: int
    rejected_file: str | None
    dry_run: bool


async def import_contacts(settings: Settings, path: Path, *, dry_run: bool) -> ImportResult:
    """Imports a file, or only checks it. Raises BridgeError; what was imported before that stays."""
    with open_contacts(path, settings.contacts.default_region) as file, _progress(file.size) as advance:
        rejected = RejectedFile(rejected_path(path), file.header)
        try:
            async with _open(settings, dry_run=dry_run) as backend:
                valid = await _import_rows(file, rejected, backend, advance)
        finally:
            rejected.close()
    name = str(rejected.path) if rejected.count else None
    return ImportResult(valid, 0 if dry_run else valid, rejected.count, name, dry_run)


@asynccontextmanager
async def _open(settings: Settings, *, dry_run: bool) -> AsyncIterator[Backend | None]:
    if dry_run:
        yield None
    else:
        async with open_for_changing(settings) as backend:
            yield backend


async def _import_rows(
    file: ContactFile, rejected: RejectedFile, backend: Backend | None, advance: Advance
) -> int:
    valid = 0
    for chunk in _chunks(file, rejected):
        try:
            if backend:
                await backend.keep_contacts(chunk)
        except BridgeError as error:
            raise BridgeError(
                f"{error.sentence} {valid:,} rows were imported before; the import can be repeated."
            ) from error
        valid += len(chunk)
        advance(valid + rejected.count, file.read_bytes)
    return valid


def _chunks(file: ContactFile, rejected: RejectedFile) -> Iterator[list[ContactDraft]]:
    """The good rows; the others go aside."""
    chunk: list[ContactDraft] = []
    for row in file:
        if isinstance(row, RejectedRow):
            rejected.add(row)
            continue
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


@contextmanager
def _progress(size: int) -> Iterator[Advance]:
    """Shows rows and bytes read so far on standard error: a bar on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _print_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[rows]:,} rows"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=size or None, rows=0)
        yield lambda rows, read: progress.update(task, rows=rows, completed=read)


def _print_lines() -> Advance:
    printed = 0

    def advance(rows: int, _: int) -> None:
        nonlocal printed
        if rows // _LINE_EVERY > printed:
            printed = rows // _LINE_EVERY
            click.echo(f"{rows:,} rows", err=True)

    return advance
