"""`bridge reports`: the status reports owed to Smartico, why they fail, and the replay of dead ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.access import open_for_changing, open_for_reading
from bridge.cli.completion import complete_gateway
from bridge.cli.options import config_option, json_option, limit_option, now, read_settings
from bridge.cli.output import clean, print_json, print_page, print_table

if TYPE_CHECKING:
    from bridge.flows.review import Replayed, ReplayFilter
    from bridge.flows.showing import ReportJson
    from bridge.settings import Settings
    from bridge.store.search import ReportFilter
    from bridge.web.api.reports import Causes, ReplayRequest

__all__ = ["reports_group"]

_COLUMNS = ("id", "gateway", "state", "attempts", "owed_at", "next_attempt_at", "last_error")
_CAUSE_COLUMNS = {
    "CAUSE": "cause",
    "GATEWAY": "gateway",
    "HOST": "host",
    "LANE": "lane",
    "COUNT": "count",
    "FIRST": "first_owed_at",
    "LAST": "last_owed_at",
}
_FILTER = (
    click.option(
        "--since", default="", metavar="T", help="Owed since then: RFC 3339, a date, or an age like 2h."
    ),
    click.option(
        "--gateway", default="", metavar="G", shell_complete=complete_gateway, help="Of this gateway."
    ),
    click.option("--error", default="", metavar="TEXT", help="With this in the last error."),
    click.option("--cause", default="", metavar="C", help="Of this cause (see `bridge reports causes`)."),
    click.option("--lane", default="", metavar="L", help="Of this lane: GATEWAY@HOST."),
)


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name a filter, in the order of `_FILTER`."""
    for option in reversed(_FILTER):
        command = option(command)
    return command


@click.group("reports", epilog="Example: bridge reports list --state dead")
def reports_group() -> None:
    """The status reports owed to Smartico."""


@reports_group.command("list", epilog="Example: bridge reports list --state dead --limit 20")
@click.option("--state", type=click.Choice(["pending", "done", "dead"]), help="Only those (default: all).")
@_filter_options
@limit_option
@json_option
@config_option
def list_command(state: str | None, limit: int, as_json: bool, config: Path, **by: str) -> None:
    """List status reports, those of the newest messages first."""
    from bridge.flows.review import ReplayFilter

    chosen = _read(ReplayFilter(state or "", **by))
    items, cursor = asyncio.run(_list(read_settings(config), chosen, limit))
    print_page(items, cursor, _COLUMNS, as_json=as_json)


@reports_group.command("causes", epilog="Example: bridge reports causes --state pending")
@click.option(
    "--state",
    type=click.Choice(["dead", "pending"]),
    default="dead",
    help="Those that were given up, or those that are tried again (default: dead).",
)
@json_option
@config_option
def causes_command(state: str, as_json: bool, config: Path) -> None:
    """Count reports by why they failed, the latest first. `list` and `replay` take a --cause and a --lane of these."""
    found = asyncio.run(_causes(read_settings(config), state))
    if as_json:
        print_json(found)
        return
    rows = [[getattr(each, name) for name in _CAUSE_COLUMNS.values()] for each in found.items]
    print_table(list(_CAUSE_COLUMNS), rows)


@reports_group.command(
    "replay",
    epilog='Example: bridge reports replay --state dead --since 2h --error "HTTP 404" --dry-run',
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--state", type=click.Choice(["dead"]), help="All dead reports that fit, instead of IDs.")
@_filter_options
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the audit.")
@json_option
@config_option
def replay_command(
    ids: tuple[str, ...],
    state: str | None,
    dry_run: bool,
    reason: str,
    as_json: bool,
    config: Path,
    **by: str,
) -> None:
    """Send dead reports again: single ones by ID (see `bridge reports list`), or all that fit a filter."""
    from bridge.flows.review import ReplayFilter
    from bridge.web.api.reports import ReplayRequest

    chosen = _check(ids, state, ReplayFilter(**by))
    wanted = ReplayRequest(list(ids) if ids else None, chosen, dry_run, reason)
    result = asyncio.run(_replay(read_settings(config), wanted))
    if as_json:
        print_json(result)
    elif dry_run:
        print(f"{result.matched} dead reports would be sent again.")
    else:
        print(f"{result.replayed} dead reports are sent again, of {result.matched} that were found.")


def _check(ids: tuple[str, ...], state: str | None, chosen: ReplayFilter) -> ReplayFilter | None:
    """The filter; None where there are IDs. Raises UsageError for both, neither, and what cannot be read."""
    from bridge.flows.review import ReplayFilter
    from bridge.web.api.reports import read_report_id

    filtered = bool(state) or chosen != ReplayFilter()
    if ids and filtered:
        raise click.UsageError("Give either IDs or --state dead with filters, not both.")
    if not ids and not state:
        raise click.UsageError("Give IDs, or --state dead for all dead reports that fit.")
    for text in ids:
        if read_report_id(text) is None:
            raise click.UsageError(
                f"{clean(text)} is no ID of a report: it looks like EXT_MESSAGE_ID:STATUS."
            )
    _read(chosen)
    return None if ids else chosen


def _read(by: ReplayFilter) -> ReportFilter:
    """The filter for the store. Raises UsageError where --since is no time."""
    from bridge.flows.review import choose_reports

    chosen = choose_reports(by, now())
    if chosen is None:
        raise click.UsageError(
            "--since is no time: write 2026-11-21T08:00:00Z, 2026-11-21, or an age like 2h."
        )
    return chosen


async def _list(settings: Settings, chosen: ReportFilter, limit: int) -> tuple[list[ReportJson], str | None]:
    from msgspec.structs import replace

    from bridge.flows.showing import report_json
    from bridge.store.search import list_reports

    async with open_for_reading(settings) as store:
        rows = await store.search(lambda tx: list_reports(tx, replace(chosen, limit=limit + 1)))
    items = [report_json(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return items, None
    from bridge.web.api.common import write_cursor

    return items, write_cursor(items[-1].ext_message_id, rows[limit - 1].seq)


async def _causes(settings: Settings, state: str) -> Causes:
    from bridge.flows.review import ReplayFilter
    from bridge.store.search import report_causes
    from bridge.web.api.reports import causes_json

    async with open_for_reading(settings) as store:
        found = await store.search(lambda tx: report_causes(tx, state))
    return causes_json(found, ReplayFilter(state))


async def _replay(settings: Settings, wanted: ReplayRequest) -> Replayed:
    async with open_for_changing(settings) as backend:
        return await backend.replay_reports(wanted)
