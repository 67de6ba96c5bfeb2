"""`bridge bench`: how fast the bridge is on this machine, measured from outside."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.options import json_option
from bridge.cli.output import print_json, print_table

if TYPE_CHECKING:
    from bridge.bench.result import Result
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
@json_option
@click.option(
    "--config", expose_value=False, metavar="FILE", help="Not used: the bench has settings of its own."
)
def bench_command(
    messages: int, only: tuple[str, ...], runs: int, compare: str | None, long_too: bool, as_json: bool
) -> None:
    """Measure the bridge on this machine: real processes, real HTTP, default settings, simulated peers.

    Exit code 0 only if nothing was lost or doubled.
    """
    from bridge.bench.run import Options

    options = Options(messages, only, runs, naive=compare == "naive", long=long_too)
    try:
        result = asyncio.run(_run(options))
    except asyncio.CancelledError:  # SIGTERM
        raise click.Abort from None
    _show(result, as_json=as_json)
    sys.exit(0 if result.ok else 1)


async def _run(options: Options) -> Result:
    from bridge.bench.run import run_bench

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run_bench(options, _say)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _show(result: Result, *, as_json: bool) -> None:
    from bridge.bench.table import COLUMNS, table

    if as_json:
        print_json(result)
    else:
        print_table([name.upper() for name in COLUMNS], table(result))
    for problem in result.problems:
        _say(problem)
    if result.lost or result.duplicated:
        _say(f"{result.lost:,} lost, {result.duplicated:,} doubled.")
