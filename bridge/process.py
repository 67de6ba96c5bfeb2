"""The life of a `bridge serve` process: its database, once that is there; the service; signals, and the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import structlog

from bridge import __version__
from bridge.app import Role, Service, listen
from bridge.assembly import open_database
from bridge.errors import StoreAwayError
from bridge.settings import Settings
from bridge.store.sqlite import SqliteStore
from bridge.store.tx import Store
from bridge.web.server import WebServer
from bridge.web.waiting import WaitingRoom

__all__ = ["serve"]

_log = structlog.get_logger()
_LEAVE = 0.1  # seconds for what is left over at the end
_AWAY_PAUSE = 1.0  # seconds between looks whether the database is there


async def serve(
    settings: Settings, *, host: str, port: int, role: Role, started: Callable[[Service], None]
) -> None:
    """Runs the service until SIGTERM or SIGINT; a second signal ends the process at once. Raises BridgeError."""
    stopping = asyncio.Event()
    _listen_to_signals(stopping)
    store = await _open_when_there(settings, host, port, role, stopping)
    if store is None:
        return
    try:
        service = Service(settings, store, host=host, port=port, role=role)
    except BaseException:
        await store.close()
        raise
    await service.start()
    if isinstance(store, SqliteStore) and store.lock:
        store.lock.note({"url": service.url, "version": __version__})
    started(service)
    await stopping.wait()
    _log.info("stopping")
    await service.stop()
    _log.info("stopped")
    await _leave()


async def _leave() -> None:
    """Ends the process where something holds on: a driver that waits for a server that hangs, say. All is stored."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others and (await asyncio.wait(others, timeout=_LEAVE))[1]:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


async def _open_when_there(
    settings: Settings, host: str, port: int, role: Role, stopping: asyncio.Event
) -> Store | None:
    """The database; None: the process was asked to stop before it could be reached.

    Should its server be away for a while, health checks are answered meanwhile: ending would only be a crash loop.
    """
    try:
        return await open_database(settings, worker=role != "web")
    except StoreAwayError as error:
        room = WaitingRoom()
        listening = listen(host, port)
        server = WebServer(room, host, port)
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="waiting")
        try:
            return await _ask_until_there(settings, role, stopping, room, error)
        finally:
            server.stop_within(0.5)
            await serving
            listening.close()


async def _ask_until_there(
    settings: Settings, role: Role, stopping: asyncio.Event, room: WaitingRoom, error: StoreAwayError
) -> Store | None:
    while not stopping.is_set():
        room.reason = error.sentence
        _log.error("the database cannot be reached; trying again", error=error.sentence)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _AWAY_PAUSE)
        try:
            return await open_database(settings, worker=role != "web")
        except StoreAwayError as again:
            error = again
    return None


def _listen_to_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def asked(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
