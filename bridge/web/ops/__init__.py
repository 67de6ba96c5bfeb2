"""`/ops`: the pages for people who look after the messages. docs/architecture.md says how they are made."""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from bridge.web.context import WebContext
from bridge.web.ops.communications import communication_pages
from bridge.web.ops.door import door_routes
from bridge.web.ops.figures import figure_pages
from bridge.web.ops.messages import message_pages
from bridge.web.ops.overview import overview_pages
from bridge.web.ops.reports import report_pages
from bridge.web.ops.review import review_pages

__all__ = ["ops_routes"]


def ops_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """Every page, bound to a service."""
    return [
        *door_routes(ctx),
        *overview_pages(ctx),
        *figure_pages(ctx),
        *message_pages(ctx),
        *report_pages(ctx),
        *review_pages(ctx),
        *communication_pages(ctx),
    ]
