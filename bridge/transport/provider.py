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
        self._client = httpx.AsyncClient(
            limits=limits, follow_redirects=False, headers={"User-Agent": USER_AGENT}, trust_env=False
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
        if self._mail:
            await self._mail.close()


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
