"""The peers and the load beside what is measured, a folder for its files, and the waiting with a limit.

One set of peers serves all scenarios: their ports are in the databases that are prepared in advance.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bridge.bench.processes import Child, cpu_seconds, family_cpu_seconds, peak_rss_mb
from bridge.bench.scene import HOST
from bridge.bench.subjects import Running, Subject

__all__ = ["Meter", "Workbench", "open_workbench"]

PATIENCE = 30.0  # seconds without progress: what has not come by then is lost
_POLL = 0.05
_SETTLED = 0.3  # seconds in which a second copy of the last report would come
LONG = 7200.0  # seconds: the bound of one order to the load


class Workbench:
    """See `open_workbench`. `say`: tells a person what goes on, a sentence each."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self.provider: Child
        self.smartico: Child
        self.load: Child
        self.provider_url = ""
        self.callback_url = ""
        self._folders = 0

    def new_folder(self) -> Path:
        """An empty folder of this run."""
        self._folders += 1
        folder = self.folder / f"{self._folders:03}"
        folder.mkdir()
        return folder

    @asynccontextmanager
    async def running(self, subject: Subject, folder: Path) -> AsyncIterator[Running]:
        """Starts what is measured; in the end it is stopped in order, or killed when something failed."""
        service = await subject.start(folder, self.provider_url)
        try:
            await self.provider.ask("spread", ports=service.ports)
            yield service
            await service.stop()
        finally:
            await service.kill()

    async def reset(self, *events: str, silent: bool = False, timed: bool = False) -> None:
        """The peers forget everything; from now on the provider posts these events for each message."""
        await self.provider.ask("reset", events=list(events))
        await self.smartico.ask("reset", silent=silent, timed=timed)

    async def taken(self) -> int:
        """How many different messages the provider has."""
        seen = await self.provider.ask("seen")
        return int(seen["messages"])

    async def reported(self) -> int:
        """How many different (message, status) pairs Smartico was told."""
        seen = await self.smartico.ask("seen")
        return int(seen["pairs"])

    async def asked(self) -> int:
        """How many requests Smartico got."""
        seen = await self.smartico.ask("seen")
        return int(seen["total"])

    async def until(self, count: Callable[[], Awaitable[int]], goal: int) -> bool:
        """Waits until the count has come so far; False when it no longer grows."""
        loop = asyncio.get_running_loop()
        best, moved = -1, loop.time()
        while (now := await count()) < goal:
            if now > best:
                best, moved = now, loop.time()
            if loop.time() - moved > PATIENCE:
                self.say(f"Only {now:,} of {goal:,} arrived, and no more within {PATIENCE:.0f} s.")
                return False
            await asyncio.sleep(_POLL)
        return True

    async def settle(self) -> None:
        """Leaves a moment for what should not come: second copies."""
        await asyncio.sleep(_SETTLED)


class Meter:
    """Processor time of the service, its database server, the peers and the load, from now on."""

    def __init__(self, bench: Workbench, service: Running) -> None:
        self._service = service
        self._peers = {each.name: each.pid for each in (bench.provider, bench.smartico, bench.load)}
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        used = {"service": sum(map(cpu_seconds, self._service.pids))}
        if self._service.server_pid is not None:
            used["database"] = family_cpu_seconds(self._service.server_pid)
        return used | {name: cpu_seconds(pid) for name, pid in self._peers.items()}

    def cpu(self) -> dict[str, float]:
        """Seconds since then: all instances together; the server, where it is on this machine; each peer."""
        return {name: round(seconds - self._before[name], 2) for name, seconds in self._now().items()}

    def peak_rss_mb(self) -> float:
        """The most memory that the service has used since its start: the sum of its instances."""
        return round(sum(map(peak_rss_mb, self._service.pids)), 1)


@asynccontextmanager
async def open_workbench(say: Callable[[str], None]) -> AsyncIterator[Workbench]:
    """Starts the peers and the load, in a temporary folder (of $TMPDIR) that is removed at the end."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-bench-")))
        bench = Workbench(folder, say)
        bench.provider, bench.smartico, bench.load = [
            await _start(stack, name, folder) for name in ("provider", "smartico", "load")
        ]
        bench.provider_url = f"http://{HOST}:{await bench.provider.ask('listen', port=0)}"
        bench.callback_url = f"http://{HOST}:{await bench.smartico.ask('listen', port=0)}/status"
        yield bench


async def _start(stack: AsyncExitStack, name: str, folder: Path) -> Child:
    child = await Child.start(name, folder)
    stack.push_async_callback(child.stop)
    return child


async def order_load(bench: Workbench, do: str, **arguments: Any) -> dict[str, Any]:
    """An order to the load that may take long."""
    answer: dict[str, Any] = await bench.load.ask(do, LONG, **arguments)
    return answer
