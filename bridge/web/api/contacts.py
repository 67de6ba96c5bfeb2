"""`/api/contacts`: the contact directory. `POST /api/contacts` takes many at once: the import of the command line."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote_to_bytes

from litestar import Request, delete, get, post, put
from litestar.exceptions import NotFoundException, ServiceUnavailableException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Struct

from bridge.contacts import Away, Known, UnknownUser
from bridge.flows import directory
from bridge.flows.directory import ContactDraft, Erased, KnownContact
from bridge.flows.platform import Platform
from bridge.flows.showing import ContactJson, contact_json
from bridge.store import contacts
from bridge.store.contacts import Contact
from bridge.store.reports import DueReport
from bridge.store.tx import Tx
from bridge.web.access import operator_of, require_operator
from bridge.web.api.common import read_json
from bridge.web.context import WebContext

__all__ = ["ContactBody", "ImportRow", "ask_platform", "contact_routes", "find_contact"]


_PREFIX = b"/api/contacts/"


class ContactBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A contact as it shall be. Without `opted_out` the closed channels stay as they are."""

    phone: str | None = None
    email: str | None = None
    opted_out: list[str] | None = None


class ImportRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One contact of an import."""

    ext_user_id: str
    phone: str = ""
    email: str = ""
    opted_out: list[str] | None = None


class Imported(Struct):
    """How many contacts were kept."""

    imported: int


def contact_routes(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""

    @get("/api/contacts/{ext_user_id:path}", tags=["API"], summary="One contact, masked")
    async def show(request: Request[Any, Any, Any], ext_user_id: FromPath[str]) -> ContactJson:
        operator_of(ctx, request)
        return contact_json(await find_contact(ctx, _named(request, ext_user_id)))

    @put("/api/contacts/{ext_user_id:path}", tags=["API"], summary="Add or replace a contact")
    async def keep(request: Request[Any, Any, Any], ext_user_id: FromPath[str]) -> ContactJson:
        operator = require_operator(ctx, request)
        body = await read_json(ctx, request, ContactBody)
        named = _named(request, ext_user_id)
        draft = _check(ctx, ImportRow(named, body.phone or "", body.email or "", body.opted_out))
        if ctx.platform is None:
            await ctx.store.write(lambda tx: directory.keep_one(tx, draft, operator.name, ctx.clock()))
            return contact_json(await find_contact(ctx, draft.contact.ext_user_id))
        return contact_json(await _set_channels(ctx, ctx.platform, draft, operator.name))

    @post(
        "/api/contacts",
        status_code=200,
        tags=["API"],
        summary="Add or replace many contacts",
    )
    async def keep_many(request: Request[Any, Any, Any]) -> Imported:
        operator = require_operator(ctx, request)
        if ctx.platform is not None:
            raise ValidationException(_ELSEWHERE)
        rows = await read_json(ctx, request, list[ImportRow])
        drafts = await asyncio.to_thread(
            _check_all, ctx, rows
        )  # thousands of numbers: others go on meanwhile
        await directory.keep_many(ctx.store, drafts, operator.name, ctx.clock())
        return Imported(len(rows))

    @delete("/api/contacts/{ext_user_id:path}", status_code=200, tags=["API"], summary="Erase the person")
    async def erase(request: Request[Any, Any, Any], ext_user_id: FromPath[str]) -> Erased:
        operator = require_operator(ctx, request)
        named = _named(request, ext_user_id)

        async def job(tx: Tx) -> tuple[Erased, list[DueReport]] | None:
            return await directory.erase(tx, ctx.rules, named, operator.name, ctx.clock())

        result = await ctx.store.write(job)
        if result is None:
            raise NotFoundException("nothing is known of this ext_user_id")
        if ctx.platform is not None:
            ctx.platform.forget(named)
        ctx.reported(result[1])
        return result[0]

    return [show, keep, keep_many, erase]


def _named(request: Request[Any, Any, Any], path: str) -> str:
    """The id as it was written: the router takes `%2F` for a slash, and several slashes for one."""
    raw: bytes = request.scope.get("raw_path", b"")
    before, _, written = raw.partition(_PREFIX)
    return (
        unquote_to_bytes(written).decode(errors="replace")
        if not before and written
        else path.removeprefix("/")
    )


def _check_all(ctx: WebContext, rows: list[ImportRow]) -> list[ContactDraft]:
    return [_check(ctx, row, f"[{number}]: ") for number, row in enumerate(rows)]


def _check(ctx: WebContext, row: ImportRow, where: str = "") -> ContactDraft:
    draft = directory.check(row.ext_user_id, row.phone, row.email, row.opted_out, ctx.default_region)
    if isinstance(draft, str):
        raise ValidationException(f"{where}{draft}")
    return draft


async def _set_channels(ctx: WebContext, platform: Platform, draft: ContactDraft, actor: str) -> KnownContact:
    """Closes and opens channels of a user whose addresses the operator's platform has."""
    contact, channels = draft.contact, draft.opted_out
    if contact.phone or contact.email:
        raise ValidationException(_ELSEWHERE)
    if channels is None:
        raise ValidationException("opted_out is missing: nothing else can be changed here")
    try:
        person = await ask_platform(platform, contact.ext_user_id) or contact
    except ServiceUnavailableException:
        # Who wants nothing more must not wait; but what is to be opened may be closed for an address, too.
        before = await ctx.store.read(lambda tx: contacts.get_opt_outs(tx, contact))
        if not channels or not {each.channel for each in before} <= channels:
            raise
        person = contact

    async def job(tx: Tx) -> KnownContact | None:
        await directory.set_channels(tx, person, channels, actor, ctx.clock())
        return await directory.find(tx, person.ext_user_id, person)

    known = await ctx.store.write(job)
    assert known is not None
    return known


async def find_contact(ctx: WebContext, ext_user_id: str) -> KnownContact:
    """What is known of a user. Raises NotFoundException."""
    elsewhere = await ask_platform(ctx.platform, ext_user_id) if ctx.platform else None
    found = await ctx.store.read(lambda tx: directory.find(tx, ext_user_id, elsewhere))
    if found is None:
        raise NotFoundException("no contact has this ext_user_id")
    return found


async def ask_platform(platform: Platform, ext_user_id: str) -> Contact | None:
    """What the operator's platform says of a user; None where it knows nobody. Raises ServiceUnavailableException."""
    match await platform.find(ext_user_id):
        case Known(phone, email):
            return Contact(ext_user_id, phone, email)
        case UnknownUser():
            return None
        case Away(reason):
            raise ServiceUnavailableException(f"the contact directory cannot be reached now ({reason})")


_ELSEWHERE = "contacts.source is http: phone and email are the platform's, and cannot be set here"
