"""`bridge serve` as a real process: started, killed, made to die at a commit, started again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx

from bench.soak.dying import VARIABLE, deaths_file
from bench.soak.scene import Settings, settings_text
from bridge.bench.processes import end_process, spawn, tail
from bridge.errors import BridgeError
from bridge.sim import free_port

__all__ = ["ROOT", "START", "Bridge"]

ROOT = Path(__file__).resolve().parents[2]
START = 240.0  # seconds; the first one compiles the program, on a machine that may be busy


class Bridge:
    """One instance; a start is the launcher of `dying`, so that it can be told to die at a commit."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.point = folder / f"{name}.point"
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._settings = folder / f"{name}.toml"
        self._process: asyncio.subprocess.Process | None = None

    def write_settings(self, settings: Settings) -> None:
        self._settings.write_text(settings_text(settings))

    async def start(self) -> None:
        """Starts the process; `ready` says when it is."""
        command = [sys.executable, "-m", "bench.soak.dying", "serve", "--config", str(self._settings)]
        more = {"PYTHONPATH": str(ROOT), VARIABLE: str(self.point)}
        self._process = await spawn(
            command, self._log, compiled=self._folder / "compiled", talks=False, more=more
        )

    async def ready(self) -> bool:
        """Waits until it is ready; False where it died before, as it was told to."""
        end = asyncio.get_running_loop().time() + START
        async with httpx.AsyncClient(timeout=5) as client:
            while self.running:
                try:
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        return True
                except httpx.HTTPError:
                    pass  # it does not listen yet
                if asyncio.get_running_loop().time() > end:
                    raise BridgeError(f"{self.name} is not ready after {START:.0f} s: {tail(self._log)}")
                await asyncio.sleep(0.02)
        assert self._process is not None
        if self._process.returncode != -9:
            raise BridgeError(f"{self.name} ended by itself: {tail(self._log)}")
        return False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self.running:
            self._process.kill()
            await self._process.wait()

    def aim(self, point: str) -> None:
        """Names the commit at which it dies: "before 3 any"."""
        fresh = self.point.with_suffix(".new")
        fresh.write_text(point)
        fresh.replace(self.point)

    def spare(self) -> None:
        """It dies at no commit any more."""
        self.point.unlink(missing_ok=True)

    async def died(self, within: float) -> bool:
        """Whether it dies in so many seconds."""
        assert self._process is not None
        try:
            await asyncio.wait_for(self._process.wait(), within)
        except TimeoutError:
            return False
        return True

    def deaths(self) -> list[str]:
        """At which commits it died so far: "before 1 any: add_message add_send"."""
        file = deaths_file(self.point)
        return file.read_text().splitlines() if file.exists() else []

    async def stop(self) -> int:
        """An orderly stop; gives the exit code."""
        return 0 if self._process is None else await end_process(self._process)
