"""What the web handlers need of the rest of the service; `bridge.app` fills it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network

from msgspec import Struct

from bridge.core.model import Millis
from bridge.flows.accepting import Accepting, Gateway
from bridge.flows.callbacks import Receiving
from bridge.flows.communications import Noting
from bridge.flows.platform import Platform
from bridge.flows.rules import Rules
from bridge.flows.stats import Stats
from bridge.flows.status import Status
from bridge.metrics import Metrics
from bridge.secret import Secret
from bridge.store.reports import DueReport
from bridge.store.tx import Store

__all__ = [
    "CommunicationsDoor",
    "GatewayDoor",
    "Lifespan",
    "Network",
    "Operator",
    "ProviderDoor",
    "WebContext",
]

Network = IPv4Network | IPv6Network


class Lifespan:
    """Whether the service is stopping: then nothing new is taken."""

    def __init__(self) -> None:
        self.draining = False


class GatewayDoor(Struct, frozen=True):
    """Who may send through a gateway: the whole `Authorization` header, several while rotating."""

    gateway: Gateway
    authorization: Sequence[Secret]


class CommunicationsDoor(Struct, frozen=True):
    """Who may tell of assets that were sent, and what keeps that."""

    noting: Noting
    authorization: Sequence[Secret]


class ProviderDoor(Struct, frozen=True):
    """From where a provider may post callbacks; empty: anywhere."""

    allowed: Sequence[Network]


class Operator(Struct, frozen=True):
    """A person or script with an operator token."""

    name: str
    token: Secret
    may_change: bool


class WebContext(Struct, frozen=True):
    """Settings, store, flows, and the ways to tell the worker."""

    store: Store
    rules: Rules
    clock: Callable[[], Millis]
    metrics: Metrics
    lifespan: Lifespan
    accepting: Accepting
    receiving: Receiving
    platform: Platform | None
    stats: Stats
    gateways: Mapping[str, GatewayDoor]
    providers: Mapping[str, ProviderDoor]
    communications: CommunicationsDoor | None
    operators: Sequence[Operator]
    send_allowed: Sequence[Network]
    trusted_proxies: Sequence[Network]
    max_body_bytes: int
    max_inbox: int
    metrics_public: bool
    secure_cookies: bool
    default_region: str
    is_full: Callable[[str], bool]
    accepted: Callable[[Gateway], None]
    waiting_elements: Callable[[], int]
    callback_kept: Callable[[int], None]
    reported: Callable[[Sequence[DueReport]], None]
    replayed: Callable[[], None]
    noted: Callable[[], None]
    status: Callable[[], Awaitable[Status]]
