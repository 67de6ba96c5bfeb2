"""Signing in and out, the colours, the search box, and the files that pages load."""

from __future__ import annotations

from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.datastructures import Cookie
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from bridge.store.search import MessageFilter, addresses_in, find_messages
from bridge.web.context import WebContext
from bridge.web.ops.rendering import STATIC
from bridge.web.ops.sessions import Attempts, session_cookie, sign_in, sign_out
from bridge.web.ops.visit import HEADERS, Answer, Refused, Visit, html, page, redirect

__all__ = ["door_routes"]

_YEAR = 365 * 86_400


def door_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""
    attempts = Attempts()

    async def enter(visit: Visit) -> Answer:
        fields = await visit.open_form()
        to = _inside(fields.get("next", ""))
        if attempts.too_many(ctx, visit.request):
            raise Refused(429, "Too many attempts", "Wait a minute, then sign in again.")
        signed = await sign_in(ctx, fields.get("token", ""))
        if signed is None:
            attempts.failed(ctx, visit.request)
            problem = "Nobody has this token. Tokens are case-sensitive and have no spaces."
            return html(visit, "sign_in.html", code=401, next=to, problem=problem)
        return redirect(to, [session_cookie(ctx, signed[1])])

    @get("/ops/static/{name:str}", include_in_schema=False, sync_to_thread=False)
    def static(request: Request, name: FromPath[str]) -> Response[bytes]:  # type: ignore[type-arg]
        found = STATIC.get(name)
        if found is None:
            raise NotFoundException("there is no such file")
        kept = (
            {"Cache-Control": "public, max-age=31536000, immutable"} if request.query_params.get("v") else {}
        )
        return Response(found.content, media_type=found.media_type, headers={**HEADERS, **kept})

    return [
        page(ctx, "/ops/sign-in", _sign_in, anyone=True),
        page(ctx, "/ops/sign-in", enter, method="POST", anyone=True),
        page(ctx, "/ops/sign-out", _leave, method="POST"),
        page(ctx, "/ops/theme", _theme, method="POST", anyone=True),
        page(ctx, "/ops/search", _search, method="POST"),
        static,
    ]


async def _sign_in(visit: Visit) -> Answer:
    to = _inside(visit.query("next"))
    return redirect(to) if visit.signed else html(visit, "sign_in.html", next=to, problem="")


async def _leave(visit: Visit) -> Answer:
    await sign_out(visit.ctx, visit.request)
    return redirect("/ops/sign-in", [session_cookie(visit.ctx, "", max_age=0)])


async def _theme(visit: Visit) -> Answer:
    fields = await visit.open_form()
    theme = fields.get("theme", "")
    cookie = Cookie(
        key="bridge_theme",
        value=theme if theme in ("dark", "light") else "",
        max_age=_YEAR,
        path="/ops",
        secure=visit.ctx.secure_cookies,
        httponly=True,
        samesite="lax",
    )
    return redirect(_inside(fields.get("next", "")), [cookie])


async def _search(visit: Visit) -> Answer:
    """Where the answer is. A number or an address goes into no address of a page: its keyed hash does."""
    ctx, text = visit.ctx, visit.fields.get("text", "").strip()
    addresses = addresses_in(text, ctx.default_region)
    if not addresses or await _is_id(visit, text):
        return redirect(f"/ops/messages?{urlencode({'query': text})}" if text else "/ops/messages")
    hashes = ",".join(ctx.store.vault.hash(each).hex() for each in addresses)
    return redirect(f"/ops/messages?{urlencode({'address': hashes})}")


async def _is_id(visit: Visit, text: str) -> bool:
    """Whether messages go by this text: digits may be the id of a user as well as a number."""
    chosen = MessageFilter(text=text, default_region=visit.ctx.default_region)
    rows = await visit.ctx.store.search(lambda tx: find_messages(tx, chosen))
    return any(text in (row.ext_user_id, row.smartico_uid, row.provider_message_id) for row in rows)


def _inside(to: str) -> str:
    """A page of ours; anything else leads to the overview. Browsers percent-encode what is no printable ASCII."""
    is_plain = all(32 < ord(sign) < 127 for sign in to)
    return to if to.startswith("/ops/") and is_plain and "\\" not in to else "/ops/"
