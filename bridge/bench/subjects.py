"""What is measured: a service that is started on a folder, gives its address and process, and is stopped.

The bridge as an operator starts it, and the naive program of the repository that it is compared with.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

import bridge
from bridge.bench.processes import end_process, spawn, tail
from bridge.bench.scene import (
    CALLBACK_AUTHORIZATION,
    DATABASE_SETTINGS,
    DATABASE_VARIABLE,
    HOST,
    PEOPLE,
    api_request,
    person,
    phone,
    settings_text,
)
from bridge.bench.wire import Answer, Client, request_bytes
from bridge.errors import BridgeError
from bridge.sim import free_port

if TYPE_CHECKING:
    from bridge.bench.databases import Databases  # asyncpg is an extra

__all__ = ["DATABASE", "BridgeSubject", "NaiveSubject", "PostgresSubject", "Running", "Subject"]

DATABASE = "bridge.db"  # the file in a folder

_START = 60.0  # seconds; a large database is looked through at the start
_POLL = 0.02
_CHUNK = 1000  # contacts in one request


class Instance:
    """One process of a service."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self.pid = process.pid
        self.port = port
        self._process = process
        self._log = log

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def ask(self, request: bytes, within: float = 30.0) -> Answer:
        """One exchange on a connection of its own."""
        client = await Client.open(HOST, self.port)
        try:
            return await asyncio.wait_for(client.exchange(request), within)
        finally:
            client.close()

    async def wait_until_ready(self) -> None:
        """Until /readyz answers 200. BridgeError where the process ends, or takes too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _START
        while loop.time() < end:
            if self.ended:
                raise BridgeError(f"The service that was to be measured ended: {tail(self._log)}")
            try:
                if (await self.ask(request_bytes("GET", "/readyz", HOST)))[0] == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(_POLL)
        raise BridgeError(
            f"The service that was to be measured was not ready in {_START:.0f} s: {tail(self._log)}"
        )

    async def stop(self, *, orderly: bool) -> None:
        """SIGTERM. BridgeError where a service that is to end in order does not end with 0."""
        code = await end_process(self._process)
        if code != 0 and orderly:
            raise BridgeError(f"The service that was measured ended with exit code {code}: {tail(self._log)}")

    async def kill(self) -> None:
        """kill -9, if it still runs."""
        await end_process(self._process, signal.SIGKILL)


class Running:
    """A service that was started, as one process or as several that share a database.

    `server_pid`: the server of the database, where it is a process of its own on this machine.
    """

    def __init__(
        self, instances: Sequence[Instance], *, orderly: bool = True, server_pid: int | None = None
    ) -> None:
        self.instances = instances
        self.server_pid = server_pid
        self.callback_path = "/callbacks/revicom"
        self.callback_authorization = CALLBACK_AUTHORIZATION
        self._orderly = orderly
        self._killed = False

    @property
    def ports(self) -> list[int]:
        return [each.port for each in self.instances]

    @property
    def pids(self) -> list[int]:
        return [each.pid for each in self.instances]

    @property
    def port(self) -> int:
        """That of the first instance, for what one instance does for all."""
        return self.instances[0].port

    async def ask(self, request: bytes, within: float = 30.0) -> Answer:
        """One exchange with the first instance."""
        return await self.instances[0].ask(request, within)

    async def stop(self) -> None:
        """Ends all at the same time, unless they were killed. BridgeError where one does not end in order."""
        if not self._killed:
            await asyncio.gather(*(each.stop(orderly=self._orderly) for each in self.instances))

    async def kill(self) -> None:
        """kill -9 for those that still run."""
        self._killed = True
        await asyncio.gather(*(each.kill() for each in self.instances))


class Subject(Protocol):
    """A way to start something that takes sends and callbacks."""

    name: str

    async def start(self, folder: Path, provider_url: str) -> Running: ...


class BridgeSubject:
    """`bridge serve` with default settings on SQLite."""

    name = "bridge"

    async def start(self, folder: Path, provider_url: str) -> Running:
        """`provider_url`: the host of the simulated provider, without a path."""
        port = free_port()
        return await _started(Running([await _serve(folder, "bridge", provider_url, port, port)]))

    async def database_mb(self, folder: Path) -> float:
        """The size of the database that was started in a folder."""
        return round((folder / DATABASE).stat().st_size / 2**20, 1)

    async def load_people(self, running: Running, count: int = PEOPLE) -> None:
        """Fills the contact directory, as an operator's script does."""
        for start in range(0, count, _CHUNK):
            rows = [
                {"ext_user_id": person(n), "phone": phone(n)}
                for n in range(start, min(count, start + _CHUNK))
            ]
            request = api_request("POST", "/api/contacts", running.port, msgspec.json.encode(rows))
            status, body = await running.ask(request)
            if status != 200:
                raise BridgeError(f"The contacts of the bench were not taken: HTTP {status} {body[:200]!r}")


class PostgresSubject(BridgeSubject):
    """So many `bridge serve`, with default settings, on one PostgreSQL database; what is in the SQLite file of the
    folder is in there when they start."""

    def __init__(self, databases: Databases, instances: int = 1) -> None:
        self.name = f"bridge on PostgreSQL ({instances} instance{'s' if instances > 1 else ''})"
        self._databases = databases
        self._instances = instances

    async def start(self, folder: Path, provider_url: str) -> Running:
        url = await self._databases.fresh(folder / DATABASE)
        ports = [free_port() for _ in range(self._instances)]
        instances = [
            await _serve(folder, f"bridge{number}", provider_url, port, ports[0], url)
            for number, port in enumerate(ports)
        ]
        return await _started(Running(instances, server_pid=await self._databases.server_pid()))

    async def database_mb(self, folder: Path) -> float:  # noqa: ARG002 - there is one database, wherever it began
        return await self._databases.megabytes()


class NaiveSubject:
    """The baseline: `bench/naive/app.py` of the repository."""

    name = "naive"

    def __init__(self) -> None:
        self.program = Path(bridge.__file__).parent.parent / "bench" / "naive" / "app.py"
        if not self.program.is_file():
            raise BridgeError(
                "--compare naive needs bench/naive/app.py, which is in the repository only: run it in a checkout."
            )

    async def start(self, folder: Path, provider_url: str) -> Running:
        port, log = free_port(), folder / "naive.log"
        command = [sys.executable, str(self.program), "--port", str(port)]
        command += ["--database", str(folder / "naive.db"), "--provider-url", provider_url]
        instance = Instance(await _spawn(command, log), port, log)
        return await _started(Running([instance], orderly=False), _wait_for_line(instance, log, "ready"))


async def _serve(
    folder: Path, name: str, provider_url: str, port: int, public_port: int, database_url: str | None = None
) -> Instance:
    """Starts `bridge serve` and does not wait for it. The address of the database is in the environment only."""
    settings, log = folder / f"{name}.toml", folder / f"{name}.log"
    text = settings_text(port, public_port, f"{provider_url}/api/v1")
    settings.write_text(text + (DATABASE_SETTINGS if database_url else ""))
    command = [sys.executable, "-m", "bridge", "serve", "--config", str(settings)]
    return Instance(await _spawn(command, log, database_url), port, log)


async def _spawn(
    command: Sequence[str], log: Path, database_url: str | None = None
) -> asyncio.subprocess.Process:
    more = {DATABASE_VARIABLE: database_url} if database_url else {}
    return await spawn(command, log, compiled=log.parent.parent / "compiled", talks=False, more=more)


async def _started(running: Running, ready: Awaitable[None] | None = None) -> Running:
    """Waits for it, and leaves nothing behind when that fails."""
    try:
        await (ready or asyncio.gather(*(each.wait_until_ready() for each in running.instances)))
    except BaseException:
        await running.kill()
        raise
    return running


async def _wait_for_line(instance: Instance, log: Path, line: str) -> None:
    """Until the process has printed the line; its output goes to the log."""
    end = asyncio.get_running_loop().time() + _START
    while line not in _lines(log):
        if instance.ended or asyncio.get_running_loop().time() > end:
            raise BridgeError(f"The naive service did not start: {tail(log)}")
        await asyncio.sleep(_POLL)


def _lines(log: Path) -> Sequence[str]:
    return log.read_text(errors="replace").split("\n")
