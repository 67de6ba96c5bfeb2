"""Connections that only read: one in the event loop for quick looks, and threads, for searches may take long."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from typing import Any, TypeVar

from bridge.errors import StoreError
from bridge.pii import Vault
from bridge.store.sqlite.engine import CLOSED, SqliteTx, run_job, translate
from bridge.store.tx import Job

__all__ = ["Jobs", "Looker", "Reader"]

T = TypeVar("T")
Jobs = queue.SimpleQueue["tuple[Job[Any], asyncio.AbstractEventLoop, asyncio.Future[Any]] | None"]


class Looker:
    """Runs quick jobs at once, in the event loop, on a read-only connection."""

    def __init__(self, connection: sqlite3.Connection, vault: Vault) -> None:
        self._connection = connection
        self._tx = SqliteTx(connection, vault)
        self._closed = False

    def run(self, job: Job[T]) -> T:
        if self._closed:
            raise StoreError(CLOSED)
        try:
            return run_job(job, self._tx)
        except sqlite3.Error as error:
            raise translate(error) from error

    def close(self) -> None:
        self._closed = True
        self._connection.close()


class Reader:
    """A thread that runs jobs on a read-only connection. They share a queue, so that a slow job holds up none."""

    def __init__(self, connection: sqlite3.Connection, vault: Vault, name: str, jobs: Jobs) -> None:
        self._connection = connection
        self._tx = SqliteTx(connection, vault)
        self._jobs = jobs
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Job[T]) -> T:
        if self._closed:
            raise StoreError(CLOSED)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((job, loop, future))
        return await future

    def end(self) -> None:
        """Takes nothing any more. Threads that share a queue must all be told before one is waited for."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)

    async def close(self) -> None:
        """Runs what waits, then closes the connection."""
        self.end()
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _loop(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, loop, future = item
            try:
                value: Any = run_job(job, self._tx)
            except Exception as error:
                value = translate(error)
            try:
                loop.call_soon_threadsafe(_resolve, future, value)
            except RuntimeError:
                continue  # the loop is closed: nobody waits any more


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if future.cancelled():
        return
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)
