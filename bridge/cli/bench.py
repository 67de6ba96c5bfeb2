"""`bridge bench`: how fast the bridge is on this machine, measured from outside."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.options import json_option
from bridge.cli.output import print_json, print_table
from bridge.cli.postgres import asyncpg_needed

if TYPE_CHECKING:
    from bridge.bench.result import Comparison, Result
    from bridge.bench.run import Options

__all__ = ["bench_command"]

# Said here too, so that --help loads nothing slow; a test holds them together.
NAMES = ("sends", "callbacks", "reports", "end_to_end", "end_to_end_one", "latency")
LONG_NAMES = ("search", "growth", "memory", "backlog")
_MESSAGES = 20_000


@click.command("bench", epilog="Example: bridge bench --messages 300 --json")
@click.option(
    "--messages",
    type=click.IntRange(1, 10_000_000),
    default=_MESSAGES,
    metavar="N",
    help=f"Messages of each scenario (default: {_MESSAGES:,}).",
)
@click.option(
    "--only",
    type=click.Choice([*NAMES, *LONG_NAMES]),
    multiple=True,
    metavar="SCENARIO",
    help=f"Only this scenario; may be given several times: {', '.join([*NAMES, *LONG_NAMES])}.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100),
    default=1,
    metavar="N",
    help="Repeat; the median counts (default: 1).",
)
@click.option(
    "--compare", type=click.Choice(["naive"]), help="Also measure the naive program of the repository."
)
@click.option(
    "--long", "long_too", is_flag=True, help="Also what takes an hour: millions of messages, minutes of load."
)
@click.option(
    "--database",
    metavar="URL",
    help="Also measure PostgreSQL, and show both: postgresql://user@host/name. The run makes a database of its own "
    "on that server, and drops it. The password may be in PGPASSWORD or ~/.pgpass.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 64),
    metavar="N",
    help="With --database: so many bridge serve on PostgreSQL (default: 1).",
)
@json_option
@click.option(
    "--config", expose_value=False, metavar="FILE", help="Not used: the bench has settings of its own."
)
def bench_command(
    messages: int,
    only: tuple[str, ...],
    runs: int,
    compare: str | None,
    long_too: bool,
    database: str | None,
    instances: int | None,
    as_json: bool,
) -> None:
    """Measure the bridge on this machine: real processes, real HTTP, default settings, simulated peers.

    Exit code 0 only if nothing was lost or doubled.
    """
    from bridge.bench.run import Options

    options = Options(messages, only, runs, naive=compare == "naive", long=long_too)
    _check(database, compare, instances)
    try:
        result = asyncio.run(_run(options, database, instances or 1))
    except asyncio.CancelledError:  # SIGTERM
        raise click.Abort from None
    _show(result, as_json=as_json)
    sys.exit(0 if result.ok else 1)


def _check(database: str | None, compare: str | None, instances: int | None) -> None:
    """UsageError for options that do not go together; it does not show the address."""
    from bridge.settings.rules import DATABASE_URL

    if database is None:
        if instances is not None:
            raise click.UsageError("--instances needs --database: on SQLite there is one process.")
        return
    if compare:
        raise click.UsageError("--compare and --database are two measurements: name one of them.")
    if not database.startswith("postgresql:") or not DATABASE_URL.holds(database):
        raise click.BadParameter(
            "write it as database.url is written: postgresql://user:password@host:5432/name",
            param_hint="--database",
        )


async def _run(options: Options, database: str | None, instances: int) -> Result | Comparison:
    from bridge.bench.run import run_bench

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if database is None:
        return await run_bench(options, _say)
    with asyncpg_needed("--database"):
        from bridge.bench.comparing import run_comparison
    return await run_comparison(options, database, instances, _say)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _show(result: Result | Comparison, *, as_json: bool) -> None:
    from bridge.bench.result import Result
    from bridge.bench.table import COLUMNS, COMPARED, compared, table

    if as_json:
        print_json(result)
    elif isinstance(result, Result):
        print_table([name.upper() for name in COLUMNS], table(result))
    else:
        print_table([name.upper() for name in COMPARED], compared(result))
    for problem in result.problems:
        _say(problem)
    if result.lost or result.duplicated:
        _say(f"{result.lost:,} lost, {result.duplicated:,} doubled.")
