"""`bridge contacts`: the contact directory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.access import open_for_changing, open_for_reading
from bridge.cli.options import config_option, json_option, limit_option, read_settings
from bridge.cli.output import clean, print_json, print_record, timeline_line
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.cli.contacts_import import ImportResult
    from bridge.flows.directory import Erased
    from bridge.flows.showing import ContactJson
    from bridge.settings import Settings

__all__ = ["contacts_group"]


@click.group("contacts", epilog="Example: bridge contacts import people.csv")
def contacts_group() -> None:
    """The contact directory: which phone number and e-mail address belong to an ext_user_id."""


@contacts_group.command("import", epilog="Example: bridge contacts import people.csv --dry-run")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.csv")
@click.option("--dry-run", is_flag=True, help="Only check the rows; nothing is imported.")
@json_option
@config_option
def import_command(file: Path, dry_run: bool, as_json: bool, config: Path) -> None:
    """Add or replace the contacts in FILE.csv (UTF-8, commas).

    Its header names ext_user_id, phone, email and, if wanted, opted_out: the closed channels, separated by spaces. An
    empty opted_out leaves the channels as they are, a single - opens them all. Of rows with one ext_user_id the last
    counts. Bad rows go to FILE.rejected.csv, with the reason.
    """
    from bridge.cli.contacts_import import import_contacts

    settings = read_settings(config)
    result = asyncio.run(import_contacts(settings, file, dry_run=dry_run))
    if as_json:
        print_json(result)
    else:
        print(_summary(result))


@contacts_group.command("show", epilog="Example: bridge contacts show player-42")
@click.argument("ext_user_id")
@json_option
@config_option
def show_command(ext_user_id: str, as_json: bool, config: Path) -> None:
    """Show a contact, masked, the channels that are closed, and every closing and reopening.

    With contacts.source = "http" the operator's platform is asked for the addresses.
    """
    contact = asyncio.run(_load(read_settings(config), ext_user_id))
    if contact is None:
        raise BridgeError(f"No contact has the ext_user_id {clean(ext_user_id)}.")
    if as_json:
        print_json(contact)
        return
    print_record({name: getattr(contact, name) for name in ("ext_user_id", "phone", "email")})
    for each in contact.opt_outs:
        print(f"opted out of {clean(each['channel'])} since {each['closed_at']}: {clean(each['reason'])}")
    for each in contact.opt_out_history:
        channel, change, reason = (clean(each[name]) for name in ("channel", "change", "reason"))
        print(f"{each['at']}  {channel} {change}: {reason}")


@contacts_group.command("timeline", epilog="Example: bridge contacts timeline player-42")
@click.argument("ext_user_id")
@limit_option
@json_option
@config_option
def timeline_command(ext_user_id: str, limit: int, as_json: bool, config: Path) -> None:
    """Show what happened with a user, newest first: messages, answers, notifications, closed channels."""
    entries = asyncio.run(_load_timeline(read_settings(config), ext_user_id, limit))
    if as_json:
        print_json({"items": entries})
        return
    for entry in entries:
        print(timeline_line(entry))


@contacts_group.command("delete", epilog="Example: bridge contacts delete player-42")
@click.argument("ext_user_id")
@json_option
@config_option
def delete_command(ext_user_id: str, as_json: bool, config: Path) -> None:
    """Erase the person: contact, addresses and texts.

    Unsent messages end as failed; status reports that are owed still go.
    """
    erased = asyncio.run(_delete(read_settings(config), ext_user_id))
    if erased is None:
        raise BridgeError(f"Nothing is known of the ext_user_id {clean(ext_user_id)}.")
    if as_json:
        print_json(erased)
    else:
        print(_erased(ext_user_id, erased))


def _erased(ext_user_id: str, erased: Erased) -> str:
    contact = "the contact" if erased.contact else "no contact, there was none, but what else was known of"
    return (
        f"Erased: {contact} {clean(ext_user_id)} and every address of it; unsent messages that ended as failed: "
        f"{erased.messages_failed}; message texts: {erased.texts}; notifications: {erased.notifications}; messages "
        f"from the handset: {erased.inbound}; bodies that were to be passed on, or had been: {erased.forwards}."
    )


def _summary(result: ImportResult) -> str:
    done = (
        f"{result.valid:,} rows are good, nothing was imported"
        if result.dry_run
        else f"{result.imported:,} {'row' if result.imported == 1 else 'rows'} imported"
    )
    rejected = (
        f"{result.rejected:,} rejected, see {result.rejected_file}" if result.rejected else "none rejected"
    )
    return f"{done}; {rejected}."


async def _load(settings: Settings, ext_user_id: str) -> ContactJson | None:
    from bridge.cli.platform import ask_platform
    from bridge.flows import directory
    from bridge.flows.showing import contact_json

    elsewhere = await ask_platform(settings, ext_user_id)
    async with open_for_reading(settings) as store:
        known = await store.read(lambda tx: directory.find(tx, ext_user_id, elsewhere))
    return contact_json(known) if known else None


async def _load_timeline(settings: Settings, ext_user_id: str, limit: int) -> Sequence[Mapping[str, Any]]:
    from bridge.cli.platform import ask_platform
    from bridge.flows.timeline import timeline_of_user

    elsewhere = await ask_platform(settings, ext_user_id)
    async with open_for_reading(settings) as store:
        return await store.search(lambda tx: timeline_of_user(tx, ext_user_id, elsewhere, limit))


async def _delete(settings: Settings, ext_user_id: str) -> Erased | None:
    async with open_for_changing(settings) as backend:
        return await backend.delete_contact(ext_user_id)
