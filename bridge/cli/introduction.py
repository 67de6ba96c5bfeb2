"""What `bridge serve` prints once it answers: one screen that says what runs, where, and what is off and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bridge import __version__

if TYPE_CHECKING:
    from bridge.settings import Settings

__all__ = ["introduction"]

_WIDTH = 11


def introduction(settings: Settings, url: str, role: str) -> str:
    """The screen. `url`: where the service answers. It holds no secret."""
    lines = [f"bridge serves {url}, version {__version__}, role {role}"]
    for name, values in (
        ("database", [_database(settings)]),
        ("gateways", list(_gateways(settings)) or ["none: no message can be sent"]),
        ("callbacks", list(_callbacks(settings))),
        ("pages", [_pages(settings)]),
        ("off", list(_off(settings))),
    ):
        for number, value in enumerate(values):
            lines.append(f"  {name if not number else '':<{_WIDTH}}{value}")
    return "\n".join(lines)


def _public(settings: Settings) -> str:
    return settings.server.public_url.rstrip("/")


def _database(settings: Settings) -> str:
    sealed = "encrypted" if settings.database.pii_key else "not encrypted: database.pii_key is empty"
    return f"{settings.database_name()}, personal data {sealed}"


def _gateways(settings: Settings) -> Iterator[str]:
    for name, gateway in settings.gateways.items():
        yield f"{name} → {gateway.provider} ({gateway.channel}): {_public(settings)}/smartico/{name}"


def _callbacks(settings: Settings) -> Iterator[str]:
    for name, provider in settings.providers.items():
        if provider.adapter != "smtp":
            yield f"{name}: {_public(settings)}/callbacks/{name}"


def _pages(settings: Settings) -> str:
    operators = [f"{each.name} ({each.role})" for each in settings.ops.operators]
    return (
        f"{_public(settings)}/ops/, for {', '.join(operators)}"
        if operators
        else "nobody can sign in: there are no [[ops.operators]]"
    )


def _off(settings: Settings) -> Iterator[str]:
    if settings.communications is None:
        yield "asset notifications of Smartico: there is no [communications]"
    elif not settings.communications.forward_url:
        yield "passing on asset notifications: communications.forward_url is empty"
    if not settings.inbound.forward_url:
        yield "passing on messages from handsets: inbound.forward_url is empty"
    if settings.contacts.source == "table":
        yield 'asking your platform for contacts: contacts.source is "table"'
    if not settings.smartico.fallback_callback_url:
        yield "status reports for requests without callback_url: smartico.fallback_callback_url is empty"
