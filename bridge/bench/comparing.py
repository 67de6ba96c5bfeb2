"""`bridge bench --database`: the same scenarios on SQLite and on PostgreSQL, in turn. Needs asyncpg, an extra."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.bench.databases import open_databases
from bridge.bench.lab import Lab
from bridge.bench.machine import machine, version_of, versions
from bridge.bench.prepared import Prepared
from bridge.bench.processes import require_proc
from bridge.bench.result import Comparison, figures_of
from bridge.bench.run import EVERY, Options, Session, measure
from bridge.bench.subjects import BridgeSubject, PostgresSubject
from bridge.bench.workbench import open_workbench

__all__ = ["run_comparison"]


async def run_comparison(
    options: Options, url: str, instances: int, say: Callable[[str], None]
) -> Comparison:
    """`url`: a server on which databases may be made; `instances`: processes that share one of them."""
    require_proc()
    async with open_databases(url, say) as databases, open_workbench(say) as bench:
        reference = await asyncio.to_thread(machine, bench.folder)
        prepared = Prepared(bench)
        sessions = [
            Session(Lab(bench, prepared, subject, options.messages), options.runs)
            for subject in (BridgeSubject(), PostgresSubject(databases, instances))
        ]
        await measure(sessions, options)
    sqlite, postgres = (figures_of(each.found, EVERY, each.problems) for each in sessions)
    return Comparison(
        versions=versions() | {"asyncpg": version_of("asyncpg"), "postgresql": databases.version},
        machine=reference,
        server=databases.settings,
        messages=options.messages,
        instances=instances,
        sqlite=sqlite,
        postgres=postgres,
        lost=sqlite.lost + postgres.lost,
        duplicated=sqlite.duplicated + postgres.duplicated,
        problems=[
            *(f"SQLite: {each}" for each in sqlite.problems),
            *(f"PostgreSQL: {each}" for each in postgres.problems),
        ],
    )
