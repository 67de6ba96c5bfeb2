"""What the flows go by: the settings and tables that decide what a message, a callback or a report leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from bridge.core.lifecycle import Vocabulary
from bridge.core.mapping import ProviderMapping
from bridge.core.model import Millis
from bridge.providers.protocol import Provider

__all__ = ["GatewayRules", "ProviderRules", "ReportRules", "Rules", "opt_out_keyword", "text_words"]


class GatewayRules(Struct, frozen=True):
    """What one gateway asks of the messages that came through it. Times in milliseconds."""

    ttl_seconds: int
    short_links: bool
    max_age_ms: int
    cascade_steps: int


class ProviderRules(Struct, frozen=True):
    """What decides over perhaps-sent messages of one provider. `unknown_send`: review, resend or fail.

    `silent_after_ms`: how long after the last news of a message its end is overdue; 0: it never is.
    """

    timeout_ms: int
    unknown_after_ms: int
    unknown_send: str
    silent_after_ms: int = 0

    def patience_ms(self, *, asks: bool) -> int:
        """How long a missing trace decides nothing, from the hand-over on. `asks`: the provider can be asked.

        Where it cannot, and a message without trace is sent again, there is nothing to wait for.
        """
        return self.timeout_ms + self.unknown_after_ms if asks or self.unknown_send != "resend" else 0


class ReportRules(Struct, frozen=True):
    """When a status report is tried again, in seconds, and when it is too old."""

    retry_schedule: Sequence[float]
    not_found_schedule: Sequence[float]
    max_age_ms: int


class Rules(Struct, frozen=True):
    """Everything, by name of the gateway or provider. A gateway that left the settings keeps `default_gateway`."""

    providers: Mapping[str, Provider]
    provider_rules: Mapping[str, ProviderRules]
    mappings: Mapping[str, ProviderMapping]
    vocabulary: Vocabulary
    gateways: Mapping[str, GatewayRules]
    default_gateway: GatewayRules
    reports: ReportRules
    keywords: frozenset[str]
    settle_ms: int
    contacts_elsewhere: bool = False  # the operator's platform has them, not our table
    forwards: frozenset[str] = frozenset()  # which kinds are passed on: communication, inbound

    def gateway(self, name: str) -> GatewayRules:
        return self.gateways.get(name, self.default_gateway)

    def silent_after(self) -> dict[str, Millis]:
        """The providers whose messages may be silent, and after how long they are."""
        rules = self.provider_rules.items()
        return {name: each.silent_after_ms for name, each in rules if each.silent_after_ms}


def opt_out_keyword(text: str, keywords: frozenset[str]) -> str:
    """The opt-out keyword that a text begins with, in upper case; empty where it begins with none.

    The first word counts, in any case, without its punctuation: " stop!" and "STOP, please" both do.
    """
    words = text_words(text)
    return words[0] if words and words[0] in keywords else ""


def text_words(text: str) -> list[str]:
    """The words of a text in upper case, without punctuation: "Opt-out, please" has OPTOUT and PLEASE."""
    return (
        "".join(each if each.isalnum() else "" if each in "'’`´-_" else " " for each in text).upper().split()
    )
