"""What the bridge does when ten times as much comes as it can take. README.md says what is measured, and how.

A real `bridge serve` in a temporary folder, a simulated provider that takes so many messages a second, and callers
that keep to their rate whatever they are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bridge.sim import (
    RevicomConfig,
    RevicomFaults,
    RevicomSimulator,
    SmarticoConfig,
    SmarticoSimulator,
    free_port,
)

BATCH = 20  # messages in a request to the provider
ELEMENTS = 100  # in a callback
BASIC = "Basic cmV2aWNvbTpwYXNzd29yZA=="
PATIENCE = 120.0  # seconds for the backlog after the flood
SETTINGS = """
[server]
port = {port}
public_url = "http://127.0.0.1:{port}"
[database]
url = "{database}"
max_inbox = {max_inbox}
[smartico]
api_key = "key"
callback_hosts = ["127.0.0.1"]
allow_insecure_callbacks = true
[providers.revicom]
base_url = "{provider}/api/v1"
token = "token"
callback_password = "password"
max_in_flight = 1
max_batch = {batch}
[gateways.sms]
authorization = ["secret"]
max_pending = {max_pending}
[[ops.operators]]
name = "bench"
token = "a-token-of-the-bench-program"
"""


@dataclass
class Book:
    """What was answered, in seconds by kind, and the memory of the service."""

    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    accepted: set[str] = field(default_factory=set)
    memory: list[tuple[float, float]] = field(default_factory=list)  # second, MiB
    recovered: dict[str, float] = field(default_factory=dict)
    cpu: float = 0.0  # seconds, during the flood
    failed: int = 0
    lost: int = 0
    twice: int = 0


class Line:
    """A kept connection to the service."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, path: str, authorization: str, body: bytes) -> tuple[int, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader
        headers = ["host: x", f"authorization: {authorization}", f"content-length: {len(body)}"]
        head = "\r\n".join([f"POST {path} HTTP/1.1", *headers, "", ""])
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].split(b"\r", 1)[0])
        content = await self._reader.readexactly(length)
        if b"connection: close" in answer:
            self.close()
        return int(answer.split(b" ", 2)[1]), content

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Bench:
    """The running service, and those who ask it."""

    def __init__(self, options: argparse.Namespace, port: int, pid: int, callback_url: str) -> None:
        self.options = options
        self.book = Book()
        self.port = port
        self._pid = pid
        self._callback_url = callback_url

    async def send(self, line: Line) -> str:
        fields = {"ext_user_id": "u1", "body": "Best offer ever", "im_uid": uuid.uuid4().hex}
        body = json.dumps(fields | {"callback_url": self._callback_url}).encode()
        status, content = await line.ask("/smartico/sms", "secret", body)
        if status != 200:
            return f"send: HTTP {status}"
        answer = json.loads(content)
        if answer["error_code"] == 0:
            self.book.accepted.add(answer["ext_message_id"].replace("-", ""))
        return f"send: error_code {answer['error_code']}"

    async def post(self, line: Line) -> str:
        events = [
            {
                "message_uuid": str(uuid.uuid4()),
                "channel_type": "SMS",
                "callback_event": "sent",
                "status": "sent",
            }
            for _ in range(ELEMENTS)
        ]
        status, _ = await line.ask("/callbacks/revicom", BASIC, json.dumps(events).encode())
        return f"callback: HTTP {status}"

    async def caller(self, ask: Callable[[Line], Coroutine[Any, Any, str]], rate: float, end: float) -> None:
        """One connection that asks at its rate; what it is late with it leaves out, but for the answer it waits for."""
        line = Line(self.port)
        due = time.perf_counter()
        while due < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            try:
                kind = await ask(line)
                self.book.took[kind].append(time.perf_counter() - began)
            except (OSError, asyncio.IncompleteReadError):
                self.book.failed += 1
                line.close()
            due = max(due + 1 / rate, time.perf_counter())
        line.close()

    async def flood(self) -> None:
        o = self.options
        end = time.perf_counter() + o.seconds
        sends = o.times * o.rate / o.connections
        posts = o.callbacks / 4
        callers = [self.caller(self.send, sends, end) for _ in range(o.connections)]
        await asyncio.gather(*callers, *(self.caller(self.post, posts, end) for _ in range(4)))

    async def recover(self, kind: str, ask: Callable[[Line], Coroutine[Any, Any, str]], wanted: str) -> None:
        """How long it takes until somebody who asks politely gets what he wants."""
        line, began = Line(self.port), time.perf_counter()
        while await ask(line) != wanted:
            if time.perf_counter() - began > PATIENCE:
                return
            await asyncio.sleep(0.02)
        self.book.recovered[kind] = time.perf_counter() - began
        line.close()

    async def watch(self) -> None:
        began = time.perf_counter()
        while True:
            self.book.memory.append((time.perf_counter() - began, resident(self._pid)))
            await asyncio.sleep(0.5)


def resident(pid: int) -> float:
    """The memory of a process, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split(None, 1)[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ready(port: int) -> None:
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            if b" 200 " in answer.split(b"\r\n", 1)[0]:
                return
        await asyncio.sleep(0.05)
    sys.exit("overload: the service does not start")


async def measure(options: argparse.Namespace, folder: Path) -> Book:
    provider = RevicomSimulator(
        RevicomConfig(token="token", delivered_share=1.0),
        RevicomFaults(slow=1.0, slow_seconds=BATCH / options.rate),
    )
    smartico = SmarticoSimulator(SmarticoConfig(api_key="key", accept_unknown=True))
    async with provider, smartico:
        port = free_port()
        (folder / "bridge.toml").write_text(
            SETTINGS.format(
                port=port,
                database=options.database or f"sqlite:///{folder}/bridge.db",
                provider=provider.url,
                batch=BATCH,
                max_pending=options.max_pending,
                max_inbox=options.max_inbox,
            )
        )
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bridge",
                "serve",
                "--config",
                str(folder / "bridge.toml"),
                stdout=log,
                stderr=log,
            )
        try:
            await ready(port)
            contact = json.dumps([{"ext_user_id": "u1", "phone": "+14155550101"}]).encode()
            await Line(port).ask("/api/contacts", "Bearer a-token-of-the-bench-program", contact)
            bench = Bench(options, port, process.pid, f"{smartico.url}/callback")
            watching = asyncio.create_task(bench.watch())
            await asyncio.sleep(1)
            before = cpu_seconds(process.pid)
            await bench.flood()
            bench.book.cpu = cpu_seconds(process.pid) - before
            await asyncio.gather(
                bench.recover("sends", bench.send, "send: error_code 0"),
                bench.recover("callbacks", bench.post, "callback: HTTP 200"),
            )
            await arrive(bench.book, provider)
            watching.cancel()
            return bench.book
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def arrive(book: Book, provider: RevicomSimulator) -> None:
    """What was accepted has to reach the provider, once."""
    end = time.perf_counter() + PATIENCE
    while book.accepted - provider.ledger.by_tag.keys() and time.perf_counter() < end:
        await asyncio.sleep(0.1)
    book.lost = len(book.accepted - provider.ledger.by_tag.keys())
    book.twice = len(provider.ledger.duplicates_by_tag)


@dataclass(frozen=True)
class Times:
    """Of one kind of answer."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Result:
    """What came of it."""

    offered_per_second: float
    answers: dict[str, Times]
    without_an_answer: int
    cpu_seconds: float  # of the service, during the flood
    cpu_ms_an_answer: float
    memory_mib: dict[float, float]  # of the service, by second
    taken_again_after_ms: dict[str, float]
    accepted: int
    lost: int
    sent_twice: int


def result_of(options: argparse.Namespace, book: Book) -> Result:
    answers = {kind: times_of(sorted(seconds)) for kind, seconds in sorted(book.took.items())}
    sends = sum(times.count for kind, times in answers.items() if kind.startswith("send"))
    every = sum(times.count for times in answers.values())
    return Result(
        offered_per_second=round(sends / options.seconds, 1),
        answers=answers,
        without_an_answer=book.failed,
        cpu_seconds=round(book.cpu, 2),
        cpu_ms_an_answer=round(book.cpu / max(1, every) * 1000, 2),
        memory_mib={round(at, 1): round(mib, 1) for at, mib in book.memory[:: max(1, len(book.memory) // 8)]},
        taken_again_after_ms={kind: round(at * 1000, 1) for kind, at in book.recovered.items()},
        accepted=len(book.accepted),
        lost=book.lost,
        sent_twice=book.twice,
    )


def times_of(seconds: Sequence[float]) -> Times:
    """`seconds` are sorted."""
    p50, p99 = seconds[len(seconds) // 2], seconds[min(len(seconds) - 1, round(0.99 * len(seconds)))]
    return Times(len(seconds), *(round(each * 1000, 1) for each in (p50, p99, seconds[-1])))


def show(options: argparse.Namespace, result: Result) -> None:
    print(
        f"the provider takes {options.rate:,.0f} messages/s; {result.offered_per_second:,.0f}/s were offered for "
        f"{options.seconds:g} s"
    )
    print(f"{'answers':24} {'count':>9} {'p50 ms':>9} {'p99 ms':>9} {'max ms':>9}")
    for kind, times in result.answers.items():
        print(f"{kind:24} {times.count:9,} {times.p50_ms:9,.1f} {times.p99_ms:9,.1f} {times.max_ms:9,.1f}")
    print(f"{'without an answer':24} {result.without_an_answer:9,}")
    print(f"CPU of the service: {result.cpu_seconds:.1f} s, {result.cpu_ms_an_answer:.2f} ms an answer")
    print("MiB: " + ", ".join(f"{at:.0f} s {mib:.0f}" for at, mib in result.memory_mib.items()))
    again = ", ".join(f"{kind} {at:,.0f} ms" for kind, at in result.taken_again_after_ms.items())
    print(f"taken again after: {again}")
    print(f"accepted {result.accepted:,}, lost {result.lost:,}, sent twice {result.sent_twice:,}")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200, help="messages/s that the provider takes (200)")
    parser.add_argument("--times", type=float, default=10, help="how many times that is offered (10)")
    parser.add_argument("--seconds", type=float, default=15, help="for how long (15)")
    parser.add_argument("--connections", type=int, default=200, help="of those who send (200)")
    parser.add_argument(
        "--callbacks", type=float, default=200, help=f"bodies/s of {ELEMENTS} elements each (200)"
    )
    parser.add_argument("--max-pending", type=int, default=1000, help="max_pending of the gateway (1000)")
    parser.add_argument("--max-inbox", type=int, default=5000, help="max_inbox of the database (5000)")
    parser.add_argument("--database", default="", help="an empty PostgreSQL database; without: SQLite")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="bridge-overload-") as folder:
        book = asyncio.run(measure(options, Path(folder)))
    result = result_of(options, book)
    if options.json:
        print(json.dumps(asdict(result), indent=2))
    else:
        show(options, result)
    if result.lost or result.sent_twice:
        sys.exit(1)


if __name__ == "__main__":
    main()
