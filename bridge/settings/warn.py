"""What the settings allow but an operator should know of: one sentence each, and never a secret.

Pure. `bridge check` and the start of the service print these; nothing depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from bridge.settings.model import (
    GatewaySettings,
    ProviderSettings,
    RevicomSettings,
    SendgridSettings,
    Settings,
    SmtpSettings,
    WebhookSettings,
)
from bridge.settings.rules import split_url

__all__ = ["warnings_of"]

_UNCHANGED_SENDERS = GatewaySettings(name="").senders


def warnings_of(settings: Settings) -> tuple[str, ...]:
    """The sentences for these settings, each beginning with a key path."""
    return (*_open_addresses(settings), *_risky_choices(settings))


def _open_addresses(settings: Settings) -> Iterator[str]:
    for key, url in _urls(settings):
        parts = split_url(url)
        if parts is not None and parts.scheme == "http":
            yield f"{key}: http:// is not encrypted: use https:// outside of tests."
        if parts is not None and _is_loopback(parts.hostname or ""):
            yield f"{key}: this is a loopback address: only this machine can reach it."
    for provider in settings.providers.values():
        if isinstance(provider, SmtpSettings) and _is_loopback(provider.host):
            yield f"providers.{provider.name}.host: this is a loopback address: only this machine can reach it."


def _urls(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "server.public_url", settings.server.public_url
    yield "smartico.fallback_callback_url", settings.smartico.fallback_callback_url
    yield "contacts.http.url", settings.contacts.http.url
    yield from (_provider_url(provider) for provider in settings.providers.values())
    yield "inbound.forward_url", settings.inbound.forward_url
    if settings.communications is not None:
        yield "communications.forward_url", settings.communications.forward_url


def _provider_url(provider: ProviderSettings) -> tuple[str, str]:
    match provider:
        case RevicomSettings() | SendgridSettings():
            return f"providers.{provider.name}.base_url", provider.base_url
        case WebhookSettings():
            return f"providers.{provider.name}.url", provider.url
        case SmtpSettings():
            return f"providers.{provider.name}.host", ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _risky_choices(settings: Settings) -> Iterator[str]:
    if settings.smartico.allow_insecure_callbacks:
        yield (
            "smartico.allow_insecure_callbacks: callbacks may go to http:// and loopback addresses: "
            "leave this to tests and the demo."
        )
    for provider in settings.providers.values():
        if isinstance(provider, SendgridSettings) and not (
            provider.webhook_public_key or provider.callback_password
        ):
            yield (
                f"providers.{provider.name}: without webhook_public_key (or callback_password) "
                "none of its events can be believed."
            )
    for gateway in settings.gateways.values():
        if gateway.type == "sms" and gateway.senders == _UNCHANGED_SENDERS:
            yield (
                f'gateways.{gateway.name}.senders: the default sender is still "{_UNCHANGED_SENDERS[0]}": '
                "write the sender names that the provider has approved."
            )
