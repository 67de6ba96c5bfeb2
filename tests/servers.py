"""HTTP in tests: a small server, for a peer that is not one of the simulators, and what clients of plain HTTP need."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

# `verify` of a client that speaks plain HTTP only: it trusts nobody. httpx would read all certificates for each client.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """The URL at which it answers, on a free port of the loopback, for as long as the block runs."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
