"""What `bridge export` does: pages out of the database, rows into a file or a pipe, how far it is on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import rich_click as click

from bridge.cli.access import open_for_reading
from bridge.cli.options import now
from bridge.cli.output import clean
from bridge.core.model import Millis
from bridge.errors import BridgeError
from bridge.flows.export_formats import FORMATS, Format
from bridge.flows.exporting import COLUMNS, What, read_parts
from bridge.settings import Settings
from bridge.store.export import Span
from bridge.store.tx import Row

__all__ = ["export"]

_LINE_EVERY = 50_000  # rows, where there is no terminal
Advance = Callable[[int, "Millis | None"], None]


class Sink(Protocol):
    """Takes rows, and is closed when all of them are there."""

    def add(self, rows: Sequence[Row]) -> None: ...

    def close(self) -> None: ...


class LineSink:
    """Lines into a file or a pipe, the head first."""

    def __init__(self, file: BinaryIO, lines: Format) -> None:
        self._file = file
        self._lines = lines
        self._file.write(lines.head())

    def add(self, rows: Sequence[Row]) -> None:
        self._file.write(self._lines.lines(rows))

    def close(self) -> None:
        self._file.flush()


async def export(
    settings: Settings,
    what: str,
    kind: str,
    since: Millis | None,
    until: Millis | None,
    output: Path | None,
    *,
    force: bool,
) -> None:
    """Writes everything of one kind. Raises BridgeError; then there is no FILE, or the one that was there before."""
    chosen, span = What(what), Span(since, until)
    make = _maker(chosen, kind)
    with _writing(output, force=force) as file, _progress(since, until) as advance:
        sink = make(file)
        count = await _copy(settings, chosen, span, sink, advance)
        sink.close()
    if output is not None:
        click.echo(f"{count:,} rows written to {clean(output)}.", err=True)


async def _copy(settings: Settings, what: What, span: Span, sink: Sink, advance: Advance) -> int:
    count = 0
    async with open_for_reading(settings) as store:
        async for part in read_parts(store, what, span):
            sink.add(part.rows)
            count += len(part.rows)
            advance(count, part.at)
    return count


def _maker(what: What, kind: str) -> Callable[[BinaryIO], Sink]:
    columns = COLUMNS[what]
    if kind == "parquet":
        from bridge.cli.export_parquet import ParquetSink, require_pyarrow

        require_pyarrow()
        return lambda file: ParquetSink(file, columns)
    return lambda file: LineSink(file, FORMATS[kind](columns))


# --- where it goes ---


@contextmanager
def _writing(output: Path | None, *, force: bool) -> Iterator[BinaryIO]:
    """Standard output, or FILE.part, which becomes FILE at the end, when all of it is on disk."""
    try:
        if output is None:
            sys.stdout.flush()
            yield sys.stdout.buffer
            return
        _refuse(output, force=force)
        part = output.with_name(f"{output.name}.part")
        with _open_new(part) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _refuse(output, force=force)
                part.replace(output)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except BrokenPipeError:
        raise
    except OSError as error:
        where = "standard output" if output is None else clean(output)
        raise BridgeError(f"{where} cannot be written: {error.strerror or type(error).__name__}.") from error


def _open_new(path: Path) -> BinaryIO:
    """A new file that only its owner may read, as the database; what a killed export left there goes."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _refuse(output: Path, *, force: bool) -> None:
    if output.exists() and not output.is_file():
        raise BridgeError(f"{clean(output)} is no file: name a file.")
    if output.exists() and not force:
        raise BridgeError(f"{clean(output)} exists already: name a new file, or replace it with --force.")


# --- how far it is ---


@contextmanager
def _progress(since: Millis | None, until: Millis | None) -> Iterator[Advance]:
    """Rows so far: a bar over the time of the messages on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _print_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[rows]:,} rows"), BarColumn(), TimeRemainingColumn())
    first, end = since, min(now(), until) if until is not None else now()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, rows=0)

        def advance(rows: int, at: Millis | None) -> None:
            nonlocal first
            if at is None:
                return
            first = at if first is None else first
            progress.update(task, rows=rows, completed=at - first, total=max(end - first, 1))

        yield advance


def _print_lines() -> Advance:
    printed = 0

    def advance(rows: int, _: Millis | None) -> None:
        nonlocal printed
        if rows // _LINE_EVERY > printed:
            printed = rows // _LINE_EVERY
            click.echo(f"{rows:,} rows", err=True)

    return advance
