"""Runs the `bridge` command in a process that kills itself (SIGKILL) at a commit: right before it, or right after.

`SOAK_POINT` names a file. While that says "before 3 any" or "after 1 hand_send", commits are counted from the moment
it says so: of any kind, or only those of transactions with a statement of that name (`bridge/store/queries.sql`). At
the one that is meant the process writes a line into FILE.deaths, and is gone.

The bridge knows nothing of this: its store is wrapped here, from outside, and nothing that an operator can set or start
leads to this module. A commit is what changed something: on SQLite by `total_changes`, on PostgreSQL by its having a
transaction id.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from bridge.store.queries import QUERIES
from bridge.store.sqlite.engine import SqliteTx, Writer

__all__ = ["VARIABLE", "deaths_file", "main"]

VARIABLE = "SOAK_POINT"
_METHODS = (
    "all",
    "one",
    "any_of",
    "run",
    "run_many",
)  # of a transaction: those that take a statement by its name
_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_WRITES = frozenset(
    name for name, text in QUERIES.items() if not _COMMENT.sub("", text).lstrip().startswith("SELECT")
)


def deaths_file(point: Path) -> Path:
    """Where the process says at which commit it died: a line for each death."""
    return point.with_name(point.name + ".deaths")


class Watch:
    """Counts commits while a point is named."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._text = ""
        self._seen = 0

    def meets(self, names: Iterable[str]) -> tuple[bool, bool]:
        """Whether to die before, and whether to die after, the commit that comes now."""
        text = ""
        with suppress(FileNotFoundError):
            text = self._file.read_text()
        if text != self._text:
            self._text, self._seen = text, 0
        if not text:
            return False, False
        when, number, kind = text.split()
        if kind != "any" and kind not in names:
            return False, False
        self._seen += 1
        met = self._seen == int(number)
        return met and when == "before", met and when == "after"

    def die(self, names: Iterable[str]) -> None:
        with deaths_file(self._file).open("a") as file:
            file.write(f"{self._text}: {' '.join(sorted(names))}\n")
        os.kill(os.getpid(), signal.SIGKILL)


def _noting(method: Callable[..., Any], note: Callable[[Any, str], None]) -> Callable[..., Any]:
    """The method of a transaction, which also says what it is asked to write."""

    def noted(self: Any, query: str, *args: Any, **values: Any) -> Any:
        if query in _WRITES:
            note(self, query)
        return method(self, query, *args, **values)

    return noted


def wrap_sqlite(watch: Watch) -> None:
    """One connection writes, and its commits are those of `Writer._commit`, also those that change nothing."""
    names: defaultdict[int, set[str]] = defaultdict(set)  # by connection: what its transaction wrote
    changes: dict[int, int] = {}

    def note(tx: Any, query: str) -> None:
        names[id(tx._connection)].add(query)  # noqa: SLF001 - wrapped from outside

    for method in _METHODS:
        if hasattr(SqliteTx, method):
            setattr(SqliteTx, method, _noting(getattr(SqliteTx, method), note))
    commit = Writer._commit  # noqa: SLF001

    def dying(self: Writer) -> Exception | None:
        connection = self._connection
        key, total = id(connection), connection.total_changes
        written = names.pop(key, set())
        before = after = False
        if changes.get(key, 0) != total:
            before, after = watch.meets(written)
        changes[key] = total
        if before:
            watch.die(written)
        error = commit(self)
        if after and error is None:
            watch.die(written)
        return error

    Writer._commit = dying  # type: ignore[method-assign]  # noqa: SLF001


def wrap_postgres(watch: Watch) -> None:
    """Every job of `Runner` is a transaction of its own, which asyncpg commits."""
    from asyncpg.transaction import Transaction

    from bridge.store.postgres.engine import PostgresTx, Runner

    names: ContextVar[set[str] | None] = ContextVar("names", default=None)

    def note(_: Any, query: str) -> None:
        written = names.get()
        if written is not None:
            written.add(query)

    for method in _METHODS:
        setattr(PostgresTx, method, _noting(getattr(PostgresTx, method), note))
    run, commit = Runner._in_transaction, Transaction.commit  # noqa: SLF001

    async def in_transaction(self: Runner, connection: Any, tx: PostgresTx, job: Any) -> Any:
        token = names.set(set())
        try:
            return await run(self, connection, tx, job)
        finally:
            names.reset(token)

    async def dying(self: Any) -> None:
        written, before, after = names.get(), False, False
        if written is not None and await self._connection.fetchval(
            "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"
        ):
            before, after = watch.meets(written)
        if before:
            watch.die(written or ())
        await commit(self)
        if after:
            watch.die(written or ())

    Runner._in_transaction = in_transaction  # type: ignore[method-assign]  # noqa: SLF001
    Transaction.commit = dying  # type: ignore[method-assign]


def main() -> None:
    os.setpgrp()  # Ctrl-C is for the program that kills, not for those that are killed
    watch = Watch(Path(os.environ[VARIABLE]))
    wrap_sqlite(watch)
    with suppress(ImportError):
        wrap_postgres(watch)
    from bridge.cli import main as bridge

    sys.argv[0] = "bridge"
    bridge()


if __name__ == "__main__":
    main()
