"""The inner side of a child process: JSON lines in on stdin, one JSON line out for each on stdout; EOF ends it.

So a child ends with its parent, however that ended.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

__all__ = ["Command", "run_child"]

Command = Callable[..., Awaitable[Any]]
_LONGEST_LINE = 1 << 20


def run_child(commands: Callable[[], Awaitable[Mapping[str, Command]]]) -> None:
    """Makes the commands within the loop, then obeys until stdin ends. `{"do": NAME, …}` calls one by keywords."""
    import uvloop

    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes; the parent says when it is over
    uvloop.run(_obey(commands))


async def _obey(commands: Callable[[], Awaitable[Mapping[str, Command]]]) -> None:
    known = await commands()
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    _say({"answer": None})  # ready
    while line := await reader.readline():
        order = msgspec.json.decode(line)
        try:
            _say({"answer": await known[order.pop("do")](**order)})
        except Exception as error:  # noqa: BLE001 - the parent tells it
            _say({"error": f"{type(error).__name__}: {error}"})


def _say(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()
