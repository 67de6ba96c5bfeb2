"""`bridge check`: is everything there that the service needs? One line each: ok, warning, or error with the mend."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import rich_click as click

from bridge.cli.finding import Finding, Level
from bridge.cli.options import config_option, json_option, read_settings
from bridge.cli.output import clean, print_json
from bridge.errors import BridgeError, SettingsError

__all__ = ["check_command"]

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command("check", epilog="Example: bridge check --config /etc/bridge/bridge.toml --offline")
@click.option("--offline", is_flag=True, help="Do not try to reach the provider and Smartico.")
@json_option
@config_option
def check_command(offline: bool, as_json: bool, config: Path) -> None:
    """Check settings, mapping tables, database, disk and clock, and whether the provider and Smartico answer.

    Exit code 1 where there is an error; warnings alone are no failure.
    """
    findings = asyncio.run(_run(config, offline=offline, show=not as_json))
    failed = any(each.level is Level.ERROR for each in findings)
    if as_json:
        print_json({"ok": not failed, "items": findings})
    if failed:
        sys.exit(1)


async def _run(config: Path, *, offline: bool, show: bool) -> list[Finding]:
    findings = []
    async for finding in _find(config, offline=offline):
        findings.append(finding)
        if show:
            _print(finding)
    return findings


async def _find(config: Path, *, offline: bool) -> AsyncIterator[Finding]:
    from bridge.assembly import build_providers
    from bridge.cli.check_here import check_here

    try:
        settings = read_settings(config)
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("settings", Level.ERROR, str(problem))
        return
    yield Finding("settings", Level.OK, f"{settings.file} can be used")
    for warning in settings.warnings:
        yield Finding("settings", Level.WARNING, warning)
    async for finding in check_here(settings):
        yield finding
    try:
        build_providers(settings, settings.server.public_url)
    except BridgeError as error:  # what only the provider itself can judge
        yield Finding("settings", Level.ERROR, error.sentence)
        return
    if not offline:
        from bridge.cli.check_peers import check_peers

        async for finding in check_peers(settings):
            yield finding


def _print(finding: Finding) -> None:
    level = f"{finding.level:<8}"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        level = click.style(level, fg=_COLOURS[finding.level])
    click.echo(f"{level} {finding.check}: {clean(finding.text)}")
