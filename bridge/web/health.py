"""`/healthz`, `/readyz` and `/metrics`. readyz depends on the database and on draining, never on peers."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from bridge.errors import StoreError
from bridge.web.access import operator_of
from bridge.web.context import WebContext

__all__ = ["Readiness", "health_routes"]

_STORE_PATIENCE = 2.0  # seconds


class Readiness(Struct, omit_defaults=True):
    """Whether the service takes work, and if not, why."""

    ready: bool
    reason: str | None = None


def health_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""

    @get("/healthz", tags=["Health"], summary="The process answers", sync_to_thread=False)
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @get(
        "/readyz",
        tags=["Health"],
        summary="The service takes work",
        responses={503: ResponseSpec(Readiness, description="It does not, and why", generate_examples=False)},
    )
    async def readyz() -> Response[Readiness]:
        reason = await _why_not(ctx)
        return Response(Readiness(reason is None, reason), status_code=503 if reason else 200)

    @get(
        "/metrics",
        tags=["Health"],
        summary="Prometheus metrics",
        media_type="text/plain",
        sync_to_thread=False,
    )
    def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not ctx.metrics_public:
            operator_of(ctx, request)
        ctx.metrics.inbox_waiting.set(ctx.waiting_elements())
        return Response(ctx.metrics.text(), media_type="text/plain; version=0.0.4")

    return [healthz, readyz, metrics]


async def _why_not(ctx: WebContext) -> str | None:
    if ctx.lifespan.draining:
        return "stopping"
    try:
        async with asyncio.timeout(_STORE_PATIENCE):
            await ctx.store.check()
    except StoreError as error:
        return error.sentence
    except TimeoutError:
        return "The database does not answer in time."
    return None
