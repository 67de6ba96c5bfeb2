"""From settings to the values that the rest goes by: providers, tables, rules, the database. Starts nothing.

Apart from `app`, so that a command that changes the database does not load the web server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bridge.contacts import Directory
from bridge.core.lifecycle import Vocabulary
from bridge.core.mapping import ProviderMapping
from bridge.errors import StoreError
from bridge.flows.accepting import Gateway
from bridge.flows.rules import GatewayRules, ProviderRules, ReportRules, Rules, text_words
from bridge.providers import PROVIDERS
from bridge.providers.protocol import Provider
from bridge.settings import GatewaySettings, ProviderSettings, Settings
from bridge.settings.model import SendgridSettings
from bridge.store.sqlite import open_store
from bridge.store.tx import Store
from bridge.tables import load_mapping, load_vocabulary

if TYPE_CHECKING:
    from bridge.store.postgres import PostgresStore

__all__ = [
    "accepting_gateway",
    "build_directory",
    "build_providers",
    "build_rules",
    "built_gateways",
    "built_providers",
    "open_database",
    "open_shared",
]


def built_providers(settings: Settings) -> dict[str, ProviderSettings]:
    """The configured providers that this version can use."""
    return {name: each for name, each in settings.providers.items() if each.adapter in PROVIDERS}


def built_gateways(settings: Settings) -> dict[str, GatewaySettings]:
    """The configured gateways that this version can use."""
    providers = built_providers(settings)
    return {name: each for name, each in settings.gateways.items() if each.provider in providers}


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
        provider_rules={
            name: _provider_rules(each, mappings[name]) for name, each in built_providers(settings).items()
        },
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
        contacts_elsewhere=settings.contacts.source == "http",
        forwards=_forwards(settings),
    )


def _forwards(settings: Settings) -> frozenset[str]:
    communications = settings.communications
    urls = {
        "communication": communications.forward_url if communications else "",
        "inbound": settings.inbound.forward_url,
    }
    return frozenset(kind for kind, url in urls.items() if url)


# `settle_seconds` counts from the answer, and a message's time is taken just before its commit.
_ANSWER_MARGIN_MS = 100


def _provider_rules(provider: ProviderSettings, mapping: ProviderMapping) -> ProviderRules:
    return ProviderRules(
        round(provider.timeout_seconds * 1000),
        round(provider.unknown_after_seconds * 1000),
        provider.unknown_send,
        round(provider.silent_after_hours * 3_600_000) if _tells_ends(provider, mapping) else 0,
    )


def _tells_ends(provider: ProviderSettings, mapping: ProviderMapping) -> bool:
    """Whether the provider ever tells how a message ended: its table has words for that, and it may call back."""
    signed = isinstance(provider, SendgridSettings) and bool(provider.webhook_public_key)
    return mapping.tells_ends and (signed or bool(provider.callback_password))


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
        pass_headers=gateway.pass_headers,
    )


def build_directory(settings: Settings) -> Directory | None:
    """How the operator's platform is asked for contacts; None where they are in the table."""
    if settings.contacts.source != "http":
        return None
    http = settings.contacts.http
    return Directory(
        http.url, http.headers, http.phone, http.email, http.timeout_seconds, settings.contacts.default_region
    )


async def open_database(settings: Settings, *, worker: bool = True) -> Store:
    """Opens the database to change it: becomes the owner of a SQLite file, or one of several on PostgreSQL.

    `worker`: this process takes work on. Raises StoreError.
    """
    database = settings.database
    if database.is_sqlite:
        return open_store(settings.database_path(), *database.reveal_keys())
    return await open_shared(settings, worker=worker)


async def open_shared(settings: Settings, *, worker: bool, make: bool = True) -> PostgresStore:
    """Opens a PostgreSQL database; see `bridge.store.postgres.open_store`. Raises StoreError."""
    try:
        from bridge.store import postgres
    except ImportError as error:
        raise StoreError(
            "database.url names PostgreSQL, and asyncpg is not installed: install bridge[postgres]."
        ) from error
    database = settings.database
    return await postgres.open_store(
        database.url.reveal(),
        *database.reveal_keys(),
        lease_seconds=database.lease_seconds,
        worker=worker,
        make=make,
    )
