"""`bridge export`: everything of one kind as a file, or into a pipe."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.options import config_option, now, read_settings

if TYPE_CHECKING:
    from bridge.core.model import Millis

__all__ = ["export_command"]

_WHEN = "RFC 3339, a date, or an age like 2h"


@click.command(
    "export",
    epilog="Example: bridge export messages --format csv --since 2026-11-01 --until 2026-12-01 --output november.csv",
)
@click.argument("what", type=click.Choice(["messages", "reports", "callbacks", "costs"]))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    default="csv",
    help="How it is written (default: csv). parquet needs --output, and bridge[parquet] installed.",
)
@click.option(
    "--since",
    default="",
    metavar="T",
    help=f"What belongs to messages that were accepted at T or later: {_WHEN}.",
)
@click.option(
    "--until",
    default="",
    metavar="T",
    help="What belongs to messages that were accepted before T.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Into this file, which is there once it is complete (default: standard output).",
)
@click.option("--force", is_flag=True, help="Replace FILE where there is one.")
@config_option
def export_command(
    what: str, kind: str, since: str, until: str, output: Path | None, force: bool, config: Path
) -> None:
    """Write out all messages, status reports, callbacks or costs, oldest message first.

    Phone numbers and e-mail addresses are masked; texts are left out. A running service is not disturbed. costs: one
    line for each day (UTC), gateway, sender and currency.
    """
    first, end = _moment("--since", since), _moment("--until", until)
    if first is not None and end is not None and first >= end:
        raise click.UsageError("--until has to be later than --since.")
    if kind == "parquet" and output is None:
        raise click.UsageError("--format parquet needs --output FILE.")
    settings = read_settings(config)
    from bridge.cli.export_run import export

    asyncio.run(export(settings, what, kind, first, end, output, force=force))


def _moment(option: str, text: str) -> Millis | None:
    """A time. Raises UsageError."""
    from bridge.core.moments import read_when

    at = read_when(text, now()) if text else None
    if text and at is None:
        raise click.UsageError(
            f"{option} is no time: write 2026-11-21T08:00:00Z, 2026-11-21, or an age like 2h."
        )
    return at
