"""Exchanges with peers: a request goes out, and an answer comes back, or does not. Never raises for what a peer does.

The only module that knows an HTTP client. Calls to providers, look-ups and forwards go through httpx; status reports,
of which there are thousands a second, go through one aiohttp session (docs/architecture.md says why). No redirect is
ever followed, no answer larger than `MAX_ANSWER` is read, no URL is logged.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from typing import Protocol

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from bridge import __version__
from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request

__all__ = ["MAX_ANSWER", "ProviderTransport", "ReportTransport", "Transport"]

MAX_ANSWER = 4 * 1024 * 1024  # bytes
_CONNECT_WITHIN = 10.0  # seconds
_USER_AGENT = f"bridge/{__version__}"

# httpx logs whole URLs, credentials and all, at INFO.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Transport(Protocol):
    """Performs exchanges."""

    async def exchange(self, request: Request) -> Outcome:
        """The answer, or why there is none."""

    async def close(self) -> None:
        """Lets go of all connections."""


class ProviderTransport:
    """httpx: few requests, each with many messages."""

    def __init__(self, max_connections: int) -> None:
        # Keep-alive must equal the maximum, or httpx opens and closes connections all the time.
        limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        self._client = httpx.AsyncClient(
            limits=limits, follow_redirects=False, headers={"User-Agent": _USER_AGENT}, trust_env=False
        )

    async def exchange(self, request: Request) -> Outcome:
        # Shorter for the connection, or the end of the whole would hide that none was made: that is certainty.
        connect = min(_CONNECT_WITHIN, request.timeout / 2)
        timeout = httpx.Timeout(request.timeout, connect=connect, pool=None)
        try:
            async with asyncio.timeout(request.timeout):
                return await self._exchange(request, timeout)
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.UnsupportedProtocol,
            httpx.InvalidURL,
        ) as error:
            return NoConnection(_reason(error))
        except TimeoutError:
            return NoReply("no answer in time")
        except (httpx.HTTPError, ValueError) as error:
            return NoReply(_reason(error))

    async def _exchange(self, request: Request, timeout: httpx.Timeout) -> Outcome:
        async with self._client.stream(
            request.method, request.url, headers=dict(request.headers), content=request.body, timeout=timeout
        ) as response:
            body = await _read(response.aiter_bytes())
            if body is None:
                return NoReply("the answer is too large")
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status_code, body, headers)

    async def close(self) -> None:
        await self._client.aclose()


class ReportTransport:
    """aiohttp: one long-lived session for very many small requests.

    `public_only`: names that resolve to anything but public addresses are not called (the check is made on the
    address that is then connected to, so that a DNS answer that changes in between gains nothing).
    """

    def __init__(self, max_connections_per_host: int, *, public_only: bool) -> None:
        self._limit = max_connections_per_host
        self._public_only = public_only
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, request: Request) -> Outcome:
        session = self._open()
        try:
            async with session.request(
                request.method,
                URL(request.url, encoded=True),  # byte for byte: a callback_url may have a query of its own
                headers=dict(request.headers),
                data=request.body or None,
                timeout=aiohttp.ClientTimeout(total=request.timeout),
                allow_redirects=False,
            ) as response:
                body = await _read(response.content.iter_chunked(65536))
                if body is None:
                    return NoReply("the answer is too large")
                return Reply(response.status, body, {k.lower(): v for k, v in response.headers.items()})
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            return NoConnection(_reason(error))
        except TimeoutError:
            return NoReply("no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return NoReply(_reason(error))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = aiohttp.ThreadedResolver()
            connector = aiohttp.TCPConnector(
                limit=0,
                limit_per_host=self._limit,
                keepalive_timeout=60,
                resolver=PublicResolver(resolver) if self._public_only else resolver,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": _USER_AGENT},
            )
            # aiohttp repeats a GET by itself when the connection is lost, which would report a status twice within one
            # attempt. It has no public switch for that; tests/test_transport.py notices if this one goes.
            self._session._retry_connection = False
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        public = [each for each in found if is_public(each["host"])]
        if found and not public:
            raise OSError(None, "the name resolves to an address that is not public")
        return public

    async def close(self) -> None:
        await self._inner.close()


# What `ipaddress.is_global` of Python 3.11 gets wrong, or what carries another address inside.
_NEVER = [
    ipaddress.ip_network(network)
    for network in ("192.88.99.0/24", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/23", "3fff::/20")
]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    if any(parsed in network for network in _NEVER if network.version == parsed.version):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


async def _read(chunks: AsyncIterator[bytes]) -> bytes | None:
    """The whole body; None where it is too large."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_ANSWER:
            return None
    return bytes(body)


def _reason(error: Exception) -> str:
    """What went wrong, without the URL that the error may carry."""
    return _SENTENCES.get(type(error).__name__, f"the exchange failed ({type(error).__name__})")


_SENTENCES = {
    "ConnectError": "no connection could be made",
    "ConnectTimeout": "no connection could be made in time",
    "ClientConnectorError": "no connection could be made",
    "ClientConnectorDNSError": "the name could not be resolved",
    "ClientConnectorCertificateError": "the certificate of the peer is not valid",
    "ReadTimeout": "no answer in time",
    "WriteTimeout": "the request could not be written in time",
    "RemoteProtocolError": "the connection was closed before the answer was whole",
    "ServerDisconnectedError": "the connection was closed before the answer was whole",
    "ClientOSError": "the connection was reset",
    "ReadError": "the connection was reset",
    "WriteError": "the connection was reset",
    "ClientPayloadError": "the answer was cut off",
}
