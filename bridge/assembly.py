"""From settings to the values that the rest goes by: providers, tables, rules, the database. Starts nothing.

Apart from `app`, so that a command that changes the database does not load the web server.
"""

from __future__ import annotations

from collections.abc import Mapping

from bridge.core.lifecycle import Vocabulary
from bridge.core.mapping import ProviderMapping
from bridge.errors import StoreError
from bridge.flows.accepting import Gateway
from bridge.flows.rules import GatewayRules, ProviderRules, ReportRules, Rules, text_words
from bridge.providers import PROVIDERS
from bridge.providers.protocol import Provider
from bridge.settings import GatewaySettings, ProviderSettings, Settings
from bridge.store.sqlite import SqliteStore, open_store
from bridge.tables import load_mapping, load_vocabulary

__all__ = [
    "accepting_gateway",
    "build_providers",
    "build_rules",
    "built_gateways",
    "built_providers",
    "open_database",
]


def built_providers(settings: Settings) -> dict[str, ProviderSettings]:
    """The configured providers that this version can use."""
    return {name: each for name, each in settings.providers.items() if each.adapter in PROVIDERS}


def built_gateways(settings: Settings) -> dict[str, GatewaySettings]:
    """The configured gateways that this version can use."""
    providers = built_providers(settings)
    return {
        name: each
        for name, each in settings.gateways.items()
        if each.type == "sms" and each.provider in providers
    }


def build_providers(settings: Settings, public_url: str) -> dict[str, Provider]:
    """The providers, by name. `public_url`: where they can reach us."""
    return {
        name: PROVIDERS[each.adapter](each, public_url) for name, each in built_providers(settings).items()
    }


def build_tables(settings: Settings) -> tuple[dict[str, ProviderMapping], Vocabulary]:
    """The mapping tables, by provider, and Smartico's words. Raises SettingsError."""
    folder = settings.mappings_path()
    tables = {name: load_mapping(each.adapter, folder) for name, each in built_providers(settings).items()}
    return tables, load_vocabulary(folder)


def build_rules(settings: Settings, providers: Mapping[str, Provider]) -> Rules:
    """What the flows go by. Raises SettingsError for wrong mapping tables."""
    mappings, vocabulary = build_tables(settings)
    smartico = settings.smartico
    return Rules(
        providers=providers,
        provider_rules={name: _provider_rules(each) for name, each in built_providers(settings).items()},
        mappings=mappings,
        vocabulary=vocabulary,
        gateways={name: _gateway_rules(each) for name, each in settings.gateways.items()},
        default_gateway=GatewayRules(0, False, 24 * 3_600_000, 1),
        reports=ReportRules(
            smartico.retry_schedule,
            smartico.not_found_schedule,
            round(smartico.report_max_age_hours * 3_600_000),
        ),
        keywords=frozenset("".join(text_words(each)) for each in settings.opt_out.keywords),
        settle_ms=round(smartico.settle_seconds * 1000) + _ANSWER_MARGIN_MS,
    )


# `settle_seconds` counts from the answer, and a message's time is taken just before its commit.
_ANSWER_MARGIN_MS = 100


def _provider_rules(provider: ProviderSettings) -> ProviderRules:
    return ProviderRules(
        round(provider.timeout_seconds * 1000),
        round(provider.unknown_after_seconds * 1000),
        provider.unknown_send,
    )


def _gateway_rules(gateway: GatewaySettings) -> GatewayRules:
    return GatewayRules(
        round(gateway.ttl_seconds),
        gateway.short_links,
        round(gateway.max_age_hours * 3_600_000),
        gateway.cascade_steps,
    )


def accepting_gateway(settings: Settings, gateway: GatewaySettings) -> Gateway:
    return Gateway(
        name=gateway.name,
        type=gateway.type,
        channel=gateway.channel,
        provider=gateway.provider,
        senders=gateway.senders,
        max_age_ms=round(gateway.max_age_hours * 3_600_000),
        callback_hosts=settings.smartico.callback_hosts,
        allow_insecure_callbacks=settings.smartico.allow_insecure_callbacks,
        fallback_callback_url=settings.smartico.fallback_callback_url,
    )


def open_database(settings: Settings) -> SqliteStore:
    """Becomes the owner of the database. Raises StoreError."""
    if not settings.database.is_sqlite:
        raise StoreError("PostgreSQL is not built in this version: set database.url to sqlite:///bridge.db.")
    return open_store(settings.database_path(), settings.database.pii_key.reveal())
