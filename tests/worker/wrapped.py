"""A store around another one, for tests that watch or hold up some of its work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bridge.store.tx import Job, Store

__all__ = ["WrappedStore"]

T = TypeVar("T")


class WrappedStore:
    """Hands everything on."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.vault = store.vault
        self.lease_seconds = store.lease_seconds

    async def write(self, job: Job[T]) -> T:
        return await self.store.write(job)

    async def read(self, job: Job[T]) -> T:
        return await self.store.read(job)

    async def search(self, job: Job[T]) -> T:
        return await self.store.search(job)

    async def claim(self, job: Job[T]) -> T:
        return await self.store.claim(job)

    async def check(self) -> None:
        await self.store.check()

    def tell(self, topic: str) -> None:
        self.store.tell(topic)

    def listen(self, heard: Callable[[str], None]) -> None:
        self.store.listen(heard)

    async def close(self) -> None:
        await self.store.close()
