"""`/api/status`: what is going on now."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from bridge.core.model import Millis
from bridge.core.moments import format_time
from bridge.flows.status import HostState, Outbox, ProviderState, Status
from bridge.web.access import operator_of
from bridge.web.context import WebContext

__all__ = ["StatusJson", "status_json", "status_routes"]


class InboxJson(Struct, frozen=True):
    """Callback elements that are kept and not understood yet; `oldest_seconds`: null where none is."""

    waiting: int
    oldest_seconds: float | None


class HostJson(Struct, frozen=True):
    """A host that gets nothing now but a probe. `what`: down, api_key refused or forward_headers refused.

    `next_try_at`: null while it is being tried; a time that is past means that there is nothing to try it with.
    """

    host: str
    reason: str
    since: str
    next_try_at: str | None
    what: str


class ProviderJson(Struct, frozen=True):
    """A provider. `worker` false: no worker runs in the process that answers, and `paused` is null: not known here."""

    name: str
    adapter: str
    worker: bool
    paused: bool | None
    reason: str
    since: str | None
    next_try_at: str | None


class StatusJson(Struct, frozen=True):
    """What waits in the database at `at`, and how the peers are for the process that answers (whose role is `role`)."""

    at: str
    role: str
    sends: dict[str, dict[str, int]]
    inbox: InboxJson
    reports: Outbox
    forwards: Outbox
    review: dict[str, int]
    providers: list[ProviderJson]
    hosts: list[HostJson]


def status_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The route, bound to a service."""

    @get(
        "/api/status",
        tags=["API"],
        summary="What is going on now: what waits, what failed, who is left alone",
    )
    async def status(request: Request[Any, Any, Any]) -> StatusJson:
        operator_of(ctx, request)
        return status_json(await ctx.status())

    return [status]


def status_json(status: Status) -> StatusJson:
    """As scripts see it."""
    counts, oldest_at = status.counts, status.counts.inbox_oldest_at
    age = None if oldest_at is None else max(0, counts.at - oldest_at) / 1000
    return StatusJson(
        at=format_time(counts.at),
        role=status.role,
        sends=counts.sends,
        inbox=InboxJson(counts.inbox_waiting, age),
        reports=counts.reports,
        forwards=counts.forwards,
        review=counts.review,
        providers=[_provider(each) for each in status.conditions.providers],
        hosts=[_host(each) for each in status.conditions.hosts],
    )


def _provider(each: ProviderState) -> ProviderJson:
    return ProviderJson(
        each.name,
        each.adapter,
        each.worker,
        each.paused,
        each.reason,
        _time(each.since),
        _time(each.next_try_at),
    )


def _host(each: HostState) -> HostJson:
    return HostJson(each.host, each.reason, format_time(each.since), _time(each.next_try_at), each.what)


def _time(at: Millis | None) -> str | None:
    return None if at is None else format_time(at)
