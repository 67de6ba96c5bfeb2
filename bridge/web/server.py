"""The Litestar application and the uvicorn server that carries it inside our own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import structlog
import uvicorn
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from msgspec import json

from bridge import __version__
from bridge.errors import StoreError
from bridge.web.api import api_routes
from bridge.web.callbacks import callback_routes
from bridge.web.connections import BoundedProtocol, Limits, drop_overdue
from bridge.web.context import WebContext
from bridge.web.health import health_routes
from bridge.web.openapi import DescriptionPlugin, Problem
from bridge.web.ops import ops_routes
from bridge.web.sends import send_routes
from bridge.web.waiting import WaitingRoom

__all__ = ["Problem", "WebServer", "create_web"]

_log = structlog.get_logger()
_TICKS = 10  # of a tenth of a second, between looks at what takes too long
_KEEP_ALIVE = 75  # seconds; proxies keep idle connections for 60, and whoever closes first should not be us


def create_web(ctx: WebContext) -> Litestar:
    """The application: every route, no state of its own."""
    return Litestar(
        route_handlers=[
            *send_routes(ctx),
            *callback_routes(ctx),
            *health_routes(ctx),
            *api_routes(ctx),
            *ops_routes(ctx),
        ],
        exception_handlers={HTTPException: _problem, StoreError: _store_away, Exception: _unforeseen},
        openapi_config=OpenAPIConfig(
            title="bridge", version=__version__, path="/openapi.json", render_plugins=[DescriptionPlugin()]
        ),
        request_max_body_size=None,  # the routes bound their bodies, in the order that the contract wants
        logging_config=None,
        debug=False,
    )


def _problem(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    title = error.__class__.__name__.removesuffix("Exception") or "Error"
    detail = _fields(error.extra) or str(error.detail)
    return _answer(Problem(title, error.status_code, detail), dict(error.headers or {}))


def _fields(extra: Any) -> str:
    """What is wrong with which parameter. Litestar's own sentence has the whole query in it instead."""
    wrong = [each for each in extra if isinstance(each, dict)] if isinstance(extra, list) else []
    return "; ".join(f"{each.get('key', '')}: {each.get('message', '')}" for each in wrong)


def _store_away(_: Request[Any, Any, Any], error: StoreError) -> Response[bytes]:
    return _answer(Problem("ServiceUnavailable", 503, error.sentence), {"Retry-After": "5"})


def _unforeseen(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    # The path alone: a query may hold a phone number that somebody searches for.
    _log.error("a request failed", path=request.url.path, exc_info=error)
    return _answer(Problem("InternalServerError", 500, "internal error"), {})


def _answer(problem: Problem, headers: dict[str, str]) -> Response[bytes]:
    return Response(
        json.encode(problem),
        status_code=problem.status,
        media_type="application/problem+json",
        headers=headers,
    )


class WebServer(uvicorn.Server):
    """uvicorn with bounds, and without its signal handlers: the service decides when to stop."""

    def __init__(
        self, app: Litestar | WaitingRoom, host: str, port: int, limits: Limits | None = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=partial(BoundedProtocol, limits=limits or Limits()),  # type: ignore[arg-type]  # makes one
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                backlog=2048,
                timeout_keep_alive=_KEEP_ALIVE,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            drop_overdue(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def stop_within(self, seconds: float) -> None:
        """Takes no more connections, and lets open requests end, but no longer than so many seconds."""
        self.config.timeout_graceful_shutdown = seconds  # type: ignore[assignment]  # it is used as a float
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a port that is taken is an error of ours with a sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named so that asyncio, like uvloop, does not hold an answer back (TCP_NODELAY).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    return listening
