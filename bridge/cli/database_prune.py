"""`bridge db prune`: deletes what is older than the settings keep it, or counts it; a service does so by itself."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import rich_click as click
from msgspec import Struct

from bridge.assembly import open_database
from bridge.cli.access import find_owner, open_for_reading
from bridge.cli.options import now
from bridge.flows.pruning import Pruned, Pruning, Retention
from bridge.settings import Settings
from bridge.store.pruning import Prunable
from bridge.store.tx import Store

__all__ = ["PruneResult", "prune_database"]

_LINE_EVERY = 50_000  # rows, where there is no terminal
Tell = Callable[[Pruned], None]


class PruneResult(Struct, frozen=True):
    """Rows by kind that were pruned or, in a dry run, would be. `by_service`: the pid of the service that owns the file
    and prunes it by itself; then nothing was done here."""

    dry_run: bool
    by_service: str | None
    rows: dict[str, int]


async def prune_database(settings: Settings, *, dry_run: bool) -> PruneResult:
    """Prunes everything that is old, in small transactions. Raises BridgeError; what went before stays deleted."""
    owner = find_owner(settings)
    if not dry_run and owner is not None and "url" in owner:
        return PruneResult(False, owner.get("pid", "unknown"), {})
    async with _open(settings, dry_run=dry_run) as store:
        if dry_run or not sys.stderr.isatty():
            with _lines(dry_run=dry_run) as tell:
                counts = await _run(store, settings, tell, dry_run=dry_run)
        else:
            expected = await _run(store, settings, _say_nothing, dry_run=True)
            with _bar(sum(expected.values())) as tell:
                counts = await _run(store, settings, tell, dry_run=False)
    return PruneResult(dry_run, None, {kind.value: counts[kind] for kind in Prunable if counts[kind]})


@asynccontextmanager
async def _open(settings: Settings, *, dry_run: bool) -> AsyncIterator[Store]:
    if dry_run:
        async with open_for_reading(settings) as store:
            yield store
        return
    store = await open_database(settings, worker=False)
    try:
        yield store
    finally:
        await store.close()


async def _run(store: Store, settings: Settings, tell: Tell, *, dry_run: bool) -> Counter[Prunable]:
    database, began = settings.database, now()
    retention = Retention(database.retention_days, database.raw_retention_days)
    pruning = Pruning(store, retention, dry_run=dry_run)
    counts: Counter[Prunable] = Counter()
    while (pruned := await pruning.step(began)) is not None:
        counts[pruned.kind] += pruned.count
        tell(pruned)
    return counts


def _say_nothing(_: Pruned) -> None:
    """Counting before the bar is shown."""


@contextmanager
def _lines(*, dry_run: bool) -> Iterator[Tell]:
    """A line now and then on standard error."""
    told: Counter[Prunable] = Counter()

    def tell(pruned: Pruned) -> None:
        before = told[pruned.kind] // _LINE_EVERY
        told[pruned.kind] += pruned.count
        if told[pruned.kind] // _LINE_EVERY > before:
            word = "found" if dry_run else "pruned"
            click.echo(f"{pruned.kind.value}: {told[pruned.kind]:,} {word}", err=True)

    yield tell


@contextmanager
def _bar(total: int) -> Iterator[Tell]:
    """A bar on the terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total or None)
        yield lambda pruned: progress.update(
            task, description=pruned.kind.value.replace("_", " "), advance=pruned.count
        )
