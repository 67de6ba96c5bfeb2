"""What is odd about addresses: not encrypted, out of reach for others, or hidden behind a proxy that is not believed.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from bridge.core.callback_url import NotAllowed, find_destination
from bridge.settings.model import (
    ProviderSettings,
    RevicomSettings,
    SendgridSettings,
    Settings,
    SmtpSettings,
    WebhookSettings,
)
from bridge.settings.problems import join
from bridge.settings.rules import split_url

__all__ = ["is_loopback", "odd_addresses"]

_OURS = re.compile(r"/(callbacks|smartico|ops|api|healthz|readyz)(/|$)")
_WIDE = 8  # bits; a network with fewer in its prefix is a large part of the world


def odd_addresses(settings: Settings) -> Iterator[str]:
    """One sentence for each address that may not be what is meant."""
    yield from _open_addresses(settings)
    yield from _public_url(settings)
    yield from _proxies(settings)
    yield from _callbacks(settings)


def _open_addresses(settings: Settings) -> Iterator[str]:
    for key, url in _urls(settings):
        parts = split_url(url)
        if parts is not None and parts.scheme == "http":
            yield f"{key}: http:// is not encrypted: use https:// outside of tests."
        if parts is not None and is_loopback(parts.hostname or ""):
            yield f"{key}: this is a loopback address: only this machine can reach it."
    for provider in settings.providers.values():
        if isinstance(provider, SmtpSettings) and is_loopback(provider.host):
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


def _public_url(settings: Settings) -> Iterator[str]:
    parts, key = split_url(settings.server.public_url), "server.public_url"
    if parts is None:
        return
    address = _address(parts.hostname or "")
    if address is not None and address.is_unspecified:
        yield f"{key}: {address} is only for server.host: write the name by which others reach the bridge."
    elif address is not None and address.is_private and not address.is_loopback:
        yield f"{key}: this is a private address: a provider cannot reach it from outside."
    if _OURS.search(parts.path):
        yield f"{key}: the bridge adds its own paths behind it, such as /callbacks/NAME: leave them out."
    if parts.scheme == "https" and parts.port == settings.server.port:
        yield (
            f"{key}: port {parts.port} is that of server.port, where the bridge itself speaks http: write the port at "
            "which the proxy speaks https, or none for 443."
        )
    if parts.scheme == "http" and settings.ops.secure_cookies and not is_loopback(parts.hostname or ""):
        yield "ops.secure_cookies: browsers keep the sign-in of /ops/ for https:// only, and public_url is http://."
    if parts.scheme == "https" and not settings.ops.secure_cookies:
        yield "ops.secure_cookies: false is for tests over http://: with https:// take it out."


def _proxies(settings: Settings) -> Iterator[str]:
    server = settings.server
    for place, network in enumerate(server.trusted_proxies):
        if network.prefixlen < _WIDE:
            yield (
                f"server.trusted_proxies[{place}]: {network} lets almost anybody say where they come from: "
                "name the proxies only."
            )
    if server.trusted_proxies or not (is_loopback(server.host) or server.public_url.startswith("https:")):
        return
    limited = {"smartico.allowed_ips": settings.smartico.allowed_ips}
    limited |= {
        f"{join('providers', name)}.allowed_ips": it.allowed_ips for name, it in settings.providers.items()
    }
    for key in (key for key, networks in limited.items() if networks):
        yield f"{key}: behind a proxy everybody has its address: name the proxy in server.trusted_proxies."


def _callbacks(settings: Settings) -> Iterator[str]:
    smartico = settings.smartico
    if not smartico.callback_hosts:
        yield "smartico.callback_hosts: none is allowed, so every message is refused (error_code 5): name Smartico's."
    elif smartico.fallback_callback_url:
        found = find_destination(smartico.fallback_callback_url, smartico.callback_hosts, allow_insecure=True)
        if isinstance(found, NotAllowed):
            yield f"smartico.fallback_callback_url: it {found.reason}, so it would be refused: add the host there."


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its address or its name."""
    address = _address(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
