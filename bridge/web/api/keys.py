"""`/api/keys/rotate`: rows are sealed anew with the present `database.pii_key`, a portion a call."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from litestar import Request, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from bridge.flows.rotating import Rotated, Rotation, WrongKeyError
from bridge.web.access import require_operator
from bridge.web.api.common import read_json
from bridge.web.context import WebContext

__all__ = ["RotateRequest", "key_routes"]

_SECONDS = 0.5  # of one call


class RotateRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """`key`: the name of the key that the caller means, as `bridge keys status` shows it."""

    key: str


class _Rotations:
    """The rotation of the service: whoever asks for it continues the one that is under way."""

    def __init__(self, ctx: WebContext) -> None:
        self._ctx = ctx
        self._one_at_a_time = asyncio.Lock()
        self._current: Rotation | None = None

    async def portion(self, actor: str) -> Rotated:
        """Raises WrongKeyError."""
        async with self._one_at_a_time:
            rotation, self._current = self._current or Rotation(self._ctx.store), None  # none after an error
            rotated, end = rotation.state, monotonic() + _SECONDS
            while rotated.step != "done" and monotonic() < end:
                began = monotonic()
                rotated = await rotation.step(actor, self._ctx.clock())
                await asyncio.sleep(monotonic() - began)  # the service gets as much of the time
            if rotated.step != "done":
                self._current = rotation
            return rotated


def key_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""
    rotations = _Rotations(ctx)

    @post(
        "/api/keys/rotate",
        status_code=200,
        tags=["API"],
        summary="Seal more rows with the present pii_key; repeat it until step is done",
    )
    async def rotate(request: Request[Any, Any, Any]) -> Rotated:
        operator = require_operator(ctx, request)
        wanted = await read_json(ctx, request, RotateRequest)
        if wanted.key != ctx.store.vault.key_name:
            raise _conflict(
                "this service runs with another database.pii_key: restart it with the new settings"
            )
        try:
            return await rotations.portion(operator.name)
        except WrongKeyError as error:
            raise _conflict(error.sentence) from None

    return [rotate]


def _conflict(sentence: str) -> HTTPException:
    return HTTPException(sentence, status_code=409)
