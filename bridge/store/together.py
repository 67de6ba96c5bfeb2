"""Many callers, one transaction: what arrives at the same time is stored as a list.

A statement for fifty rows costs little more than one for a single row, and so does a commit. Nobody waits for others to
come: whoever finds nothing under way begins at once, and what comes meanwhile goes next, together.

Nobody waits without end either. While the database is slower than the callers, or hangs, who comes is sent away at once
rather than late, so that those who wait already are served, and the first one after the flood is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bridge.errors import StoreBusyError, StoreError
from bridge.store.tx import Store, Tx

__all__ = ["Together"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 2  # transactions: while one is being committed the next one is being written
_MOST = 100  # items in one
_CROWDED = 1.0  # seconds that the next one in line has waited: then nobody else may queue
_PATIENCE = 10.0  # seconds until a caller is told that it failed
_BUSY = "The database cannot keep up: others have waited for too long already."
_HANGS = "The database cannot be used now: it does not answer in time."


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    """A caller, and since when it waits, in the loop's time."""

    item: Item
    future: asyncio.Future[Result]
    since: float


class Together(Generic[Item, Result]):
    """`job` stores a list of items, and gives a result for each."""

    def __init__(
        self, store: Store, job: Callable[[Tx, Sequence[Item]], Coroutine[Any, Any, Sequence[Result]]]
    ) -> None:
        self._store = store
        self._job = job
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, item: Item) -> Result:
        """The result for the item, after the commit. Raises StoreError, or what the job raises for this item.

        StoreBusyError: certainly nothing was stored. A StoreError because of the time leaves that open.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._waiting and now - self._waiting[0].since > _CROWDED:
            raise StoreBusyError(_BUSY)
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append(_Waiting(item, future, now))
        if len(self._running) < _AT_ONCE:
            task = asyncio.create_task(self._run(), name="together")
            self._running.add(task)
        try:
            async with asyncio.timeout_at(now + _PATIENCE):
                return await future
        except TimeoutError:
            raise StoreError(_HANGS) from None

    async def _run(self) -> None:
        """Until nobody waits. It leaves in the same breath as it sees that: who comes then begins anew."""
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
                await self._store_group([each for each in group if not each.future.done()])  # others gave up
        finally:
            self._running.discard(asyncio.current_task())

    async def _store_group(self, group: Sequence[_Waiting[Item, Result]]) -> None:
        """Should it fail for another reason than the database, each is stored by itself: one harms no other."""
        if not group:
            return
        items = [each.item for each in group]
        try:
            results = await self._store.write(lambda tx: self._job(tx, items))
            pairs = list(zip(group, results, strict=True))
        except Exception as error:
            if isinstance(error, StoreError) or len(group) == 1:
                for each in group:
                    if not each.future.done():
                        each.future.set_exception(error)
                return
            for each in group:
                await self._store_group([each])
            return
        for each, result in pairs:
            if not each.future.done():
                each.future.set_result(result)
