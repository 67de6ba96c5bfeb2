"""How quick searches, pages and statistics are among very many messages. README.md says what is measured, and how.

The messages are made up and written straight into the tables; what is timed goes through the bridge's own functions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from bridge.core.model import id_tag, id_text, new_id
from bridge.errors import BridgeError
from bridge.pii import Vault
from bridge.store.search import MessageFilter, MessageRow, find_messages
from bridge.store.sqlite import open_store
from bridge.store.stats import Dimension, read_rows, summarise
from bridge.store.tx import Job, Store, Tx

T = TypeVar("T")
DAYS = 30
DAY_MS = 86_400_000
CHUNK = 20_000
PAGE = 101  # a page of 100, and one to know whether there are more
RARE_GATEWAY = "rare"
GATEWAYS = (
    ("sms", "SMS", "revicom", "0.0421"),
    ("email", "EMAIL", "mail", ""),
    ("wa", "WHATSAPP", "revicom", "0.07"),
)
# state, share in a thousand, statuses owed; queued and unknown ones are made by number instead
STATES = (
    ("delivered", 700, "accepted delivered"),
    ("read", 120, "accepted delivered opened"),
    ("sent", 100, "accepted"),
    ("submitted", 50, ""),
    ("failed", 29, "accepted failed"),
    ("rejected", 1, "rejected"),
)
UNKNOWN_OF = 20_000  # one message of so many is perhaps sent
QUEUED = 1_000  # the newest messages
COLUMNS = {
    "messages": (
        "id", "gateway", "type", "channel", "provider", "smartico_uid", "ext_user_id", "sender", "address_hash",
        "address_masked", "callback_url", "lane", "state", "owed", "provider_message_id", "parts", "price", "currency",
        "created_at", "submitted_at", "delivered_at", "updated_at",
    ),
    "provider_messages": (
        "provider", "provider_message_id", "message_id", "parts", "price", "currency", "price_at",
    ),
    "reports": ("message_id", "status", "seq", "lane", "state", "owed_at", "attempts", "finished_at", "latency_ms"),
    "sends": ("message_id", "provider", "gateway", "phase", "destination", "due_at", "expires_at"),
    "negative_ends": ("state", "message_id", "gateway"),
}  # fmt: skip
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Result:
    """How long one kind of question took, in milliseconds."""

    kind: str
    times: int
    rows: int
    p50_ms: float
    p99_ms: float


def _mixed(number: int, size: int) -> int:
    """So many bytes that follow from the number, in no order."""
    return int.from_bytes(blake2b(number.to_bytes(8, "big"), digest_size=size).digest(), "big")


class Crowd:
    """Made-up messages, the same for the same count; the newest was accepted now."""

    def __init__(self, count: int, now: int, vault: Vault) -> None:
        self.count = count
        self.now = now
        self._vault = vault
        self._people = max(1, count // 5)
        self._hashes: dict[int, bytes] = {}
        weights = [share for _, share, _ in STATES]
        self._states = random.Random(1).choices(STATES, weights, k=10_007)
        self._delays = [round(random.Random(n).lognormvariate(8, 1.5)) for n in range(5_003)]

    def at(self, number: int) -> int:
        return self.now - (self.count - 1 - number) * DAYS * DAY_MS // self.count

    def message_id(self, number: int) -> bytes:
        return new_id(self.at(number), _mixed(number, 9))

    def provider_id(self, number: int) -> str:
        return id_text(_mixed(number, 16).to_bytes(16, "big"))

    def uid(self, number: int) -> str:
        return f"uid-{_mixed(number, 8):016x}"

    def person(self, number: int) -> int:
        return number * 7_919 % self._people

    def address(self, number: int) -> str:
        """Every person has a number, or (one in four) an e-mail address."""
        who = self.person(number)
        return f"player{who}@example.com" if who % 4 == 0 else f"+4477{who:08d}"

    def chunks(self) -> Iterator[Rows]:
        for start in range(0, self.count, CHUNK):
            rows: Rows = {table: [] for table in COLUMNS}
            for number in range(start, min(self.count, start + CHUNK)):
                self._add(rows, number)
            yield rows

    def _add(self, rows: Rows, number: int) -> None:
        message_id, at, who = self.message_id(number), self.at(number), self.person(number)
        state, _, owed = self._states[number % len(self._states)]
        if number >= self.count - QUEUED:
            state, owed = "queued", ""
        elif number % UNKNOWN_OF == UNKNOWN_OF // 2:
            state, owed = "unknown", ""
        gateway, channel, provider, price = GATEWAYS[0 if number % 20 < 12 else 1 if number % 20 < 17 else 2]
        if number % 50_000 == 17:
            gateway = RARE_GATEWAY
        taken = state not in ("queued", "unknown", "rejected")
        priced = taken and bool(price)
        delivered_at = at + self._delays[number % len(self._delays)] if "delivered" in owed else None
        provider_id = self.provider_id(number) if taken else None
        amount = (price if number % 10 else price + "5") if priced else None
        lane = f"{gateway}@api.smartico.ai"
        if who not in self._hashes:
            self._hashes[who] = self._vault.hash(self.address(number))
        rows["messages"].append((
            message_id, gateway, "sms", channel, provider, self.uid(number), f"player-{who}", f"Brand{number % 3}",
            self._hashes[who], "+44•••••1234", b"https://api.smartico.ai/callback?brand=7&account=12345", lane, state,
            owed, provider_id, 1 if priced else None, amount, "EUR" if priced else None, at,
            at + 150 if taken else None, delivered_at, delivered_at or at + 200,
        ))  # fmt: skip
        if provider_id:
            rows["provider_messages"].append(
                (
                    provider,
                    provider_id,
                    message_id,
                    1 if priced else None,
                    amount,
                    "EUR" if priced else None,
                    at,
                )
            )
        for seq, status in enumerate(owed.split()):
            rows["reports"].append((message_id, status, seq, lane, "done", at + 300, 1, at + 400, 40))
        if state in ("queued", "unknown"):
            phase = "queued" if state == "queued" else "lookup"
            rows["sends"].append((message_id, provider, gateway, phase, b"+447700900123", at, at + DAY_MS))
        if state in ("failed", "rejected"):
            rows["negative_ends"].append((state, message_id, gateway))


# --- the two databases ---


def seed_sqlite(path: Path, count: int, now: int, say: Callable[[str], None]) -> Crowd:
    store = open_store(path, "")
    crowd = Crowd(count, now, store.vault)
    asyncio.run(store.close())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("synchronous = OFF", "cache_size = -1000000", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        for number, rows in enumerate(crowd.chunks(), 1):
            for table, columns in COLUMNS.items():
                marks = ", ".join("?" * len(columns))
                sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of ours
                connection.executemany(sql, rows[table])
            say(f"{min(count, number * CHUNK):,} messages written")
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return crowd


async def seed_postgres(url: str, count: int, now: int, say: Callable[[str], None]) -> Crowd:
    import asyncpg

    from bridge.store import postgres

    store = await postgres.open_store(url, "", lease_seconds=15.0, worker=False)
    crowd = Crowd(count, now, store.vault)
    await store.close()
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval("SELECT EXISTS (SELECT 1 FROM messages)"):
            raise BridgeError(
                "This database holds messages: name an empty one, which may be thrown away afterwards."
            )
        for number, rows in enumerate(crowd.chunks(), 1):
            for table, columns in COLUMNS.items():
                await connection.copy_records_to_table(table, records=rows[table], columns=columns)
            say(f"{min(count, number * CHUNK):,} messages written")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return crowd


async def open_postgres(url: str) -> Store:
    from bridge.store import postgres

    return await postgres.open_store(url, "", lease_seconds=15.0, worker=False)


# --- what is asked ---


def questions(crowd: Crowd, draw: random.Random) -> Iterator[tuple[str, Callable[[], Job[Any]]]]:
    """Each kind of question by its name, and what makes one of it."""

    def some() -> int:
        return draw.randrange(crowd.count)

    def taken() -> int:
        return next(n for n in iter(some, None) if n < crowd.count - QUEUED)

    def text(make: Callable[[int], str]) -> Callable[[], Job[list[MessageRow]]]:
        return lambda: search(text=make(taken()))

    yield "ext_message_id", text(lambda n: id_text(crowd.message_id(n)))
    yield "ext_message_id without hyphens", text(lambda n: id_tag(crowd.message_id(n)))
    yield "im_uid", text(crowd.uid)
    yield "provider id", text(crowd.provider_id)
    yield "ext_user_id", text(lambda n: f"player-{crowd.person(n)}")
    yield "phone", text(lambda n: crowd.address(next(m for m in range(n, n + 9) if crowd.person(m) % 4)))
    yield "e-mail", text(lambda n: f"player{crowd.person(n) // 4 * 4}@example.com")
    yield "nothing has it", text(lambda n: f"nobody-{n}")
    yield "first page", search
    yield "deep page", lambda: search(before=crowd.message_id(some()))
    yield "since and until (a day)", lambda: day(crowd.at(some()))
    for state in ("queued", "unknown", "submitted", "sent", "delivered", "read", "failed", "rejected"):
        yield f"state {state}", lambda state=state: search(state=state)  # type: ignore[misc]
        yield f"state {state}, deep", lambda state=state: search(state=state, before=crowd.message_id(some()))  # type: ignore[misc]
    for gateway in ("sms", RARE_GATEWAY, "none"):
        yield f"gateway {gateway}", lambda gateway=gateway: search(gateway=gateway)  # type: ignore[misc]
        yield f"gateway {gateway}, failed", lambda gateway=gateway: search(gateway=gateway, state="failed")  # type: ignore[misc]
    yield "person and state", lambda: search(ext_user_id=f"player-{crowd.person(some())}", state="failed")


def statistics_of(crowd: Crowd) -> Iterator[tuple[str, Callable[[], Job[Any]]]]:
    groups: Sequence[tuple[str, tuple[Dimension, ...]]] = (
        ("all", ()),
        ("by gateway", (Dimension.GATEWAY,)),
        ("by hour", (Dimension.HOUR,)),
        ("by day and gateway", (Dimension.DAY, Dimension.GATEWAY)),
    )
    for name, length in (("24 h", 1), (f"{DAYS} days", DAYS)):
        for by_name, by in groups:
            since = crowd.now - length * DAY_MS
            yield f"stats {name}, {by_name}", lambda since=since, by=by: stats(since, crowd.now + 1, by)  # type: ignore[misc]


def search(**values: Any) -> Job[list[MessageRow]]:
    chosen = MessageFilter(limit=PAGE, **values)
    return lambda tx: find_messages(tx, chosen)


def day(since: int) -> Job[list[MessageRow]]:
    return search(since=since, until=since + DAY_MS)


def stats(since: int, until: int, by: Sequence[Dimension]) -> Job[list[Any]]:
    async def job(tx: Tx) -> list[Any]:
        rows = await read_rows(tx, since, until, by)
        return list(summarise(rows)[0])

    return job


async def measure(store: Store, kind: str, make: Callable[[], Job[Any]], times: int) -> Result:
    took: list[float] = []
    found = 0
    for _ in range(times):
        job = make()
        began = time.perf_counter()
        found = max(found, len(await store.search(job)))
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    p99 = took[min(len(took) - 1, round(0.99 * len(took)))]
    return Result(kind, times, found, round(statistics.median(took), 2), round(p99, 2))


async def measure_all(store: Store, crowd: Crowd, options: argparse.Namespace) -> list[Result]:
    results = []
    draw = random.Random(7)
    try:
        for kind, make in questions(crowd, draw):
            if options.only in kind:
                results.append(await measure(store, kind, make, options.times))
                show(results[-1], options)
        for kind, make in statistics_of(crowd):
            if options.only in kind:
                results.append(await measure(store, kind, make, options.stats_times))
                show(results[-1], options)
    finally:
        await store.close()
    return results


def show(result: Result, options: argparse.Namespace) -> None:
    if not options.json:
        print(f"{result.kind:36} {result.p50_ms:10,.2f} {result.p99_ms:10,.2f} {result.rows:8,}", flush=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many to seed (1,000,000)")
    parser.add_argument("--times", type=int, default=100, help="how often each search is asked (100)")
    parser.add_argument("--stats-times", type=int, default=3, help="how often each statistic is asked (3)")
    parser.add_argument(
        "--database", default="", help="an empty PostgreSQL database; without: SQLite, in a temporary file"
    )
    parser.add_argument("--only", default="", help="only kinds whose names contain this")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.messages < 10 * QUEUED:
        parser.error(f"--messages: at least {10 * QUEUED:,}")
    return options


def main() -> None:
    options = read_options()
    now = time.time_ns() // 1_000_000

    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{text} ", end="", file=sys.stderr, flush=True)

    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="bridge-search-") as folder:
            if options.database:
                results = asyncio.run(on_postgres(options, now, say))
            else:
                path = Path(folder) / "bridge.db"
                crowd = seed_sqlite(path, options.messages, now, say)
                head(options, f"SQLite {sqlite3.sqlite_version}", began)
                results = asyncio.run(on_sqlite(path, crowd, options))
    except BridgeError as error:
        sys.exit(f"search: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=2))


async def on_sqlite(path: Path, crowd: Crowd, options: argparse.Namespace) -> list[Result]:
    return await measure_all(open_store(path, ""), crowd, options)


async def on_postgres(options: argparse.Namespace, now: int, say: Callable[[str], None]) -> list[Result]:
    began = time.perf_counter()
    crowd = await seed_postgres(options.database, options.messages, now, say)
    head(options, "PostgreSQL", began)
    return await measure_all(await open_postgres(options.database), crowd, options)


def head(options: argparse.Namespace, engine: str, began: float) -> None:
    if not options.json:
        print(f"{engine}, {options.messages:,} messages, seeded in {time.perf_counter() - began:.0f} s")
        print(f"{'':36} {'p50 ms':>10} {'p99 ms':>10} {'rows':>8}", flush=True)


if __name__ == "__main__":
    main()
