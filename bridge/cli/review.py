"""`bridge review`: what only a person can settle."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.access import open_for_changing, open_for_reading
from bridge.cli.options import config_option, json_option, limit_option, read_settings
from bridge.cli.output import print_json, print_page, print_record
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.flows.review import Replayed
    from bridge.flows.showing import ReviewJson
    from bridge.settings import Settings

__all__ = ["review_group"]

_COLUMNS = ("id", "kind", "provider", "count", "last_at", "cause")


@click.group("review", epilog="Example: bridge review list")
def review_group() -> None:
    """What only a person can settle, grouped by cause."""


@review_group.command("list", epilog="Example: bridge review list --json")
@limit_option
@json_option
@config_option
def list_command(limit: int, as_json: bool, config: Path) -> None:
    """List the open items, newest first."""
    items, cursor = asyncio.run(_list(read_settings(config), limit))
    print_page(items, cursor, _COLUMNS, as_json=as_json)


@review_group.command("show", epilog="Example: bridge review show 7")
@click.argument("review_id", type=int, metavar="ID")
@json_option
@config_option
def show_command(review_id: int, as_json: bool, config: Path) -> None:
    """Show one item, with one example of what stands behind it."""
    item = asyncio.run(_load(read_settings(config), review_id))
    if as_json:
        print_json(item)
    else:
        print_record({name: getattr(item, name) for name in item.__struct_fields__})


@review_group.command(
    "replay", epilog='Example: bridge review replay 7 --reason "the new code is mapped now"'
)
@click.argument("review_id", type=int, metavar="ID")
@click.option(
    "--resend", is_flag=True, help="Perhaps-sent messages: send them again instead of asking again."
)
@click.option("--yes", is_flag=True, help="Do not ask whether --resend is meant.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the audit.")
@json_option
@config_option
def replay_command(review_id: int, resend: bool, yes: bool, reason: str, as_json: bool, config: Path) -> None:
    """Run what stands behind an item again.

    Elements of callbacks are read again, dead reports are sent again, what could not be passed on is passed on again,
    and the provider is asked again for messages that were perhaps sent, or whose end it never told. What still cannot
    be settled stays.
    """
    settings = read_settings(config)
    if resend:
        _confirm_resend(asyncio.run(_load(settings, review_id)), yes=yes)
    result = asyncio.run(_replay(settings, review_id, reason, resend=resend))
    if as_json:
        print_json(result)
    else:
        print(f"{result.replayed} of {result.matched} were run again.")


@review_group.command("dismiss", epilog='Example: bridge review dismiss 7 --note "a test of the provider"')
@click.argument("review_id", type=int, metavar="ID")
@click.option("--note", default="", metavar="TEXT", help="Why, for the audit.")
@json_option
@config_option
def dismiss_command(review_id: int, note: str, as_json: bool, config: Path) -> None:
    """Close an item; what stands behind it stays as it is."""
    dismissed = asyncio.run(_dismiss(read_settings(config), review_id, note))
    if as_json:
        print_json({"dismissed": dismissed})
    else:
        print("The item is closed." if dismissed else "The item was closed already.")


def _confirm_resend(item: ReviewJson, *, yes: bool) -> None:
    """Raises BridgeError where it is not wanted, or nobody can be asked."""
    if item.kind != "unknown_send":
        raise BridgeError("--resend is for perhaps-sent messages (kind unknown_send): leave it out.")
    if yes:
        return
    if not sys.stdin.isatty():
        raise BridgeError("Sending again has to be confirmed: add --yes where nobody can be asked.")
    click.confirm(
        f"{item.count} perhaps-sent messages will be sent again; whoever got one gets it twice. Go on?",
        abort=True,
        err=True,
    )


def _unknown(review_id: int) -> BridgeError:
    return BridgeError(f"No review item has the ID {review_id}: bridge review list shows the open ones.")


async def _list(settings: Settings, limit: int) -> tuple[list[ReviewJson], str | None]:
    from bridge.flows.showing import review_json
    from bridge.store.review import list_reviews

    async with open_for_reading(settings) as store:
        found = await store.search(lambda tx: list_reviews(tx, 2**62, limit + 1))
    items = [review_json(each) for each in found[:limit]]
    if len(found) <= limit:
        return items, None
    from bridge.web.api.common import write_cursor

    return items, write_cursor(items[-1].id)


async def _load(settings: Settings, review_id: int) -> ReviewJson:
    from bridge.flows.showing import review_json
    from bridge.store.review import get_review

    async with open_for_reading(settings) as store:
        item = await store.search(lambda tx: get_review(tx, review_id))
    if item is None:
        raise _unknown(review_id)
    return review_json(item)


async def _replay(settings: Settings, review_id: int, reason: str, *, resend: bool) -> Replayed:
    async with open_for_changing(settings) as backend:
        result = await backend.replay_review(review_id, reason, resend=resend)
    if result is None:
        raise _unknown(review_id)
    return result


async def _dismiss(settings: Settings, review_id: int, note: str) -> bool:
    async with open_for_changing(settings) as backend:
        dismissed = await backend.dismiss_review(review_id, note)
    if dismissed is None:
        raise _unknown(review_id)
    return dismissed
