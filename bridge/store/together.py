"""Many callers, one transaction: what arrives at the same time is stored as a list.

A statement for fifty rows costs little more than one for a single row, and so does a commit. Nobody waits for others to
come: whoever finds nothing under way begins at once, and what comes meanwhile goes next, together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from bridge.errors import StoreError
from bridge.store.tx import Store, Tx

__all__ = ["Together"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 2  # transactions: while one is being committed the next one is being written
_MOST = 100  # items in one


class Together(Generic[Item, Result]):
    """`job` stores a list of items, and gives a result for each."""

    def __init__(
        self, store: Store, job: Callable[[Tx, Sequence[Item]], Coroutine[Any, Any, Sequence[Result]]]
    ) -> None:
        self._store = store
        self._job = job
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, item: Item) -> Result:
        """The result for the item, after the commit. Raises StoreError, or what the job raises for this item."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._running) < _AT_ONCE:
            task = asyncio.create_task(self._run(), name="together")
            self._running.add(task)
        return await future

    async def _run(self) -> None:
        """Until nobody waits. It leaves in the same breath as it sees that: who comes then begins anew."""
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
                await self._store_group(group)
        finally:
            self._running.discard(asyncio.current_task())

    async def _store_group(self, group: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Should it fail for another reason than the database, each is stored by itself: one harms no other."""
        items = [item for item, _ in group]
        try:
            results = await self._store.write(lambda tx: self._job(tx, items))
            pairs = list(zip(group, results, strict=True))
        except Exception as error:
            if isinstance(error, StoreError) or len(group) == 1:
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
                return
            for each in group:
                await self._store_group([each])
            return
        for (_, future), result in pairs:
            if not future.done():
                future.set_result(result)
