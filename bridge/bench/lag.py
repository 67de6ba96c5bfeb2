"""How far the inbox is behind, as `/metrics` tells."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import Any

from bridge.bench.scene import HOST
from bridge.bench.subjects import Running
from bridge.bench.wire import request_bytes

__all__ = ["Lag"]

_EVERY = 0.5  # seconds: a look costs the service some milliseconds
_WHILE_WAITING = 0.05
_METRICS = request_bytes("GET", "/metrics", HOST)
_LONGEST = 120.0  # what is not applied by then is counted as lost later


class Lag:
    """The worst that was seen."""

    def __init__(self) -> None:
        self._lag = 0.0
        self._waiting = 0
        self._longest = 0.0

    async def watch(self, service: Running) -> None:
        """Looks every now and then, until it is cancelled."""
        while True:
            await self._look(service)
            await asyncio.sleep(_EVERY)

    async def applied(self, service: Running) -> int:
        """How many elements the service has applied since its start."""
        pages = await self._look(service)
        return sum(int(_value(page, b"bridge_callback_elements_total")) for page in pages)

    async def wait(self, service: Running, goal: int, since_ns: int) -> float:
        """Until so many are applied: seconds since the last callback was answered."""
        end = monotonic_ns() + int(_LONGEST * 1e9)
        while await self.applied(service) < goal and monotonic_ns() < end:
            await asyncio.sleep(_WHILE_WAITING)
        took = round(max(0, monotonic_ns() - since_ns) / 1e9, 3)
        self._longest = max(self._longest, took)
        return took

    async def _look(self, service: Running) -> list[bytes]:
        """The metrics of each instance. What waits waits for all of them, so the most that one has seen counts."""
        pages = [(await each.ask(_METRICS))[1] for each in service.instances]
        for page in pages:
            self._waiting = max(self._waiting, int(_value(page, b"bridge_inbox_waiting")))
            self._lag = max(self._lag, _value(page, b"bridge_inbox_lag_seconds"))
        return pages

    @property
    def seconds(self) -> float:
        """The age of the oldest element that waited, or how long the last ones did: the greater of the two."""
        return round(max(self._lag, self._longest), 3)

    def figures(self) -> dict[str, Any]:
        return {
            "lag_seconds": self.seconds,
            "lag_seconds_of_metrics": round(self._lag, 3),
            "elements_waiting": self._waiting,
        }


def _value(text: bytes, name: bytes) -> float:
    for line in text.splitlines():
        if line.startswith(name + b" "):
            return float(line.split()[1])
    return 0.0
