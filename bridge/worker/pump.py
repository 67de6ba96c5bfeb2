"""What all pumps share: a loop that works until there is nothing to do, sleeps until it is woken or something is due,
survives a database that is away for a while, and stops in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from bridge.errors import StoreError

__all__ = ["Pump"]

T = TypeVar("T")

_log = structlog.get_logger()
_STORE_PAUSE = 1.0  # seconds between tries while the database is away


class Pump:
    """Subclasses say in `step` what one round is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopping = False
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def step(self) -> float | None:
        """Does or starts what is due. Gives the seconds until there may be more (0: at once; None: when woken)."""
        raise NotImplementedError

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    async def run(self) -> None:
        """Works until `stop`."""
        while not self.stopping:
            self._woken.clear()
            wait = await self._guarded_step()
            if wait != 0.0 and not self.stopping:
                await self._sleep(wait)

    async def stop(self) -> None:
        """Starts nothing new; what is under way goes on."""
        self.stopping = True
        self.wake()

    async def drain(self) -> None:
        """Waits for what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def abandon(self) -> None:
        """Ends what is under way: the store says what has to be taken up again at the next start."""
        for task in self._tasks:
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs work beside the loop; an error in it is logged, and costs only that work."""
        task = asyncio.create_task(work, name=self.name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def insist(self, store_work: Callable[[], Awaitable[T]]) -> T:
        """Repeats a write until the database takes it: an outcome that is known must not be lost."""
        while True:
            try:
                return await store_work()
            except StoreError as error:
                _log.error(
                    "the database cannot be written; trying again", pump=self.name, error=error.sentence
                )
                await asyncio.sleep(_STORE_PAUSE)

    async def _guarded_step(self) -> float | None:
        try:
            return await self.step()
        except StoreError as error:
            _log.error("the database cannot be used; trying again", pump=self.name, error=error.sentence)
        except Exception:
            _log.exception("a pump failed; it goes on", pump=self.name)
        return _STORE_PAUSE

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("work failed", pump=self.name, exc_info=error)
        self.wake()
