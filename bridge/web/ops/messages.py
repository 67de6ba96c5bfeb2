"""The pages of messages: the list, one message with its story, and what happened with a user."""

from __future__ import annotations

import msgspec
from litestar.exceptions import NotFoundException, ServiceUnavailableException
from litestar.handlers import HTTPRouteHandler

from bridge.core.model import MessageId, State, id_from_text, id_text
from bridge.flows.revealing import reveal
from bridge.flows.showing import MessageWithTimeline, contact_json, message_json, message_with_timeline
from bridge.flows.timeline import timeline_of_user
from bridge.store.contacts import Contact
from bridge.store.search import MessageFilter, find_messages
from bridge.web.api.common import read_cursor, write_cursor
from bridge.web.api.contacts import ask_platform, find_contact
from bridge.web.api.messages import may_narrow
from bridge.web.context import WebContext
from bridge.web.ops.story import last_gap, story_of, summary
from bridge.web.ops.visit import Answer, Refused, Visit, html, page, redirect

__all__ = ["message_pages"]

_ROWS = 50
_USER_ROWS = 200
_MOST_ADDRESSES = 4


def message_pages(ctx: WebContext) -> list[HTTPRouteHandler]:
    """The routes, bound to a service."""
    return [
        page(ctx, "/ops/messages", _list),
        page(ctx, "/ops/messages/{ext_message_id:str}", _one),
        page(ctx, "/ops/messages/{ext_message_id:str}/reveal", _reveal, method="POST"),
        page(ctx, "/ops/users", _user),
    ]


async def _list(visit: Visit) -> Answer:
    ctx, text = visit.ctx, visit.query("query")
    if (message_id := id_from_text(text)) is not None and not visit.query("cursor"):
        found = await ctx.store.search(lambda tx: message_with_timeline(tx, message_id))
        if found is not None:
            return redirect(f"/ops/messages/{found.ext_message_id}")
    narrow = [visit.query(name) for name in ("channel", "provider", "error_code")]
    if not may_narrow(visit.query("state"), *narrow):
        raise Refused(
            400, "Too many messages for this filter", "Choose the state failed or rejected as well."
        )
    last = read_cursor(visit.query("cursor"), tuple[str])
    chosen = MessageFilter(
        text=text,
        gateway=visit.query("gateway"),
        state=visit.query("state"),
        since=visit.moment("since"),
        until=visit.moment("until"),
        before=id_from_text(last[0]) if last else None,
        limit=_ROWS + 1,
        default_region=ctx.default_region,
        address_hashes=_addresses(visit.query("address")),
        channel=narrow[0],
        provider=narrow[1],
        error_code=narrow[2],
    )
    rows = await ctx.store.search(lambda tx: find_messages(tx, chosen))
    shown = rows[:_ROWS]
    users = {row.ext_user_id for row in rows}
    looked_for = text
    if chosen.address_hashes:
        masked = [row.address_masked for row in rows if row.address_masked]
        looked_for = masked[0] if masked else "an address"
    return html(
        visit,
        "messages.html",
        items=[message_json(row) for row in shown],
        next=write_cursor(id_text(shown[-1].id)) if len(rows) > _ROWS else None,
        states=list(State),
        gateways=sorted(ctx.rules.gateways),
        looked_for=looked_for,
        user=users.pop() if len(users) == 1 and (text or chosen.address_hashes) else text if not rows else "",
    )


def _addresses(text: str) -> list[bytes]:
    """Keyed hashes, as the search box writes them."""
    try:
        return [bytes.fromhex(each) for each in text.split(",")[:_MOST_ADDRESSES] if each]
    except ValueError:
        raise Refused(400, "That is no address of a page", "Use the search box.") from None


async def _one(visit: Visit, ext_message_id: str) -> Answer:
    _, found = await _found(visit, ext_message_id)
    return _shown(visit, found)


def _shown(visit: Visit, found: MessageWithTimeline, revealed: str = "") -> Answer:
    whole = msgspec.to_builtins(found)
    return html(
        visit,
        "message.html",
        item=found,
        whole=whole,
        story=story_of(found.timeline),
        last_gap=last_gap(found.state, found.timeline, visit.now),
        summary=summary(whole),
        revealed=revealed,
    )


async def _found(visit: Visit, ext_message_id: str) -> tuple[MessageId, MessageWithTimeline]:
    message_id = id_from_text(ext_message_id)
    found = (
        await visit.ctx.store.search(lambda tx: message_with_timeline(tx, message_id)) if message_id else None
    )
    if message_id is None or found is None:
        raise Refused(
            404, "No message has this id", "It may be older than the retention. Try the search box."
        )
    return message_id, found


async def _reveal(visit: Visit, ext_message_id: str) -> Answer:
    visit.require_change()
    message_id, found = await _found(visit, ext_message_id)
    elsewhere = await _elsewhere(visit.ctx, found.ext_user_id)
    actor, reason = visit.actor.operator.name, visit.fields.get("reason", "")
    address = await visit.ctx.store.write(
        lambda tx: reveal(tx, message_id, elsewhere, actor, reason, visit.now)
    )
    _, found = await _found(visit, ext_message_id)
    return _shown(
        visit, found, address or "not known any more: the contact has another one now, or was erased"
    )


async def _user(visit: Visit) -> Answer:
    ctx, user = visit.ctx, visit.query("id")
    if not user:
        return redirect("/ops/messages")
    contact, nobody = None, ""
    try:
        contact = contact_json(await find_contact(ctx, user))
    except NotFoundException:
        nobody = "The directory knows no contact with this id."
    except ServiceUnavailableException as error:
        nobody = f"The directory cannot be asked now: {error.detail}."
    elsewhere = await _elsewhere(ctx, user)
    items = await ctx.store.search(lambda tx: timeline_of_user(tx, user, elsewhere, _USER_ROWS))
    return html(visit, "user.html", user=user, contact=contact, nobody=nobody, items=items)


async def _elsewhere(ctx: WebContext, user: str) -> Contact | None:
    """What the operator's platform says; while it is away, less is known."""
    try:
        return await ask_platform(ctx.platform, user) if ctx.platform else None
    except ServiceUnavailableException:
        return None
