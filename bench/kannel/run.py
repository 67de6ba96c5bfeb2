"""Kannel beside the bridge: a real bearerbox and smsbox on this machine, under a load like that of `bridge bench`.

Each message is one `GET /cgi-bin/sendsms` that asks for a delivery report, and one report `GET` that comes back.
Measured is the time from the first send to the last report. README.md says what may be compared with what.

Everything listens on loopback only, lives in a temporary folder, and is ended by its process id.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

import uvloop

from bridge.bench import wire

FAKESMSC = "/usr/lib/kannel/test/fakesmsc"  # where Debian's kannel-extras puts it; not on the PATH
STORAGES = {  # the name here → where reports that are waited for are kept, where messages under way are kept
    "internal": ("internal", None),
    "file": ("internal", "file"),
    "sqlite3": ("sqlite3", None),
    "sqlite3+spool": ("sqlite3", "spool"),
}
START_SECONDS = 15.0
STOP_SECONDS = 3.0
QUIET_SECONDS = 15.0  # no report for so long: the rest is lost (a failed report is tried again after 10 s)
MOST_MESSAGES = 1_000_000

DLR_TABLE = """
CREATE TABLE dlr (
    smsc TEXT, ts TEXT, source TEXT, destination TEXT, service TEXT, url TEXT, mask INTEGER, status INTEGER, boxc TEXT
);
CREATE INDEX dlr_by_message ON dlr (smsc, ts);
"""

CONFIGURATION = """
group = core
admin-port = {ports.admin}
admin-interface = 127.0.0.1
admin-password = t
status-password = t
smsbox-port = {ports.boxes}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
log-level = 2
dlr-storage = {dlr}
{store}
group = smsc
smsc = fake
smsc-id = fake
port = {ports.smsc}
our-host = 127.0.0.1
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {ports.sendsms}
sendsms-interface = 127.0.0.1
global-sender = 123
log-level = 2
http-request-retry = 3
max-pending-requests = 64

group = sendsms-user
username = t
password = t

group = sms-service
keyword = default
text = none
max-messages = 0
"""

SQLITE_GROUPS = """
group = sqlite3-connection
id = reports
database = {folder}/dlr.db
max-connections = 1

group = dlr-db
id = reports
table = dlr
field-smsc = smsc
field-timestamp = ts
field-source = source
field-destination = destination
field-service = service
field-url = url
field-mask = mask
field-status = status
field-boxc-id = boxc
"""


class RunError(Exception):
    """Kannel could not be run; the text says why."""


@dataclass(frozen=True)
class Ports:
    admin: int
    boxes: int
    smsc: int
    sendsms: int


@dataclass(frozen=True)
class Run:
    """What one run showed. CPU in seconds, of all threads."""

    storage: str
    messages: int
    refused: int  # sends without a 202
    lost: int  # accepted, never reported
    repeated: int  # reports beyond the first of a message
    seconds: float  # from the first send to the last report
    send_seconds: float  # from the first send to the last answer to one
    rate: float  # messages reported a second
    kannel_cpu: dict[str, float]
    load_cpu: float
    load_average: float  # of the minute before


@dataclass
class Reports:
    """Which messages were reported, and when the last one was."""

    seen: bytearray
    count: int = 0
    repeated: int = 0
    last: float = field(default_factory=time.perf_counter)

    def serve(self, _method: str, target: bytes, _body: bytes) -> bytes:
        """The status endpoint: as short as Smartico's."""
        number = int(target.partition(b"ext_message_id=")[2].partition(b"&")[0])
        if self.seen[number]:
            self.repeated += 1
        else:
            self.seen[number] = 1
            self.count += 1
        self.last = time.perf_counter()
        return _TAKEN


_TAKEN = wire.response_bytes(200, b'{"error_code": 0}')


# --- Kannel's processes ---


def free_ports() -> Ports:
    """Four ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(4)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return Ports(*(probe.getsockname()[1] for probe in probes))


def write_configuration(folder: Path, ports: Ports, storage: str, journal: str) -> Path:
    """The configuration file, and beside it what the storage wants to find."""
    dlr, store = STORAGES[storage]
    lines = f"store-type = {store}\nstore-location = {folder}/store\n" if store else ""
    if store == "spool":
        (folder / "store").mkdir()
    text = CONFIGURATION.format(ports=ports, dlr=dlr, store=lines)
    if dlr == "sqlite3":
        text += SQLITE_GROUPS.format(folder=folder)
        with contextlib.closing(sqlite3.connect(folder / "dlr.db")) as database:
            database.execute(f"PRAGMA journal_mode = {journal}")
            database.executescript(DLR_TABLE)
    path = folder / "kannel.conf"
    path.write_text(text)
    return path


class Kannel:
    """bearerbox, fakesmsc and smsbox as child processes."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.ports = ports
        self._folder = folder
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, configuration: Path) -> None:
        quiet = ("-v", "4")  # with more of a log it gets up to 2.6 times slower
        await self._launch("bearerbox", "bearerbox", *quiet, str(configuration))
        await self._until("Kannel")
        smsc = ("-H", "127.0.0.1", "-r", str(self.ports.smsc), "-i", "1", "-m", "0", "1 2 text hi")
        await self._launch("fakesmsc", FAKESMSC, *smsc)
        await self._until(r"\(online")
        await self._launch("smsbox", "smsbox", *quiet, str(configuration))
        await self._until(r"smsbox:.*\(on-line")

    async def stop(self) -> None:
        """Ends what was started, the last one first, each by its process id."""
        running = [each for each in reversed(self._processes.values()) if each.returncode is None]
        try:
            for process in running:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), STOP_SECONDS)
        finally:
            for process in running:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each process so far, user and system."""
        return {name: cpu_seconds(process.pid) for name, process in self._processes.items()}

    def check(self) -> None:
        """RunError, with its log, where a process has ended."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                log = (self._folder / f"{name}.log").read_text(errors="replace")
                raise RunError(f"{name} ended with {process.returncode}:\n{log[-2000:]}")

    async def _launch(self, name: str, *command: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _until(self, pattern: str) -> None:
        """Waits until the status page of bearerbox shows something."""
        end = time.monotonic() + START_SECONDS
        while not re.search(pattern, await self._status()):
            self.check()
            if time.monotonic() > end:
                raise RunError(f"after {START_SECONDS:.0f} s the status of Kannel does not show {pattern!r}")
            await asyncio.sleep(0.1)

    async def _status(self) -> str:
        try:
            client = await wire.Client.open("127.0.0.1", self.ports.admin)
        except OSError:
            return ""
        try:
            request = wire.request_bytes("GET", "/status.txt?password=t", f"127.0.0.1:{self.ports.admin}")
            return (await asyncio.wait_for(client.exchange(request), 5))[1].decode(errors="replace")
        except (ConnectionError, TimeoutError):
            return ""
        finally:
            client.close()


@asynccontextmanager
async def running_kannel(folder: Path, storage: str, journal: str) -> AsyncIterator[Kannel]:
    """A Kannel that takes messages; ended whatever happens."""
    kannel = Kannel(folder, free_ports())
    configuration = write_configuration(folder, kannel.ports, storage, journal)
    try:
        await kannel.start(configuration)
        yield kannel
    finally:
        await kannel.stop()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- load ---


def build_request(number: int, sendsms_port: int, report_port: int) -> bytes:
    """One send. The address of its report is as long as one to Smartico; Kannel puts the status in."""
    report = f"http://127.0.0.1:{report_port}/callback?type=sms&ext_message_id={number}&status=%d&api_key=key"
    query = f"username=t&password=t&from=123&to=4561&text=hello&dlr-mask=1&dlr-url={quote(report, safe='')}"
    return wire.request_bytes("GET", f"/cgi-bin/sendsms?{query}", f"127.0.0.1:{sendsms_port}")


@asynccontextmanager
async def connected(port: int, connections: int) -> AsyncIterator[list[wire.Client]]:
    """Open connections. Kannel's queue for new ones holds ten: the next may wait a second, so they are not measured."""
    clients: list[wire.Client] = []
    try:
        for _ in range(connections):
            clients.append(await wire.Client.open("127.0.0.1", port))
        yield clients
    finally:
        for client in clients:
            client.close()


async def send_all(requests: Iterator[bytes], clients: list[wire.Client]) -> Counter[int]:
    """Sends everything, one request at a time on each connection; how often which status came."""
    answers: Counter[int] = Counter()

    async def work(client: wire.Client) -> None:
        for request in requests:
            status, _ = await client.exchange(request)
            answers[status] += 1

    await asyncio.gather(*(work(client) for client in clients))
    return answers


async def wait_for_reports(reports: Reports, expected: int, kannel: Kannel) -> None:
    """Until every message is reported, or nothing has come for QUIET_SECONDS."""
    started = time.perf_counter()
    while reports.count < expected and time.perf_counter() - max(reports.last, started) < QUIET_SECONDS:
        kannel.check()
        await asyncio.sleep(0.02)


async def measure(kannel: Kannel, storage: str, messages: int, connections: int) -> Run:
    reports = Reports(bytearray(messages))
    server = await wire.listen(reports.serve)
    port = server.sockets[0].getsockname()[1]
    requests = [build_request(number, kannel.ports.sendsms, port) for number in range(messages)]
    try:
        async with connected(kannel.ports.sendsms, connections) as clients:
            load_average, cpu, own = os.getloadavg()[0], kannel.cpu(), time.process_time()
            started = time.perf_counter()
            answers = await send_all(iter(requests), clients)
            sent = time.perf_counter()
            await wait_for_reports(reports, answers[202], kannel)
            own = time.process_time() - own
            used = {name: round(after - cpu[name], 2) for name, after in kannel.cpu().items()}
    finally:
        server.close()
    if not reports.count:
        raise RunError(f"{storage}: not one report came; the answers to the sends were {dict(answers)}")
    seconds = reports.last - started
    return Run(
        storage=storage,
        messages=messages,
        refused=messages - answers[202],
        lost=answers[202] - reports.count,
        repeated=reports.repeated,
        seconds=round(seconds, 3),
        send_seconds=round(sent - started, 3),
        rate=round(reports.count / seconds, 1),
        kannel_cpu=used,
        load_cpu=round(own, 2),
        load_average=round(load_average, 2),
    )


async def run_once(storage: str, options: argparse.Namespace) -> Run:
    folder = options.folder and options.folder.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix="kannel-", dir=folder) as name:
            async with running_kannel(Path(name), storage, options.journal) as kannel:
                async with asyncio.timeout(options.timeout):
                    return await measure(kannel, storage, options.messages, options.connections)
    except TimeoutError:
        raise RunError(f"{storage}: not done after {options.timeout:.0f} s") from None
    except OSError as error:
        raise RunError(f"{storage}: {error}") from None


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """An ordinary kill ends this program as Ctrl-C does: with everything that it started."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def run_all(options: argparse.Namespace) -> list[Run]:
    """Round after round of the storages, so that what disturbs the machine disturbs all of them."""
    storages = list(STORAGES) if options.storage == "all" else [options.storage]
    runs = []
    with ended_by_sigterm():
        for _ in range(options.runs):
            for storage in storages:
                runs.append(await run_once(storage, options))
                if not options.json:
                    print(describe(runs[-1]), flush=True)
    return runs


# --- what is printed ---


def describe(run: Run) -> str:
    cpu = sum(run.kannel_cpu.values())
    text = f"{run.storage:14} {run.rate:8,.0f}/s  {run.seconds:7.2f} s (sends {run.send_seconds:.2f} s)"
    text += f"  CPU {cpu:.2f} s, load generator {run.load_cpu:.2f} s  load average {run.load_average:.2f}"
    return text + f"  refused {run.refused}, lost {run.lost}, repeated {run.repeated}"


def summarize(runs: list[Run]) -> dict[str, dict[str, float]]:
    """The medians of each storage."""
    found = {}
    for storage in dict.fromkeys(run.storage for run in runs):
        mine = [run for run in runs if run.storage == storage]
        cpu = [
            1e6 * sum(run.kannel_cpu.values()) / (run.messages - run.lost - run.refused or 1) for run in mine
        ]
        found[storage] = {
            "rate": statistics.median(run.rate for run in mine),
            "cpu_microseconds_a_message": round(statistics.median(cpu), 1),
            "lost": sum(run.lost for run in mine),
        }
    return found


def read_versions() -> dict[str, str]:
    said = subprocess.run(["bearerbox", "--version"], capture_output=True, text=True, timeout=10, check=False)
    text = said.stdout + said.stderr
    found = {"kannel": r"bearerbox version `([^']+)'", "built with SQLite": r"SQLite ([\d.]+\d)"}
    return {name: match[1] for name, pattern in found.items() if (match := re.search(pattern, text))}


def check_installed() -> None:
    missing = [name for name in ("bearerbox", "smsbox", FAKESMSC) if shutil.which(name) is None]
    if missing:
        found = ", ".join(missing)
        raise RunError(
            f"not installed: {found}. On Debian: apt-get update && apt-get install kannel kannel-extras"
        )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How many messages a second Kannel carries on this machine.")
    parser.add_argument("--messages", type=int, default=10_000, help="in each run (default: 10000)")
    parser.add_argument("--storage", choices=[*STORAGES, "all"], default="all", help="(default: all)")
    parser.add_argument("--runs", type=int, default=1, help="of each storage (default: 1)")
    parser.add_argument("--connections", type=int, default=64, help="that send (default: 64)")
    parser.add_argument("--journal", choices=["delete", "wal"], default="delete", help="of the SQLite file")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made; not on a tmpfs")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="for one run (default: 120)"
    )
    parser.add_argument("--json", action="store_true", help="all runs and the medians as JSON, nothing else")
    options = parser.parse_args()
    if not 0 < options.messages <= MOST_MESSAGES or not 0 < options.connections <= 512 or options.runs < 1:
        parser.error(f"--messages: 1 to {MOST_MESSAGES}; --connections: 1 to 512; --runs: at least 1")
    return options


def main() -> None:
    options = read_options()
    try:
        check_installed()
        versions = read_versions()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runs = runner.run(run_all(options))
    except RunError as error:
        sys.exit(f"kannel: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    medians = summarize(runs)
    if options.json:
        print(
            json.dumps(
                {"versions": versions, "runs": [asdict(run) for run in runs], "medians": medians}, indent=2
            )
        )
        return
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    for storage, median in medians.items():
        cpu = median["cpu_microseconds_a_message"]
        print(
            f"{storage:14} median {median['rate']:,.0f}/s, {cpu:.0f} µs of CPU a message, lost {median['lost']}"
        )


if __name__ == "__main__":
    main()
