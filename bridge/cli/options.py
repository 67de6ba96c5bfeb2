"""What many commands share: options, the settings, and who is at the keyboard."""

from __future__ import annotations

import getpass
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from bridge.core.model import Millis
    from bridge.settings import Settings

__all__ = ["config_option", "json_option", "limit_option", "now", "operator_name", "read_settings"]

config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="BRIDGE_CONFIG",
    default="bridge.toml",
    metavar="FILE",
    help="The settings file (default: $BRIDGE_CONFIG, else ./bridge.toml).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
limit_option = click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=100,
    metavar="N",
    help="How many, at most, from 1 to 1000 (default: 100).",
)


def read_settings(config: Path) -> Settings:
    """The settings in a file and the environment. Raises SettingsError."""
    from bridge.settings import load_settings

    return load_settings(config, os.environ)


def operator_name() -> str:
    """Who changes something, for the audit."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        name = str(os.getuid())
    return f"{name} (command line)"


def now() -> Millis:
    """Now, in milliseconds."""
    return time.time_ns() // 1_000_000
