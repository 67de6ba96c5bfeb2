"""Wakes the workers of other processes, over LISTEN and NOTIFY. Whoever is not woken finds the work by looking."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import structlog

__all__ = ["ANYTHING", "Bell"]

ANYTHING = ""  # the topic after a while in which nothing could be heard
_log = structlog.get_logger()
_CHANNEL = "bridge"
_GATHER = 0.01  # seconds: NOTIFY takes a lock that all commits of the server share, so a burst becomes one
_PAUSE = 1.0  # seconds between tries to hear again
_ALIVE_EVERY = 5.0  # seconds between looks whether the connection still answers

Connect = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]


class Bell:
    """`me` is told apart from others: nobody hears itself."""

    def __init__(self, connect: Connect, me: str) -> None:
        self._connect = connect
        self._me = me
        self._topics: set[str] = set()
        self._heard: Callable[[str], None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._ringing: asyncio.Task[None] | None = None

    def listen(self, heard: Callable[[str], None]) -> None:
        """From now on `heard` gets the topics of others."""
        self._heard = heard
        self._listening = asyncio.create_task(self._listen(), name="listen")

    def ring(self, topic: str, say: Callable[[str], Awaitable[None]]) -> None:
        """Tells the others by `say`, those of ten milliseconds at once."""
        self._topics.add(topic)
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring(say), name="notify")

    async def close(self) -> None:
        for task in (self._listening, self._ringing):
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _ring(self, say: Callable[[str], Awaitable[None]]) -> None:
        while self._topics:
            await asyncio.sleep(_GATHER)
            topics, self._topics = self._topics, set()
            try:
                await say(f"{self._me} {' '.join(sorted(topics))}")
            except Exception as error:  # the others look by themselves
                _log.warning("other instances could not be woken", error=type(error).__name__)
                return

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except Exception as error:
                _log.warning("other instances cannot be heard", error=type(error).__name__)
            await asyncio.sleep(_PAUSE)

    async def _listen_once(self) -> None:
        connection = await self._connect()
        try:
            await connection.add_listener(_CHANNEL, self._notified)
            self._tell(ANYTHING)
            while True:
                await asyncio.sleep(_ALIVE_EVERY)
                await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        sender, *topics = str(payload).split(" ")
        if sender != self._me:
            for topic in topics:
                self._tell(topic)

    def _tell(self, topic: str) -> None:
        if self._heard:
            self._heard(topic)


NOTIFY = f"SELECT pg_notify('{_CHANNEL}', $1)"
