"""`bridge messages`: search, and what became of one message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.access import open_for_reading
from bridge.cli.options import config_option, json_option, limit_option, read_settings
from bridge.cli.output import clean, print_json, print_page, print_record, timeline_line
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.flows.showing import MessageJson, MessageWithTimeline
    from bridge.settings import Settings

__all__ = ["messages_group"]

_COLUMNS = ("created_at", "ext_message_id", "gateway", "state", "marks", "ext_user_id", "address_masked")


@click.group("messages", epilog="Example: bridge messages find +447700900123")
def messages_group() -> None:
    """Search messages, and see what became of them."""


@messages_group.command(
    "find", epilog="Example: bridge messages find 0199c0de-0000-7000-8000-000000000001 --json"
)
@click.argument("text")
@limit_option
@json_option
@config_option
def find_command(text: str, limit: int, as_json: bool, config: Path) -> None:
    """Find messages by TEXT, newest first.

    TEXT is any id (ext_message_id, im_uid or email_uid, the provider's id, ext_user_id), a phone number or an e-mail
    address.
    """
    items, cursor = asyncio.run(_find(read_settings(config), text, limit))
    print_page(items, cursor, _COLUMNS, as_json=as_json)


@messages_group.command("show", epilog="Example: bridge messages show 0199c0de-0000-7000-8000-000000000001")
@click.argument("ext_message_id")
@json_option
@config_option
def show_command(ext_message_id: str, as_json: bool, config: Path) -> None:
    """Show one message and its timeline: every step, oldest first."""
    message = asyncio.run(_load(read_settings(config), ext_message_id))
    if message is None:
        raise BridgeError(
            f"No message has the ext_message_id {clean(ext_message_id)}: try bridge messages find."
        )
    if as_json:
        print_json(message)
    else:
        _print_message(message)


async def _find(settings: Settings, text: str, limit: int) -> tuple[list[MessageJson], str | None]:
    from bridge.flows.showing import message_json
    from bridge.store.search import MessageFilter, find_messages

    chosen = MessageFilter(text=text, limit=limit + 1, default_region=settings.contacts.default_region)
    async with open_for_reading(settings) as store:
        rows = await store.search(lambda tx: find_messages(tx, chosen))
    items = [message_json(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return items, None
    from bridge.web.api.common import write_cursor

    return items, write_cursor(items[-1].ext_message_id)


async def _load(settings: Settings, ext_message_id: str) -> MessageWithTimeline | None:
    from bridge.core.model import id_from_text
    from bridge.flows.showing import message_with_timeline

    message_id = id_from_text(ext_message_id)
    async with open_for_reading(settings) as store:
        return await store.search(lambda tx: message_with_timeline(tx, message_id)) if message_id else None


def _print_message(message: MessageWithTimeline) -> None:
    values = {name: getattr(message, name) for name in message.__struct_fields__ if name != "timeline"}
    print_record(values)
    print()
    for entry in message.timeline:
        print(timeline_line(entry))
