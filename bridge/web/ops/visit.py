"""What all pages share: who visits, what the address and the form say, and an answer with its templates and headers.

A page is an async function of a `Visit` that gives an `Answer`. Nothing that comes from outside is marked as safe: the
templates escape everything.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal
from urllib.parse import parse_qs, quote, urlencode

import structlog
from litestar import Request, Response, route
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from bridge.core.model import Millis
from bridge.core.moments import read_when
from bridge.errors import StoreError
from bridge.web.access import BodyTooLarge, read_body
from bridge.web.context import WebContext
from bridge.web.ops.rendering import ASSETS, render
from bridge.web.ops.sessions import Signed, signed_of

__all__ = ["HEADERS", "Answer", "Refused", "Visit", "html", "page", "redirect", "shell"]

_log = structlog.get_logger()
_MAX_FORM = 64 * 1024
_LONGEST_NUMBER = 18  # digits
_THEMES = ("dark", "light")
_MIDDLE = "(the middle)"

Answer = Response[Any]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class Refused(Exception):  # noqa: N818 - it is an answer, not a failure
    """The visitor is told so, on a page of its own. `mend`: what to do next."""

    def __init__(self, status: int, title: str, mend: str) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.mend = mend


class Visit:
    """One request of somebody who is signed in (or is about to: `signed` is None on the sign-in page)."""

    def __init__(self, ctx: WebContext, request: Request[Any, Any, Any], signed: Signed | None) -> None:
        self.ctx = ctx
        self.request = request
        self.signed = signed
        self.now: Millis = ctx.clock()
        self.fields: dict[str, str] = {}  # of a form that was checked
        self.many: dict[str, list[str]] = {}  # the same, with every value of a name

    @property
    def actor(self) -> Signed:
        assert self.signed is not None
        return self.signed

    @property
    def may_change(self) -> bool:
        return self.signed is not None and self.signed.operator.may_change

    @property
    def theme(self) -> str:
        theme = self.request.cookies.get("bridge_theme", "")
        return theme if theme in _THEMES else ""

    @property
    def here(self) -> str:
        """The address of this page, with its query."""
        query = self.request.scope["query_string"].decode("latin-1")
        return self.request.url.path + (f"?{query}" if query else "")

    def query(self, name: str) -> str:
        """A value of the address, without spaces around it; empty where it is missing."""
        return str(self.request.query_params.get(name, "")).strip().replace("\0", "")

    def moment(self, name: str) -> Millis | None:
        """A time of the address. Raises Refused where it is none."""
        text = self.query(name)
        at = read_when(text, self.now) if text else None
        if text and at is None:
            raise Refused(
                400, f"“{name}” is no time", "Write 2026-11-21T08:00:00Z, 2026-11-21, or an age like 2h."
            )
        return at

    def number(self, name: str, fallback: int, most: int) -> int:
        text = self.query(name)
        is_number = text.isascii() and text.isdigit() and text.strip("0") and len(text) <= _LONGEST_NUMBER
        return min(int(text), most) if is_number else fallback

    def link(self, to: str = "", /, **changes: object) -> str:
        """The address of this page (or of another one, `to`) with some values changed; an empty value goes."""
        values = {name: str(value) for name, value in self.request.query_params.items()}
        values |= {name: "" if value is None else str(value) for name, value in changes.items()}
        query = urlencode({name: value for name, value in values.items() if value}, quote_via=quote)
        return (to or self.request.url.path) + (f"?{query}" if query else "")

    async def form(self) -> dict[str, str]:
        """The form that was posted from one of our pages. Raises Refused for any other."""
        fields = await self.open_form()
        given = fields.get("csrf", "").encode("utf-8", "surrogatepass")
        if self.signed is None or not hmac.compare_digest(given, self.signed.csrf.encode()):
            raise Refused(
                403, "This form is too old", "Go back, load the page again, and repeat what you did."
            )
        return fields

    async def open_form(self) -> dict[str, str]:
        """A form of which only the site is checked: the sign-in."""
        if self.request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(
                403, "This form came from another site", "Open the page here, and repeat what you did."
            )
        try:
            raw = await read_body(self.request, _MAX_FORM)
            values = parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=1000)
        except BodyTooLarge:
            raise Refused(413, "That is too much", "Choose less at a time.") from None
        except ValueError:
            raise Refused(400, "This form cannot be read", "Go back, and repeat what you did.") from None
        self.many = values
        return {name: each[-1].replace("\0", "") for name, each in values.items()}

    def require_change(self) -> None:
        """Raises Refused for who may only look."""
        if not self.may_change:
            raise Refused(403, "You may look, but change nothing", "Ask somebody with the role operator.")


def html(visit: Visit, template: str, *, code: int = 200, **values: Any) -> Answer:
    """A page."""
    return Response(
        _rendered(visit, template, values).encode(),
        status_code=code,
        media_type="text/html; charset=utf-8",
        headers=HEADERS,
    )


def shell(visit: Visit, title: str) -> tuple[bytes, bytes]:
    """The beginning and the end of a page whose middle comes piece by piece."""
    before, _, after = _rendered(visit, "growing.html", {"title": title, "middle": _MIDDLE}).partition(
        _MIDDLE
    )
    return before.encode(), after.encode()


def _rendered(visit: Visit, template: str, values: dict[str, Any]) -> str:
    shared = {
        "visit": visit,
        "operator": visit.signed.operator.name if visit.signed else "",
        "csrf": visit.signed.csrf if visit.signed else "",
        "may_change": visit.may_change,
        "theme": visit.theme,
        "assets": ASSETS,
        "now": visit.now,
        "path": visit.request.url.path,
    }
    return render(template, {**shared, **values})


def redirect(to: str, cookies: list[Cookie] | None = None) -> Answer:
    """After a form: the browser asks for the next page (303)."""
    headers = {**HEADERS, "Location": to}
    return Response(b"", status_code=303, headers=headers, cookies=cookies or [])


Handler = Callable[..., Awaitable[Answer]]


def page(
    ctx: WebContext,
    path: str,
    handler: Handler,
    *,
    method: Literal["GET", "POST"] = "GET",
    anyone: bool = False,
    **bound: Any,
) -> HTTPRouteHandler:
    """A route: signed in or sent to the sign-in; every failure is a page that says the next step."""

    async def serve(request: Request[Any, Any, Any]) -> Answer:
        visit = Visit(ctx, request, None)
        try:
            visit.signed = await signed_of(ctx, request)
            if visit.signed is None and not anyone:
                back = visit.here if method == "GET" else "/ops/"
                return redirect(f"/ops/sign-in?{urlencode({'next': back})}")
            if method == "POST" and not anyone:
                visit.fields = await visit.form()
            return await handler(visit, **_parts(request), **bound)
        except Refused as refused:
            return _failure(visit, refused.status, refused.title, refused.mend)
        except StoreError as error:
            return _failure(visit, 503, "The database cannot be used now", error.sentence)
        except HTTPException as error:
            return _failure(visit, error.status_code, "That did not work", str(error.detail))
        except Exception as error:  # noqa: BLE001 - whatever it was, the visitor is told
            # The path alone: a query may hold what somebody searches for.
            _log.error("a page failed", path=request.url.path, exc_info=error)
            return _failure(
                visit, 500, "Something went wrong here", "It is in the log of the bridge. Try again."
            )

    serve.__name__ = f"ops_{handler.__name__}_{method.lower()}"
    return route(path, http_method=[method], status_code=200, include_in_schema=False)(serve)


def _parts(request: Request[Any, Any, Any]) -> Mapping[str, str]:
    """The values in the path."""
    return {name: str(value) for name, value in request.path_params.items()}


def _failure(visit: Visit, code: int, title: str, mend: str) -> Answer:
    return html(visit, "failure.html", code=code, title=title, mend=mend)
