"""Provider calls and look-ups: httpx, for few requests, each with many messages; mails go over SMTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import overload

import httpx

from bridge.core.exchange import Mail, NoConnection, NoReply, Outcome, Reply, Request, SendOutcome
from bridge.transport.mail import MailTransport
from bridge.transport.protocol import CONNECT_WITHIN, MAX_ANSWER, USER_AGENT
from bridge.transport.tls import certificate_trouble, trusting_context

__all__ = ["ProviderTransport"]

# httpx logs whole URLs, credentials and all, at INFO.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class ProviderTransport:
    """One client of httpx, and the connections to a mail server where there is one."""

    def __init__(self, max_connections: int, mail: MailTransport | None = None) -> None:
        self._mail = mail
        # Keep-alive must equal the maximum, or httpx opens and closes connections all the time.
        limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        # What is compressed may be a thousand times larger than it looks.
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        self._client = httpx.AsyncClient(
            verify=trusting_context(), limits=limits, follow_redirects=False, headers=headers, trust_env=False
        )

    @overload
    async def exchange(self, request: Request) -> Outcome: ...

    @overload
    async def exchange(self, request: Request | Mail) -> SendOutcome: ...

    async def exchange(self, request: Request | Mail) -> SendOutcome:
        if isinstance(request, Mail):
            return (
                await self._mail.exchange(request) if self._mail else NoConnection("there is no mail server")
            )
        return await self._exchange_http(request)

    async def _exchange_http(self, request: Request) -> Outcome:
        # Shorter for the connection, or the end of the whole would hide that none was made: that is certainty.
        connect = min(CONNECT_WITHIN, request.timeout / 2)
        timeout = httpx.Timeout(request.timeout, connect=connect, pool=None)
        try:
            built = self._client.build_request(
                request.method, request.url, headers=_headers(request), content=request.body, timeout=timeout
            )
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            return NoConnection(f"the request cannot be made ({type(error).__name__})")
        try:
            async with asyncio.timeout(request.timeout):
                return await self._exchange(built)
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.LocalProtocolError,  # it cannot be written
            httpx.UnsupportedProtocol,
            httpx.InvalidURL,
        ) as error:
            return NoConnection(certificate_trouble(error) or _reason(error))
        except TimeoutError:
            return NoReply("no answer in time")
        except (httpx.HTTPError, ValueError) as error:
            return NoReply(_reason(error))

    async def _exchange(self, request: httpx.Request) -> Outcome:
        response = await self._client.send(request, stream=True)
        try:
            headers = {name.lower(): value for name, value in response.headers.items()}
            plain = headers.get("content-encoding", "identity").lower() == "identity"
            body = await _read(response.aiter_raw()) if plain else b""  # nobody asked for it, nobody reads it
            return (
                NoReply("the answer is too large")
                if body is None
                else Reply(response.status_code, body, headers)
            )
        finally:
            await response.aclose()

    async def close(self) -> None:
        await self._client.aclose()
        if self._mail:
            await self._mail.close()


def _headers(request: Request) -> list[tuple[bytes, bytes]]:
    """As bytes: values may be what somebody else wrote, and httpx takes only ASCII for text."""
    return [(name.encode(), _bytes_of(value)) for name, value in request.headers.items()]


def _bytes_of(value: str) -> bytes:
    try:
        return value.encode("latin-1")  # as they came: HTTP knows no other
    except UnicodeEncodeError:
        return value.encode()


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
    "ReadTimeout": "no answer in time",
    "WriteTimeout": "the request could not be written in time",
    "RemoteProtocolError": "the connection was closed before the answer was whole",
    "ReadError": "the connection was reset",
    "WriteError": "the connection was reset",
}
