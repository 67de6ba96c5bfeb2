"""What every scenario is given, and what several of them do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from msgspec import Struct

from bridge.bench.prepared import Kind, Prepared
from bridge.bench.subjects import BridgeSubject, Running, Subject
from bridge.bench.workbench import Workbench

__all__ = ["Alongside", "Lab", "beside"]

Alongside = Callable[[Running], Coroutine[Any, Any, None]]
_runs = count(1)


class Lab(Struct, frozen=True):
    """The workbench, its databases, what is measured, and how many messages a scenario has."""

    bench: Workbench
    prepared: Prepared
    subject: Subject
    messages: int

    async def empty_folder(self) -> Path:
        """A folder in which the subject finds nothing but its contacts."""
        if isinstance(self.subject, BridgeSubject):
            return (await self.prepared.copy(Kind.EMPTY)).folder
        return self.bench.new_folder()

    def run_name(self) -> str:
        """What makes the ids of one run differ from those of all others."""
        return f"run{next(_runs)}"


@asynccontextmanager
async def beside(alongside: Alongside | None, service: Running) -> AsyncIterator[None]:
    """Runs something while the block runs; its failure is the block's."""
    if alongside is None:
        yield
        return
    task = asyncio.create_task(alongside(service))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
