"""`bridge completion`: what a shell needs to complete commands, options and names with the Tab key."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import rich_click as click
from click.shell_completion import CompletionItem, get_completion_class

from bridge.errors import BridgeError

__all__ = ["complete_gateway", "completion_command"]

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion", epilog="Example: bridge completion bash >> ~/.bashrc")
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.pass_context
def completion_command(ctx: click.Context, shell: str | None) -> None:
    """Print the script that makes the Tab key complete commands, options and the names of gateways.

    SHELL is that of $SHELL where it is left out. For zsh it goes into ~/.zshrc, for fish into
    ~/.config/fish/completions/bridge.fish.
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    made = get_completion_class(name) if name in _SHELLS else None
    if made is None:
        raise BridgeError(
            f"Name the shell, since $SHELL is none of them: bridge completion {'|'.join(_SHELLS)}."
        )
    click.echo(made(ctx.find_root().command, {}, "bridge", "_BRIDGE_COMPLETE").source())


def complete_gateway(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The gateways of the settings file. The file alone is read: the environment of a terminal has no secrets."""
    config = ctx.params.get("config") or Path(os.environ.get("BRIDGE_CONFIG", "bridge.toml"))
    try:
        gateways = tomllib.loads(Path(config).read_text("utf-8")).get("gateways", {})
    except (OSError, ValueError):
        return []  # the command itself says what is wrong with the file
    names = gateways if isinstance(gateways, dict) else {}
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
