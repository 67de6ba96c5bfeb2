"""`/openapi.json`: everything that the service answers, for machines.

Routes and answers come from the handlers; the raw routes, bodies (our handlers read raw bytes) and credentials are
added here.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin
from msgspec import Struct

from bridge.web.api.contacts import ContactBody, ImportRow
from bridge.web.api.keys import RotateRequest
from bridge.web.api.reports import ReplayRequest
from bridge.web.api.review import Decision

__all__ = ["DescriptionPlugin", "Problem", "describe"]


class Problem(Struct, omit_defaults=True):
    """Problem details (RFC 9457)."""

    title: str
    status: int
    detail: str = ""


class SendBody(Struct):
    """What Smartico sends. `ext_user_id` may come as a number; unknown fields are ignored."""

    ext_user_id: str | int
    im_uid: str
    body: str
    from_number: str | None = None
    callback_url: str | None = None


class EmailBody(Struct):
    """What Smartico sends to a gateway of type email. One of `body` (HTML) and `text_body` is enough.

    With `activity_type` the mail goes to `to_email_address`, and nobody needs to know the user.
    """

    ext_user_id: str | int
    email_uid: str
    from_email_address: str
    reply_to_email_address: str | None = None
    subject: str | None = None
    body: str | None = None
    text_body: str | None = None
    callback_url: str | None = None
    activity_type: str | None = None
    to_email_address: str | None = None


class CustomBody(SendBody):
    """What Smartico sends to a gateway of type cim: `extension` is of any shape, and handed on as it is."""

    extension: Any = None


class NotificationBody(Struct):
    """What Smartico tells of an asset that it sent. Every field may be missing; others are kept as they are."""

    login: str | int | None = None
    time: int | str | None = None
    view_url: str | None = None
    channel: str | None = None
    campaign_name: str | None = None


class CallbackElement(Struct):
    """One event, in the provider's words; further fields are kept."""

    message_uuid: str
    callback_event: str
    status: str = ""


class SendAnswer(Struct, omit_defaults=True):
    """`error_code` 0 with `ext_message_id`, or a code above 0 with `error_message`."""

    error_code: int
    ext_message_id: str | None = None
    error_message: str | None = None


class CallbackAnswer(Struct, omit_defaults=True):
    """What became of a callback body: that it was kept, or why not."""

    kept: bool
    error: str | None = None


class _Route(Struct, frozen=True):
    """A route that is no handler of Litestar's. `parameter`: in its path, if any."""

    parameter: str
    tag: str
    summary: str
    answer: type[Struct]
    meaning: str
    methods: tuple[str, ...] = ("post",)


_RAW_ROUTES: dict[str, _Route] = {
    "/smartico/{gateway}": _Route(
        "gateway", "Smartico", "Send one message", SendAnswer, "Taken, or refused: error_code says which"
    ),
    "/smartico/communications": _Route(
        "",
        "Smartico",
        "Tell that an asset was sent",
        SendAnswer,
        "Kept, or not: error_code says why",
        ("get", "post"),
    ),
    "/callbacks/{provider}": _Route(
        "provider", "Provider", "Take a batch of events", CallbackAnswer, "The batch is durably stored"
    ),
}
_BODIES: dict[tuple[str, str], Any] = {
    ("/smartico/{gateway}", "post"): (SendBody, EmailBody, CustomBody),  # by the type of the gateway
    ("/smartico/communications", "post"): NotificationBody,
    ("/callbacks/{provider}", "post"): list[CallbackElement],
    ("/api/reports/replay", "post"): ReplayRequest,
    ("/api/review/{review_id}/replay", "post"): Decision,
    ("/api/review/{review_id}/dismiss", "post"): Decision,
    ("/api/contacts/{ext_user_id}", "put"): ContactBody,
    ("/api/contacts", "post"): list[ImportRow],
    ("/api/keys/rotate", "post"): RotateRequest,
}
_SECURITY = {
    "/smartico": ("gateway", {"type": "apiKey", "in": "header", "name": "Authorization"}),
    "/callbacks": ("provider", {"type": "http", "scheme": "basic"}),
    "/api": ("operator", {"type": "http", "scheme": "bearer"}),
}


class DescriptionPlugin(JsonRenderPlugin):
    """Litestar's own page for the JSON, with what we add."""

    def __init__(self) -> None:
        super().__init__(path="/")
        self._made = b""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002 (its form)
        if not self._made:
            self._made = msgspec.json.encode(describe(openapi_schema))
        return self._made


def _shape(body: Any, components: dict[str, Any]) -> dict[str, Any]:
    """The schema of a body, or of one of several; what it refers to is added to the components."""
    bodies = body if isinstance(body, tuple) else (body,)
    shapes, definitions = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    components.setdefault("schemas", {}).update(definitions)
    return {"oneOf": list(shapes)} if len(shapes) > 1 else shapes[0]


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the routes, with their bodies and credentials."""
    components = schema.setdefault("components", {})
    _add_raw_routes(schema)
    for (path, method), body in _BODIES.items():
        content = {"application/json": {"schema": _shape(body, components)}}
        schema["paths"][path][method]["requestBody"] = {"content": content}
    exported = schema["paths"]["/api/export/{name}"]["get"]["responses"]["200"]["content"]
    exported["application/x-ndjson"] = exported["text/csv"]  # the framework describes one type an answer
    components["securitySchemes"] = dict(_SECURITY.values())
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["security"] = [
                {name: []} for prefix, (name, _) in _SECURITY.items() if path.startswith(prefix)
            ]
            if path not in _RAW_ROUTES:
                _add_refusals(operation, components)
    return schema


def _add_refusals(operation: dict[str, Any], components: dict[str, Any]) -> None:
    """Every other answer is problem details. Of 400 the framework knows another form, which is never answered."""
    problem = {"application/problem+json": {"schema": _shape(Problem, components)}}
    operation["responses"].pop("400", None)
    operation["responses"]["default"] = {"description": "Refused, or not possible now", "content": problem}


def _add_raw_routes(schema: dict[str, Any]) -> None:
    shapes, definitions = msgspec.json.schema_components(
        [route.answer for route in _RAW_ROUTES.values()], ref_template="#/components/schemas/{name}"
    )
    schema["components"].setdefault("schemas", {}).update(definitions)
    for (path, route), shape in zip(_RAW_ROUTES.items(), shapes, strict=True):
        answer = {"description": route.meaning, "content": {"application/json": {"schema": shape}}}
        schema["paths"][path] = {method: _operation(route, answer) for method in route.methods}


def _operation(route: _Route, answer: dict[str, Any]) -> dict[str, Any]:
    parameter = {"name": route.parameter, "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "tags": [route.tag],
        "summary": route.summary,
        "parameters": [parameter] if route.parameter else [],
        "responses": {"200": answer, "default": {**answer, "description": "Refused before it was looked at"}},
    }
