"""Smartico is away for a day while status reports become owed, and comes back. README.md says what is measured.

The reports are written straight into the tables; lanes, breaker, retries and storing are the bridge's own. Time is
simulated: it stands still while something is being done, and leaps to the next moment at which something is due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import selectors
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import structlog

from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request
from bridge.core.model import id_from_text, new_id
from bridge.flows import reporting
from bridge.flows.rules import ReportRules
from bridge.metrics import Metrics
from bridge.secret import Secret
from bridge.store.sqlite import open_store
from bridge.store.tx import Job, Store
from bridge.worker.leases import Held
from bridge.worker.reports import ReportPumps, ReportTarget

T = TypeVar("T")
AWAY, UP = "api.smartico.example", "other.example"
UP_OF = 100  # one message of so many goes to the host that stays up
STATUSES = ("accepted", "delivered")
SETTLE_MS = 1_000
BEFORE = 60  # seconds until the outage begins
UPKEEP = 600  # seconds between looks for what is too old, and at the memory
SCHEDULE = [5, 15, 60, 300, 900, 3600, 7200, 14400, 28800, 43200]
NOT_FOUND = [1, 2, 5, 15, 60, 300, 1800]
MAX_AGE_MS = 72 * 3_600_000
CHUNK = 20_000
COLUMNS = {
    "messages": (
        "id", "gateway", "type", "channel", "provider", "smartico_uid", "ext_user_id", "sender", "callback_url",
        "lane", "state", "owed", "created_at", "updated_at",
    ),
    "reports": ("message_id", "status", "seq", "lane", "state", "owed_at", "due_at"),
}  # fmt: skip


class SimulatedTime(asyncio.SelectorEventLoop):
    """An event loop that leaps over the time in which nothing would happen. `busy`: work that takes real time."""

    now: float
    busy: int

    def __init__(self) -> None:
        super().__init__(_Leaping(self))
        self.now = 0.0
        self.busy = 0

    def time(self) -> float:
        return self.now


class _Leaping(selectors.DefaultSelector):
    def __init__(self, loop: SimulatedTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if self._loop.busy or timeout is None or timeout <= 0:
            return super().select(1.0 if self._loop.busy and timeout != 0 else timeout)
        found = super().select(0)
        if not found:
            self._loop.now += timeout
        return found


class CountedStore:
    """The database; while it is at work, simulated time stands still."""

    def __init__(self, store: Store, loop: SimulatedTime) -> None:
        self.vault = store.vault
        self.lease_seconds = store.lease_seconds
        self._store = store
        self._loop = loop

    async def write(self, job: Job[T]) -> T:
        self._loop.busy += 1
        try:
            return await self._store.write(job)
        finally:
            self._loop.busy -= 1

    async def search(self, job: Job[T]) -> T:
        self._loop.busy += 1
        try:
            return await self._store.search(job)
        finally:
            self._loop.busy -= 1

    async def read(self, job: Job[T]) -> T:
        return await self._store.read(job)

    async def claim(self, job: Job[T]) -> T:
        return await self._store.claim(job)


class Smartico:
    """A transport that knows what must come: of each message its statuses in order, each once."""

    def __init__(self, messages: int, loop: SimulatedTime, options: argparse.Namespace) -> None:
        self._loop = loop
        self._latency = options.latency_ms / 1000
        self.until: float = BEFORE + options.hours * 3600
        self._next = bytearray(messages)
        self.done = 0
        self.out_of_order = 0
        self.repeated = 0
        self.failed = 0
        self.probes: list[float] = []  # when requests came during the outage
        self.under_way = 0
        self.most = 0
        self.most_down = 0  # under way at once, once the breaker has had two minutes to open
        self.seconds: Counter[int] = (
            Counter()
        )  # requests to the host that was away, by second since it is back
        self.latest_up = 0.0  # how late a report came to the host that stays up

    @property
    def is_down(self) -> bool:
        return BEFORE <= self._loop.now < self.until

    async def exchange(self, request: Request) -> Outcome:
        parts = urlsplit(request.url)
        query = dict(parse_qsl(parts.query))
        message_id = id_from_text(query["ext_message_id"])
        assert message_id is not None
        if parts.hostname == AWAY:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            try:
                if self.is_down:
                    return await self._fail()
                self.seconds[int(self._loop.now - self.until)] += 1
                await asyncio.sleep(self._latency)
            finally:
                self.under_way -= 1
        self._note(int.from_bytes(message_id[8:], "big") & 0xFFFF_FFFF, STATUSES.index(query["status"]))
        return Reply(200, b'{"error_code": 0}')

    async def _fail(self) -> Outcome:
        """Refused connections, 503 and time-outs take turns."""
        self.failed += 1
        self.probes.append(self._loop.now)
        if self._loop.now > BEFORE + 120:
            self.most_down = max(self.most_down, self.under_way)
        kind = self.failed % 3
        if kind == 0:
            await asyncio.sleep(10)
            return NoReply("no answer in time")
        return NoConnection("no connection could be made") if kind == 1 else Reply(503)

    def _note(self, number: int, seq: int) -> None:
        expected = self._next[number]
        if seq < expected:
            self.repeated += 1
        elif seq > expected:
            self.out_of_order += 1
        else:
            self._next[number] = seq + 1
        self.done += 1

    async def close(self) -> None:
        """There is nothing to let go of."""


@dataclass(frozen=True)
class Result:
    """What came of it. Seconds are simulated, but for those that are called real."""

    reports: int
    outage_hours: float
    attempts_in_outage: int
    longest_gap_seconds: float
    under_way_at_once: int
    under_way_at_once_while_down: int
    uses_of_retries: dict[str, int]  # reports by failed attempts that counted, at the end of the outage
    other_host_waited_for: (
        int  # reports to the host that stays up that were not done at the end of the outage
    )
    first_seconds: list[int]  # requests in the first seconds after the return
    most_in_a_second: int
    drained_in_seconds: float
    drained_in_real_seconds: float
    reports_per_real_second: int
    out_of_order: int
    repeated: int
    dead: int
    not_done: int
    rss_mb_before: int
    rss_mb_outage: int
    rss_mb_drain: int
    count_seconds_real: float
    aged_seconds_real: float


# --- what is owed ---


def rows_of(messages: int, start_ms: int, length_ms: int, sealed: bytes) -> Iterator[dict[str, list[Any]]]:
    """As callbacks leave them: both statuses owed, the first one due. They are spread evenly over the time."""
    for first in range(0, messages, CHUNK):
        rows: dict[str, list[Any]] = {table: [] for table in COLUMNS}
        for number in range(first, min(messages, first + CHUNK)):
            at = start_ms + number * length_ms // messages
            message_id = new_id(at - 60_000, number)
            gateway = "sms" if number % 2 else "email"
            lane = f"{gateway}@{UP if number % UP_OF == 0 else AWAY}"
            rows["messages"].append((
                message_id, gateway, gateway, "SMS", "revicom", f"uid-{number}", f"player-{number // 5}", "Brand",
                sealed.replace(AWAY.encode(), UP.encode()) if lane.endswith(UP) else sealed, lane, "delivered",
                " ".join(STATUSES), at - 60_000, at,
            ))  # fmt: skip
            for seq, status in enumerate(STATUSES):
                due_at = None if seq else at + SETTLE_MS
                rows["reports"].append((message_id, status, seq, lane, "pending", at, due_at))
        yield rows


def seed(path: Path, messages: int, start_ms: int, length_ms: int) -> None:
    store = open_store(path, "")
    sealed = store.vault.seal_text(f"https://{AWAY}/callback?brand=7")
    asyncio.run(store.close())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("synchronous = OFF", "cache_size = -1000000", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        for rows in rows_of(messages, start_ms, length_ms, sealed):
            for table, columns in COLUMNS.items():
                marks = ", ".join("?" * len(columns))
                sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of ours
                connection.executemany(sql, rows[table])
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# --- what becomes of it ---


class Outage:
    """One run."""

    def __init__(
        self, path: Path, loop: SimulatedTime, options: argparse.Namespace, say: Callable[[str], None]
    ):
        self.path = path
        self.loop = loop
        self.say = say
        self.options = options
        self.messages = options.reports // len(STATUSES)
        self.start_ms: int = options.start_ms
        self.smartico = Smartico(self.messages, loop, options)
        self.store = CountedStore(open_store(path, ""), loop)
        self.rules = ReportRules(SCHEDULE, NOT_FOUND, MAX_AGE_MS)
        self.pumps = ReportPumps(
            self.store,  # type: ignore[arg-type]
            self.rules,
            ReportTarget(
                api_key=lambda _: Secret("key"),
                callback_hosts=["*.smartico.example", UP],
                allow_insecure_callbacks=False,
                timeout_seconds=10,
                max_in_flight=options.in_flight,
                max_per_second=options.per_second,
            ),
            self.smartico,
            self.clock,
            Metrics(),
            Held(None, loop.time),
        )
        self.rss: dict[str, int] = {}
        self.buried = 0
        self.aged_seconds = 0.0

    def clock(self) -> int:
        return self.start_ms + round(self.loop.now * 1000)

    async def run(self) -> Result:
        total = self.messages * len(STATUSES)
        self.rss["before"] = rss_mb()
        count_seconds = await self._timed_count()
        await self.pumps.start()
        upkeep = asyncio.create_task(self._upkeep())
        await asyncio.sleep(self.smartico.until)
        at_return = self.smartico.done
        used = dict(
            self._select("SELECT retries, count(*) FROM reports WHERE state = 'pending' GROUP BY retries")
        )
        ((waited_for,),) = self._select(
            f"SELECT count(*) FROM reports WHERE state = 'pending' AND owed_at < {self.clock() - 5_000} "  # noqa: S608
            f"AND lane IN ('sms@{UP}', 'email@{UP}')"
        )
        began, began_at = time.perf_counter(), self.loop.now
        self.say(f"Smartico is back: {total - at_return:,} reports wait")
        while self.smartico.done < total + self.smartico.repeated:
            await asyncio.sleep(0.25)
            self.say(f"{self.smartico.done:,} of {total:,}")
        took, took_real = self.loop.now - began_at, time.perf_counter() - began
        upkeep.cancel()
        await self.pumps.stop()
        await self.pumps.drain()
        states = dict(self._select("SELECT state, count(*) FROM reports GROUP BY state"))
        await self.store._store.close()  # noqa: SLF001
        probes = self.smartico.probes
        return Result(
            reports=total,
            outage_hours=self.options.hours,
            attempts_in_outage=self.smartico.failed,
            longest_gap_seconds=round(max((b - a for a, b in pairwise(probes)), default=0), 1),
            under_way_at_once=self.smartico.most,
            under_way_at_once_while_down=self.smartico.most_down,
            uses_of_retries={str(retries): count for retries, count in used.items()},
            other_host_waited_for=waited_for,
            first_seconds=[self.smartico.seconds[second] for second in range(15)],
            most_in_a_second=max(self.smartico.seconds.values()),
            drained_in_seconds=round(took, 1),
            drained_in_real_seconds=round(took_real, 1),
            reports_per_real_second=round((total - at_return) / took_real),
            out_of_order=self.smartico.out_of_order,
            repeated=self.smartico.repeated,
            dead=states.get("dead", 0),
            not_done=total - states.get("done", 0),
            rss_mb_before=self.rss["before"],
            rss_mb_outage=self.rss["outage"],
            rss_mb_drain=self.rss["drain"],
            count_seconds_real=round(count_seconds, 2),
            aged_seconds_real=round(self.aged_seconds, 2),
        )

    async def _upkeep(self) -> None:
        """Buries what is too old, as the service does, and looks at the memory."""
        self.rss |= {"outage": 0, "drain": 0}
        looked_at = -float(UPKEEP)
        while True:
            phase = "outage" if self.smartico.is_down else "drain"
            self.rss[phase] = max(self.rss[phase], rss_mb())
            if self.loop.now - looked_at >= UPKEEP:
                looked_at = self.loop.now
                began = time.perf_counter()
                self.buried += len(await reporting.bury_aged(self.store, self.rules, self.clock()))  # type: ignore[arg-type]
                self.aged_seconds = max(self.aged_seconds, time.perf_counter() - began)
                self.say(f"hour {self.loop.now / 3600:.1f}: {self.smartico.failed:,} attempts failed")
            await asyncio.sleep(10)

    async def _timed_count(self) -> float:
        """How long the service would count what is owed, as it does all the time."""
        began = time.perf_counter()
        await self.store.search(lambda tx: tx.all("count_pending_reports", later=self.clock()))
        return time.perf_counter() - began

    def _select(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()


def rss_mb() -> int:
    """The memory of this process, without what the pages of the database take in the system's cache."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 // 1_000_000


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=4_000_000, help="how many become owed (4,000,000)")
    parser.add_argument("--hours", type=float, default=24, help="how long Smartico is away (24)")
    parser.add_argument("--in-flight", type=int, default=64, help="smartico.max_in_flight (64)")
    parser.add_argument("--per-second", type=float, default=0, help="smartico.max_per_second (0: no limit)")
    parser.add_argument(
        "--latency-ms", type=float, default=20, help="how long Smartico takes once it is back (20)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.reports < 1000:
        parser.error("--reports: at least 1,000")
    options.start_ms = time.time_ns() // 1_000_000
    return options


def main() -> None:
    options = read_options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{text} ", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="bridge-outage-") as folder:
        path = Path(folder) / "bridge.db"
        say("what is owed is being written")
        length_ms = round((BEFORE + options.hours * 3600) * 1000)
        seeding = multiprocessing.Process(  # in a process of its own, so that its memory is not counted
            target=seed, args=(path, options.reports // len(STATUSES), options.start_ms, length_ms)
        )
        seeding.start()
        seeding.join()
        if seeding.exitcode:
            raise SystemExit("what is owed could not be written")
        loop = SimulatedTime()
        try:
            result = loop.run_until_complete(Outage(path, loop, options, say).run())
        finally:
            loop.close()
    if options.json:
        print(json.dumps(asdict(result), indent=2))
    else:
        for name, value in asdict(result).items():
            shown = f"{value:,}" if isinstance(value, int | float) else value
            print(f"{name.replace('_', ' '):36} {shown}")


if __name__ == "__main__":
    main()
