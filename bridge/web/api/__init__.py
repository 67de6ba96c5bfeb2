"""`/api`: what scripts see and do. Lists answer `{"items", "next"}`; errors are RFC 9457 problem details."""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from bridge.web.api.audit import audit_routes
from bridge.web.api.communications import communication_routes
from bridge.web.api.contacts import contact_routes
from bridge.web.api.export import export_routes
from bridge.web.api.messages import message_routes
from bridge.web.api.reports import report_routes
from bridge.web.api.review import review_routes
from bridge.web.api.stats import stats_routes
from bridge.web.api.status import status_routes
from bridge.web.api.timeline import timeline_routes
from bridge.web.api.trial import trial_routes
from bridge.web.context import WebContext

__all__ = ["api_routes"]


def api_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """Every route of `/api`, bound to a service."""
    return [
        *message_routes(ctx),
        *report_routes(ctx),
        *review_routes(ctx),
        *contact_routes(ctx),
        *communication_routes(ctx),
        *audit_routes(ctx),
        *timeline_routes(ctx),
        *export_routes(ctx),
        *stats_routes(ctx),
        *status_routes(ctx),
        *trial_routes(ctx),
    ]
