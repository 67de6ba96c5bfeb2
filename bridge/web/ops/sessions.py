"""Signing in to the pages: an operator token for a session.

Sessions are kept in the database, so that several instances know them; the browser has a random value, the database its
digest.

A form carries a token of its own (`csrf`), which only a page of the same session can know. A session ends after half a
day, after two hours without use, at the sign-out, and when the operator's token is changed or taken out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from litestar import Request
from litestar.datastructures import Cookie
from msgspec import Struct

from bridge.core.model import Millis
from bridge.secret import Secret
from bridge.store import sessions
from bridge.web.access import client_address
from bridge.web.context import Operator, WebContext

__all__ = ["Attempts", "Signed", "cookie_name", "session_cookie", "sign_in", "sign_out", "signed_of"]

_LONGEST_MS = 12 * 3_600_000
_IDLE_MS = 2 * 3_600_000
_TOUCH_MS = 60_000  # a session that was used so lately is not written again
_WINDOW_MS = 60_000
_MOST_FAILURES = 10  # of one client address in that time
_MOST_ADDRESSES = 1_000


class Signed(Struct, frozen=True):
    """Who is signed in. `csrf` goes into every form."""

    operator: Operator
    csrf: str


class Attempts:
    """Failed sign-ins of each client address, so that nobody can try tokens for hours."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, list[Millis]] = OrderedDict()

    def too_many(self, ctx: WebContext, request: Request[Any, Any, Any]) -> bool:
        now = ctx.clock()
        recent = [at for at in self._failed.get(_client(ctx, request), []) if now - at < _WINDOW_MS]
        return len(recent) >= _MOST_FAILURES

    def failed(self, ctx: WebContext, request: Request[Any, Any, Any]) -> None:
        now, client = ctx.clock(), _client(ctx, request)
        recent = [at for at in self._failed.pop(client, []) if now - at < _WINDOW_MS]
        self._failed[client] = [*recent, now][-_MOST_FAILURES:]
        while len(self._failed) > _MOST_ADDRESSES:
            self._failed.popitem(last=False)


def _client(ctx: WebContext, request: Request[Any, Any, Any]) -> str:
    return str(client_address(request.scope, ctx.trusted_proxies))


def cookie_name(ctx: WebContext) -> str:
    """Browsers take `__Host-` from encrypted pages of this very host only."""
    return "__Host-bridge" if ctx.secure_cookies else "bridge"


def session_cookie(ctx: WebContext, value: str, *, max_age: int = _LONGEST_MS // 1000) -> Cookie:
    return Cookie(
        key=cookie_name(ctx),
        value=value,
        max_age=max_age,
        path="/",
        secure=ctx.secure_cookies,
        httponly=True,
        samesite="lax",
    )


async def sign_in(ctx: WebContext, token: str) -> tuple[Operator, str] | None:
    """The operator whose token this is, and the value for the cookie; None: it is nobody's."""
    operator = _operator_with(ctx.operators, token)
    if operator is None:
        return None
    now, value = ctx.clock(), secrets.token_urlsafe(32)

    async def job(tx: Any) -> None:
        await sessions.prune_sessions(tx, now - _LONGEST_MS, now - _IDLE_MS)
        await sessions.add_session(tx, _id(value), operator.name, _digest(operator.token), now)
        await tx.run("add_audit", at=now, actor=operator.name, action="ops.sign_in", detail="{}")

    await ctx.store.write(job)
    return operator, value


async def sign_out(ctx: WebContext, request: Request[Any, Any, Any]) -> None:
    value = request.cookies.get(cookie_name(ctx), "")
    await ctx.store.write(lambda tx: sessions.end_session(tx, _id(value)))


async def signed_of(ctx: WebContext, request: Request[Any, Any, Any]) -> Signed | None:
    """Who is signed in, if anybody."""
    value = request.cookies.get(cookie_name(ctx), "")
    if not value:
        return None
    session_id, now = _id(value), ctx.clock()
    session = await ctx.store.read(lambda tx: sessions.get_session(tx, session_id))
    if session is None or now - session.created_at > _LONGEST_MS or now - session.seen_at > _IDLE_MS:
        return None
    operator = next((each for each in ctx.operators if each.name == session.operator), None)
    if operator is None or not hmac.compare_digest(_digest(operator.token), session.token):
        return None
    if now - session.seen_at > _TOUCH_MS:
        await ctx.store.write(lambda tx: sessions.touch_session(tx, session_id, now))
    return Signed(operator, _csrf(value))


def _operator_with(operators: Sequence[Operator], token: str) -> Operator | None:
    presented = Secret(token)
    matches = [each for each in operators if each.token == presented]  # all are compared
    return matches[0] if matches else None


def _id(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


def _csrf(value: str) -> str:
    return hmac.new(value.encode("utf-8", "surrogatepass"), b"csrf", hashlib.sha256).hexdigest()


def _digest(token: Secret) -> bytes:
    return hashlib.sha256(b"ops session\0" + token.reveal().encode("utf-8", "surrogatepass")).digest()
