"""What the reports to one host have in common: a breaker, a bound on requests in flight, a pace."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bridge.core.breaker import Breaker
from bridge.flows.status import API_KEY_REFUSED, DOWN, HostState
from bridge.secret import Secret

__all__ = ["Host", "Hosts", "state_of"]


class Host:
    """One host. `max_per_second` 0: no pace."""

    def __init__(self, name: str, max_in_flight: int, max_per_second: float) -> None:
        self.name = name
        self.breaker = Breaker(8, first=1.0, longest=10.0)
        self.slots = asyncio.Semaphore(max_in_flight)
        self._gap = 1 / max_per_second if max_per_second else 0.0
        self._next = 0.0

    async def pace(self, stopped: asyncio.Event) -> None:
        """Waits for this host's next turn, where there is a pace; no longer than until the lane is stopped."""
        if self._gap:
            now = asyncio.get_running_loop().time()
            self._next = max(now, self._next + self._gap)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), self._next - now)


class Hosts:
    """Every host that reports went to, and the pauses of those that refuse an api_key."""

    def __init__(self, max_in_flight: int, max_per_second: float) -> None:
        self._max_in_flight = max_in_flight
        self._max_per_second = max_per_second
        self._hosts: dict[str, Host] = {}
        self._pauses: dict[tuple[str, str], Breaker] = {}

    def host(self, name: str) -> Host:
        if name not in self._hosts:
            self._hosts[name] = Host(name, self._max_in_flight, self._max_per_second)
        return self._hosts[name]

    def pause(self, host: str, api_key: Secret) -> Breaker:
        """The breaker that a 401 or 403 opens: one for a host together with a key."""
        return self._pauses.setdefault((host, api_key.reveal()), Breaker(1, first=1.0, longest=15.0))

    def alone(self) -> list[HostState]:
        """Hosts that get nothing now but a probe; one that refuses two keys is there twice."""
        down = [
            state_of(name, host.breaker, DOWN) for name, host in self._hosts.items() if host.breaker.is_open
        ]
        refused = [
            state_of(host, pause, API_KEY_REFUSED)
            for (host, _), pause in self._pauses.items()
            if pause.is_open
        ]
        return down + refused


def state_of(host: str, breaker: Breaker, what: str) -> HostState:
    """Why a host is left alone, of a breaker that is open."""
    return HostState(host, breaker.reason, breaker.since, breaker.next_try_at, what)
