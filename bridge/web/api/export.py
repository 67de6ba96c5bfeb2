"""`/api/export`: everything of one kind as a download, in a stream that needs no memory.

A page is read only after the client took the one before, and none any more once the client is gone. Pages are small,
so that rows are made into lines in turns of the event loop that nobody notices.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter
from litestar.response import Stream

from bridge.flows.export_formats import FORMATS, Format, file_name
from bridge.flows.exporting import COLUMNS, Part, What, read_parts
from bridge.store.export import Span
from bridge.web.access import operator_of
from bridge.web.api.common import moment
from bridge.web.api.messages import When
from bridge.web.context import WebContext

__all__ = ["download_headers", "export_routes", "export_stream"]

_PAGE = 250  # rows
_PIECE = 65_536  # bytes, about
_NAMES = {f"{what}.{ending}": (what, ending) for what in What for ending in FORMATS}

ExportName = Annotated[
    str,
    PathParameter(
        description="What, and how it is written: " + ", ".join(_NAMES),
        schema_extra={"enum": list(_NAMES)},
    ),
]


def export_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The route, bound to a service."""

    @get(
        "/api/export/{name:str}",
        tags=["API"],
        summary="Everything of one kind, as CSV or JSON lines",
        description="since and until: by the time at which the message was accepted. Addresses are masked.",
        responses={
            200: ResponseSpec(bytes, description="The rows, oldest message first", media_type="text/csv")
        },
    )
    async def export(
        request: Request[Any, Any, Any], name: ExportName, since: When = None, until: When = None
    ) -> Stream:
        operator_of(ctx, request)
        return await export_stream(ctx, name, since, until)

    return [export]


async def export_stream(ctx: WebContext, name: str, since: str | None, until: str | None) -> Stream:
    """The answer, for whoever may have it; `name` as "messages.csv". Raises 404, 400 or StoreError."""
    if name not in _NAMES:
        raise NotFoundException(f"there is no such export: ask for one of {', '.join(_NAMES)}")
    what, ending = _NAMES[name]
    lines = FORMATS[ending](COLUMNS[what])
    span = Span(moment(ctx, "since", since), moment(ctx, "until", until))
    parts = read_parts(ctx.store, what, span, _PAGE)
    first = await anext(parts)  # a database that is away is an answer of its own, not half of this one
    headers = download_headers(file_name(what, ending))
    return Stream(_pieces(lines, first, parts), media_type=lines.media_type, headers=headers)


def download_headers(name: str) -> dict[str, str]:
    """Of an answer that a browser keeps as a file of this name."""
    return {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


async def _pieces(
    lines: Format, first: Part, parts: AsyncGenerator[Part, None]
) -> AsyncGenerator[bytes, None]:
    piece = bytearray(lines.head())
    piece += lines.lines(first.rows)
    async for part in parts:
        piece += lines.lines(part.rows)
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
