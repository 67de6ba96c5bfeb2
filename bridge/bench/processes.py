"""The parent's side of child processes: started, asked, measured by /proc, and ended, whatever happens."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from bridge.errors import BridgeError

__all__ = [
    "Child",
    "cpu_seconds",
    "end_process",
    "family_cpu_seconds",
    "peak_rss_mb",
    "require_proc",
    "rss_mb",
    "server_pid",
    "spawn",
]

_PR_SET_PDEATHSIG = 1
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 20.0  # seconds for an orderly end
_LONGEST_LINE = 1 << 24
_libc = ctypes.CDLL(None)
_NOTHING: Mapping[str, str] = {}


def _die_with_parent() -> None:
    """Between fork and exec: the kernel ends this process when its parent is gone, even by kill -9."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def spawn(
    command: Sequence[str], log: Path, *, compiled: Path, talks: bool, more: Mapping[str, str] = _NOTHING
) -> asyncio.subprocess.Process:
    """Starts a process; stderr (and stdout, unless it talks) goes to the log. `compiled`: see `_environment`; `more`:
    goes into its environment."""
    with log.open("ab") as errors:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if talks else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if talks else errors,
            stderr=errors,
            limit=_LONGEST_LINE,
            env={**_environment(compiled), **more},
            preexec_fn=_die_with_parent,
        )


def _environment(compiled: Path) -> dict[str, str]:
    """Ours. Where Python may leave no compiled files beside the program, they get a place of their own (unless the
    environment names one), so that only the first of many starts is slow."""
    environ = dict(os.environ)
    if environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        environ.setdefault("PYTHONPYCACHEPREFIX", str(compiled))
    return environ


async def end_process(process: asyncio.subprocess.Process, number: int = signal.SIGTERM) -> int:
    """Ends a process, in order if it can; gives the exit code."""
    if process.returncode is None:
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), _PATIENCE)
        except (TimeoutError, asyncio.CancelledError):
            process.kill()
            await process.wait()
    return process.returncode or 0


class Child:
    """A process of a benchmark that obeys (see `child`)."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls,
        name: str,
        folder: Path,
        *,
        package: str = "bridge.bench",
        within: float = 30.0,
        more: Mapping[str, str] = _NOTHING,
    ) -> Child:
        """Starts a module and waits until it obeys; what it complains of is in the folder. `more`: see `spawn`."""
        log, command = folder / f"{name}.log", [sys.executable, "-m", f"{package}.{name}"]
        process = await spawn(command, log, compiled=folder / "compiled", talks=True, more=more)
        child = cls(name, process, log)
        try:
            await child._hear(within)
        except BaseException:
            await child.stop()
            raise
        return child

    async def ask(self, do: str, within: float = 30.0, **arguments: Any) -> Any:
        """Gives an order and waits for its answer. BridgeError where the child failed, or took too long."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode({"do": do, **arguments}) + b"\n")
        return await self._hear(within)

    async def _hear(self, within: float) -> Any:
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), within)
        except TimeoutError:
            raise BridgeError(f"The {self.name} of the bench did not answer within {within:.0f} s.") from None
        if not line:
            raise BridgeError(f"The {self.name} of the bench ended: {tail(self._log)}")
        answer = msgspec.json.decode(line)
        if "error" in answer:
            raise BridgeError(f"The {self.name} of the bench failed: {answer['error']}")
        return answer["answer"]

    async def stop(self) -> None:
        await end_process(self._process)


def tail(log: Path, size: int = 600) -> str:
    """The end of a log, in one line."""
    return " ".join(log.read_text(errors="replace")[-size:].split()) or "it said nothing"


def require_proc() -> None:
    """BridgeError where the system tells nothing of its processes."""
    if not Path("/proc/self/stat").exists():
        raise BridgeError("bridge bench measures processes by /proc, and so runs on Linux only.")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all its threads, user and system."""
    return sum(map(int, _stat(pid)[11:13])) / _TICKS


def family_cpu_seconds(parent: int) -> float:
    """Processor time of a process, of its children, and of those of them that have ended."""
    total = sum(map(int, _stat(parent)[11:15]))
    for child in _children(parent):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
            total += sum(map(int, _stat(child)[11:13]))
    return total / _TICKS


def server_pid(backend: int, client: str) -> int | None:
    """The parent of all processes of a PostgreSQL server; None where it is not one of this machine's.

    `backend` serves one connection; `client` is what its title says of it, since another machine has such a pid, too.
    """
    try:
        title = Path(f"/proc/{backend}/cmdline").read_bytes()
        is_it = title.startswith(b"postgres:") and client.encode() in title
        return int(_stat(backend)[1]) if is_it else None
    except OSError:
        return None


def _stat(pid: int) -> list[str]:
    """The fields from the third on: state, parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _children(parent: int) -> list[int]:
    lists = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for each in lists for pid in each.read_text().split()]


def peak_rss_mb(pid: int) -> float:
    """The most memory that a process had in use so far."""
    return _status(pid, "VmHWM")


def rss_mb(pid: int) -> float:
    """The memory that a process has in use."""
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0
