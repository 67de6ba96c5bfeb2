"""What the routes of `/api` share: pages with cursors, times in queries, bodies."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.params import QueryParameter
from msgspec import Struct

from bridge.core.model import Millis
from bridge.core.moments import read_when
from bridge.store.tx import Store, Tx
from bridge.web.access import BodyTooLarge, read_body
from bridge.web.context import WebContext

__all__ = [
    "Limit",
    "Page",
    "RowNumber",
    "moment",
    "read_cursor",
    "read_json",
    "read_numbered",
    "write_cursor",
]

T = TypeVar("T")

RowNumber = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # no database has others
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="How many, at most")]


class Page(Struct, Generic[T]):
    """Part of a list, newest first; `next` is the cursor of the rest, null at the end."""

    items: list[T]
    next: str | None = None


def write_cursor(*parts: object) -> str:
    """An opaque text that names the last item of a page."""
    return urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def read_cursor(text: str | None, kind: type[T]) -> T | None:
    """What `write_cursor` wrote. Raises 400 for anything else."""
    if not text:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, RecursionError):  # also what msgspec and base64 raise
        raise ValidationException("cursor is not one that this list gave") from None


class Numbered(Protocol):
    """A row that the database numbered."""

    @property
    def id(self) -> int: ...


N = TypeVar("N", bound=Numbered)
_ABOVE_ALL = 2**62


async def read_numbered(
    store: Store, rows: Callable[[Tx, int, int], Coroutine[Any, Any, list[N]]], cursor: str | None, limit: int
) -> tuple[list[N], str | None]:
    """A page of what `rows` gives below a number, newest first and at most so many; and the cursor of the rest."""
    last = read_cursor(cursor, tuple[RowNumber])
    before = last[0] if last else _ABOVE_ALL
    found = await store.search(lambda tx: rows(tx, before, limit + 1))
    shown = found[:limit]
    return shown, write_cursor(shown[-1].id) if len(found) > limit else None


def moment(ctx: WebContext, name: str, text: str | None) -> Millis | None:
    """A time in a query. Raises 400 where it is none."""
    if not text:
        return None
    at = read_when(text, ctx.clock())
    if at is None:
        raise ValidationException(
            f"{name} is no time: write 2026-11-21T08:00:00Z, 2026-11-21, or an age like 2h"
        )
    return at


async def read_json_if_any(ctx: WebContext, request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The same where a body is optional: without one, `kind` with nothing set."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return await read_json(ctx, request, kind) if has_body else kind()


async def read_json(ctx: WebContext, request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The body, as `kind`. Raises 400 or 413."""
    try:
        raw = await read_body(request, ctx.max_body_bytes)
        return msgspec.json.decode(raw, type=kind)
    except BodyTooLarge:
        raise HTTPException(f"the body is larger than {ctx.max_body_bytes} bytes", status_code=413) from None
    except msgspec.ValidationError as error:
        raise ValidationException(f"the body does not fit: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValidationException("the body is no JSON") from None
