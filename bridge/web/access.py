"""Who is calling, and may they: client addresses behind proxies, secrets compared in constant time, bounded bodies."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from litestar import Request
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.types import HTTPScope

from bridge.secret import Secret
from bridge.web.context import Network, Operator, WebContext

__all__ = ["BodyTooLarge", "client_allowed", "knows", "operator_of", "read_body", "require_operator"]

Address = IPv4Address | IPv6Address


class BodyTooLarge(Exception):
    """The body is over the limit; nothing more of it is read."""


async def read_body(request: Request[Any, Any, Any], limit: int) -> bytes:
    """The raw body. Raises BodyTooLarge without reading on."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge
    return bytes(body)


def client_allowed(scope: HTTPScope, allowed: Sequence[Network], trusted: Sequence[Network]) -> bool:
    """Whether the caller's address is in one of the networks; no network: anyone."""
    if not allowed:
        return True
    address = client_address(scope, trusted)
    return address is not None and _in(address, allowed)


def client_address(scope: HTTPScope, trusted: Sequence[Network]) -> Address | None:
    """The address of the caller. `X-Forwarded-For` is read from its end, as far as trusted proxies wrote it."""
    client = scope["client"]
    address = _parse(client[0] if client else "")
    lists = [value.decode("latin-1") for key, value in scope["headers"] if key == b"x-forwarded-for"]
    forwarded = ",".join(lists).split(",")
    while address is not None and _in(address, trusted) and forwarded and forwarded[-1].strip():
        address = _parse(forwarded.pop().strip())
    return address


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def knows(given: str | None, secrets: Sequence[Secret]) -> bool:
    """Whether a header value is one of the secrets. Every secret is compared, each in constant time."""
    presented = Secret(given or "")
    matches = [secret == presented for secret in secrets]
    return given is not None and any(matches)


def operator_of(ctx: WebContext, request: Request[Any, Any, Any]) -> Operator:
    """The operator whose token came as Bearer. Raises 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    presented = Secret(token.strip())
    matches = [operator for operator in ctx.operators if operator.token == presented]
    if scheme.lower() != "bearer" or not matches:
        raise NotAuthorizedException(
            "an operator token is needed: Authorization: Bearer <token>",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return matches[0]


def require_operator(ctx: WebContext, request: Request[Any, Any, Any]) -> Operator:
    """The operator, who must have the role `operator`. Raises 401 or 403."""
    operator = operator_of(ctx, request)
    if not operator.may_change:
        raise PermissionDeniedException("the role viewer may look, but change nothing")
    return operator
