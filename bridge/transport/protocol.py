"""What a transport is to the rest of the bridge."""

from __future__ import annotations

from typing import Protocol

from bridge import __version__
from bridge.core.exchange import Outcome, Request

__all__ = ["CONNECT_WITHIN", "MAX_ANSWER", "MAX_REPORT_ANSWER", "USER_AGENT", "Transport"]

MAX_ANSWER = 4 * 1024 * 1024  # bytes
MAX_REPORT_ANSWER = 256 * 1024  # to a status report; it has twenty bytes, and very many may be under way
CONNECT_WITHIN = 10.0  # seconds
USER_AGENT = f"bridge/{__version__}"


class Transport(Protocol):
    """Performs exchanges. Never raises for what a peer does."""

    async def exchange(self, request: Request) -> Outcome:
        """The answer, or why there is none."""

    async def close(self) -> None:
        """Lets go of all connections."""
