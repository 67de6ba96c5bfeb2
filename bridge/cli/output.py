"""Printing: JSON for scripts, tables for people. In a pipe there is neither colour nor drawing, and one line a row.

What peers and people wrote is cleaned of control characters, so that it can neither break a table nor speak to the
terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import rich_click as click

__all__ = ["clean", "print_json", "print_page", "print_record", "print_table", "timeline_line"]

Row = Sequence[object]


def clean(value: object) -> str:
    """A value as one line of printable text; empty for None, the items of a list with commas between."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return text if text.isprintable() else "".join(each if each.isprintable() else "�" for each in text)


def print_json(value: object) -> None:
    """The value as JSON in UTF-8, whatever the terminal speaks."""
    import msgspec

    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.buffer.flush()


def print_page(items: Sequence[Any], cursor: str | None, columns: Sequence[str], *, as_json: bool) -> None:
    """Part of a list: as `/api` answers it, or these attributes of each item as a table.

    `cursor`: where the rest begins; None: this is all.
    """
    if as_json:
        print_json({"items": items, "next": cursor})
        return
    print_table(
        [name.upper() for name in columns], [[getattr(item, name) for name in columns] for item in items]
    )
    if cursor is not None:
        click.echo(f"These are the newest {len(items)}; --limit shows more.", err=True)


def print_table(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Columns on a terminal, tabs in a pipe; both with a heading."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_columns(columns, cleaned)
        return
    for row in (columns, *cleaned):
        print("\t".join(row))


def _print_columns(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def print_record(values: Mapping[str, object]) -> None:
    """One thing: a line for each value that it has."""
    width = max(map(len, values)) + 2
    for name, value in values.items():
        if value not in (None, "", []):
            print(f"{name + ':':<{width}}{clean(value)}")


def timeline_line(entry: Mapping[str, Any]) -> str:
    """One step of a timeline for people to read."""
    details = [
        f"{name}={clean(value)}"
        for name, value in entry.items()
        if value not in (None, "") and name not in _HEAD
    ]
    return "  ".join([entry["at"], f"{clean(entry['kind']):<13}", *details]).rstrip()


_HEAD = ("at", "kind")
