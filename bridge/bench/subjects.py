"""What is measured: a service that is started on a folder, gives its address and process, and is stopped.

The bridge as an operator starts it, and the naive program of the repository that it is compared with.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

import bridge
from bridge.bench.processes import end_process, spawn, tail
from bridge.bench.scene import CALLBACK_AUTHORIZATION, HOST, PEOPLE, api_request, person, phone, settings_text
from bridge.bench.wire import Answer, Client, request_bytes
from bridge.errors import BridgeError

__all__ = ["BridgeSubject", "NaiveSubject", "Running", "Subject", "free_port"]

_START = 60.0  # seconds; a large database is looked through at the start
_POLL = 0.02
_CHUNK = 1000  # contacts in one request


class Running:
    """A service that was started."""

    def __init__(
        self, process: asyncio.subprocess.Process, port: int, log: Path, *, orderly: bool = True
    ) -> None:
        self.pid = process.pid
        self.port = port
        self.callback_path = "/callbacks/revicom"
        self.callback_authorization = CALLBACK_AUTHORIZATION
        self._process = process
        self._log = log
        self._orderly = orderly
        self._killed = False

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

    async def stop(self) -> None:
        """SIGTERM, unless it was killed. BridgeError where an orderly service does not end with 0."""
        if self._killed:
            return
        code = await end_process(self._process)
        if code != 0 and self._orderly:
            raise BridgeError(f"The service that was measured ended with exit code {code}: {tail(self._log)}")

    async def kill(self) -> None:
        """kill -9, if it still runs."""
        self._killed = True
        await end_process(self._process, signal.SIGKILL)


class Subject(Protocol):
    """A way to start something that takes sends and callbacks."""

    name: str

    async def start(self, folder: Path, provider_url: str) -> Running: ...


class BridgeSubject:
    """`bridge serve` with default settings on SQLite."""

    name = "bridge"

    async def start(self, folder: Path, provider_url: str) -> Running:
        """`provider_url`: the host of the simulated provider, without a path."""
        port, settings, log = free_port(), folder / "bridge.toml", folder / "serve.log"
        settings.write_text(settings_text(port, f"{provider_url}/api/v1"))
        command = [sys.executable, "-m", "bridge", "serve", "--config", str(settings)]
        running = Running(await _spawn(command, log), port, log)
        return await _started(running, running.wait_until_ready())

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
        running = Running(await _spawn(command, log), port, log, orderly=False)
        return await _started(running, _wait_for_line(running, log, "ready"))


async def _spawn(command: Sequence[str], log: Path) -> asyncio.subprocess.Process:
    return await spawn(command, log, compiled=log.parent.parent / "compiled", talks=False)


async def _started(running: Running, ready: Awaitable[None]) -> Running:
    """Waits for it, and leaves nothing behind when that fails."""
    try:
        await ready
    except BaseException:
        await running.kill()
        raise
    return running


async def _wait_for_line(running: Running, log: Path, line: str) -> None:
    """Until the process has printed the line; its output goes to the log."""
    end = asyncio.get_running_loop().time() + _START
    while line not in _lines(log):
        if running.ended or asyncio.get_running_loop().time() > end:
            raise BridgeError(f"The naive service did not start: {tail(log)}")
        await asyncio.sleep(_POLL)


def _lines(log: Path) -> Sequence[str]:
    return log.read_text(errors="replace").split("\n")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
