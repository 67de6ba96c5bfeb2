"""What a provider is that cannot be asked: the half of the protocol that says nothing."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.core.exchange import Outcome, Request
from bridge.providers.protocol import LookupResult, NoTrace, OutgoingMessage, TellResult, Told

__all__ = ["NeverAsked"]


class NeverAsked:
    """For a provider to stand on: it knows neither whether it has a message, nor how one ended."""

    asks: bool = False

    def build_lookup(self, message: OutgoingMessage) -> None:
        """It cannot be asked."""

    def parse_lookup(self, message: OutgoingMessage, outcome: Outcome) -> LookupResult:
        """It cannot be asked."""
        return NoTrace()

    def build_tell(self, ids: Sequence[str]) -> Sequence[Request]:
        """It cannot be asked."""
        return ()

    def parse_tell(self, ids: Sequence[str], outcomes: Sequence[Outcome]) -> TellResult:
        """It cannot be asked."""
        return Told(frozenset(), {})
