"""`bridge reports`: the status reports owed to Smartico, and the replay of dead ones."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.access import open_for_changing, open_for_reading
from bridge.cli.options import config_option, json_option, limit_option, now, read_settings
from bridge.cli.output import clean, print_json, print_page

if TYPE_CHECKING:
    from bridge.flows.review import Replayed
    from bridge.flows.showing import ReportJson
    from bridge.settings import Settings
    from bridge.web.api.reports import ReplayFilter, ReplayRequest

__all__ = ["reports_group"]

_COLUMNS = ("id", "gateway", "state", "attempts", "owed_at", "next_attempt_at", "last_error")


@click.group("reports", epilog="Example: bridge reports list --state dead")
def reports_group() -> None:
    """The status reports owed to Smartico."""


@reports_group.command("list", epilog="Example: bridge reports list --state dead --limit 20")
@click.option("--state", type=click.Choice(["pending", "done", "dead"]), help="Only those (default: all).")
@limit_option
@json_option
@config_option
def list_command(state: str | None, limit: int, as_json: bool, config: Path) -> None:
    """List status reports, those of the newest messages first."""
    items, cursor = asyncio.run(_list(read_settings(config), state or "", limit))
    print_page(items, cursor, _COLUMNS, as_json=as_json)


@reports_group.command(
    "replay",
    epilog='Example: bridge reports replay --state dead --since 2h --error "HTTP 404" --dry-run',
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--state", type=click.Choice(["dead"]), help="All dead reports that fit, instead of IDs.")
@click.option(
    "--since", default="", metavar="T", help="Owed since then: RFC 3339, a date, or an age like 2h."
)
@click.option("--gateway", default="", metavar="G", help="Of this gateway.")
@click.option("--error", default="", metavar="TEXT", help="With this in the last error.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the audit.")
@json_option
@config_option
def replay_command(
    ids: tuple[str, ...],
    state: str | None,
    since: str,
    gateway: str,
    error: str,
    dry_run: bool,
    reason: str,
    as_json: bool,
    config: Path,
) -> None:
    """Send dead reports again: single ones by ID (see `bridge reports list`), or all that fit a filter."""
    from bridge.web.api.reports import ReplayFilter, ReplayRequest

    chosen = _check(ids, state, ReplayFilter(since=since, gateway=gateway, error=error))
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
    from bridge.core.moments import read_when
    from bridge.web.api.reports import ReplayFilter, read_report_id

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
    if chosen.since and read_when(chosen.since, now()) is None:
        raise click.UsageError(
            "--since is no time: write 2026-11-21T08:00:00Z, 2026-11-21, or an age like 2h."
        )
    return None if ids else chosen


async def _list(settings: Settings, state: str, limit: int) -> tuple[list[ReportJson], str | None]:
    from bridge.flows.showing import report_json
    from bridge.store.search import ReportFilter, list_reports

    chosen = ReportFilter(state=state, limit=limit + 1)
    async with open_for_reading(settings) as store:
        rows = await store.search(lambda tx: list_reports(tx, chosen))
    items = [report_json(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return items, None
    from bridge.web.api.common import write_cursor

    return items, write_cursor(items[-1].ext_message_id, rows[limit - 1].seq)


async def _replay(settings: Settings, wanted: ReplayRequest) -> Replayed:
    async with open_for_changing(settings) as backend:
        return await backend.replay_reports(wanted)
