"""The bridge under kill -9, and beside peers that come and go. README.md says what happens, and what is counted.

Everything is on loopback and in a folder that is gone afterwards; only processes that were started here are ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bench.soak.scene import SURFACES
from bench.soak.traffic import Outcome, Plan, soak
from bench.soak.walk import Walked, every_commit, walk
from bridge.bench.databases import open_databases
from bridge.errors import BridgeError


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--messages", type=int, default=2000, help="how many Smartico sends (default: 2000)")
    add("--kills", type=int, default=10, help="how often an instance is killed with SIGKILL (default: 10)")
    add("--rate", type=float, default=150.0, help="messages a second, while it is up (default: 150)")
    add("--seed", type=int, default=1, help="what is drawn: moments, victims, faults (default: 1)")
    add(
        "--at-commits",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="of the kills: at a commit (default: 0.5)",
    )
    add(
        "--surfaces", default="sms,whatsapp", help=f"of {', '.join(SURFACES)}; or all (default: sms,whatsapp)"
    )
    add("--faults", action=argparse.BooleanOptionalAction, default=True, help="peers misbehave (default)")
    add("--flap", choices=["provider", "smartico"], default="", help="this peer is away again and again")
    add(
        "--away",
        type=float,
        default=4.0,
        metavar="SECONDS",
        help="how long, give or take a half (default: 4)",
    )
    add("--unknown-send", choices=["review", "resend", "fail"], default="review", help="the bridge's setting")
    add(
        "--walk",
        action="store_true",
        help="instead of traffic: one message for each commit of a life, dying there",
    )
    add("--again", action="store_true", help="with --walk: the start after each death dies, too")
    add(
        "--database",
        default="",
        metavar="URL",
        help="a PostgreSQL server; a database of the run's own is made there",
    )
    add(
        "--postgres", action="store_true", help="start the PostgreSQL that the developers' environment brings"
    )
    add("--instances", type=int, default=0, help="on PostgreSQL (default: 2)")
    add("--seconds", type=float, default=3600.0, help="after so long the traffic ends, and is judged")
    add("--keep", action="store_true", help="keep the folder with database and logs, and say where it is")
    add("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    options.surfaces = SURFACES if options.surfaces == "all" else tuple(options.surfaces.split(","))
    if not set(options.surfaces) <= set(SURFACES):
        parser.error(f"--surfaces: of {', '.join(SURFACES)}")
    on_postgres = options.postgres or options.database
    if options.instances > 1 and not on_postgres:
        parser.error("--instances: one process owns a SQLite file")
    options.instances = options.instances or (2 if on_postgres else 1)
    return options


def main() -> None:
    options = read_options()
    try:
        outcome = asyncio.run(_run(options))
    except BridgeError as error:
        sys.exit(f"soak: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if options.json:
        print(json.dumps({**msgspec.to_builtins(outcome), "ok": outcome.ok}, indent=2))
    else:
        print("\n".join(outcome_lines(outcome)))
    sys.exit(0 if outcome.ok else 1)


async def _run(options: argparse.Namespace) -> Outcome | Walked:
    folder = Path(tempfile.mkdtemp(prefix="bridge-soak-"))
    try:
        async with _database(options) as database:
            if options.walk:
                return await walk(folder, database, every_commit(), _say, again=options.again)
            return await soak(_plan(options), folder, database, _say, _until_interrupted())
    finally:
        if options.keep:
            print(f"soak: database and logs are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _until_interrupted() -> asyncio.Event:
    """Set by Ctrl-C: the traffic ends, and is judged. A second one ends the program."""
    enough, loop = asyncio.Event(), asyncio.get_running_loop()

    def interrupted() -> None:
        enough.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupted)
    return enough


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        messages=options.messages,
        kills=options.kills,
        rate=options.rate,
        seed=options.seed,
        surfaces=options.surfaces,
        instances=options.instances,
        faults=options.faults,
        at_commits=options.at_commits,
        flap=options.flap,
        away_seconds=options.away,
        unknown_send=options.unknown_send,
        seconds=options.seconds,
    )


@asynccontextmanager
async def _database(options: argparse.Namespace) -> AsyncIterator[str]:
    """The URL of an empty database, which is gone afterwards."""
    if options.postgres:
        from tests.postgres import running_postgres

        with running_postgres() as server:
            yield await server.create()
    elif options.database:
        async with open_databases(options.database, _complain) as databases:
            yield await databases.empty()
    else:
        yield "sqlite:///bridge.db"


def _complain(text: str) -> None:
    print(f"soak: {text}", file=sys.stderr)


_last_said = 0.0


def _say(text: str) -> None:
    """A line that is written over on a terminal; elsewhere one now and then."""
    global _last_said  # noqa: PLW0603 - of the program, as its terminal is
    if sys.stderr.isatty():
        print(f"\r{text:<110}", end="", file=sys.stderr, flush=True)
    elif time.monotonic() - _last_said > 15:
        _last_said = time.monotonic()
        print(text, file=sys.stderr, flush=True)


def outcome_lines(outcome: Outcome | Walked) -> Iterator[str]:
    """What people read in the end."""
    verdict = outcome.verdict
    yield ""
    if isinstance(outcome, Walked):
        yield f"{outcome.engine}, {len(outcome.deaths)} deaths in {outcome.seconds:,.0f} s"
        for death in outcome.deaths:
            decided = ", left to a person" if death.decided else ""
            yield f"  {death.point:14} {death.wrote}  ->  {' '.join(death.statuses)}{decided}"
    else:
        yield f"{outcome.engine}, {_number(outcome.instances, 'instance')}, {outcome.seconds:,.0f} s"
        yield f"  kills               {outcome.kills:>9,}  of them at a commit: {outcome.kills_at_commits:,}"
        for name, count in sorted(outcome.commits.items(), key=lambda each: each[0].partition(" ")[2]):
            yield f"    {name:32} {count:,}"
        if outcome.cuts:
            yield f"  peer cut off        {outcome.cuts:>9,}"
    yield f"  messages accepted   {verdict['accepted']:>9,}  for {verdict['sends_posted']:,} requests of Smartico"
    yield f"  refused, given up   {verdict['refused']:>9,}  {verdict['given_up']:,}"
    yield f"  taken by providers  {verdict['at_provider']:>9,}"
    yield f"  callbacks           {verdict['callbacks']:>9,}  and {verdict['callbacks_again']:,} again"
    yield f"  reports arrived     {verdict['reports']:>9,}"
    yield f"  left to a person    {outcome.decided:>9,}  perhaps sent, without trace; then sent again"
    yield f"  in flight           {verdict['in_flight']:>9,}  reports that Smartico had, and the database had not"
    yield f"  repeated            {verdict['repeated']:>9,}  of those"
    yield "  --- promised to be 0 ---"
    yield f"  lost                {verdict['lost']:>9,}"
    yield f"  sent twice          {verdict['sent_twice']:>9,}"
    yield f"  out of order        {verdict['out_of_order']:>9,}"
    yield f"  repeated, unexcused {verdict['unexcused']:>9,}"
    yield f"  never to be         {verdict['unexpected'] + verdict['strangers']:>9,}  statuses or messages"
    yield f"  protocol errors     {verdict['protocol_errors']:>9,}"
    if isinstance(outcome, Outcome) and not (outcome.drained and not outcome.dead_reports):
        yield f"  not all was told in time ({outcome.dead_reports:,} reports are dead)"
    yield from (f"    {example}" for example in verdict["examples"])
    yield "All promises were kept." if outcome.ok else "Not all promises were kept."


def _number(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


if __name__ == "__main__":
    main()
