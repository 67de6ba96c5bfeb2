"""`bridge init`: a first settings file, with comments and fresh secrets. Never overwrites anything."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from base64 import b64encode
from pathlib import Path

import rich_click as click

from bridge.cli.options import config_option
from bridge.errors import BridgeError

__all__ = ["init_command"]


@click.command("init", epilog="Example: bridge init --non-interactive /etc/bridge/bridge.toml")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--non-interactive", is_flag=True, help="Ask nothing; what would be asked keeps its default.")
@config_option
def init_command(file: Path | None, non_interactive: bool, config: Path) -> None:
    """Write a commented settings file with generated secrets to FILE (default: that of --config).

    An existing file is never overwritten.
    """
    target = file or config
    _refuse_existing(target)
    text = _render()
    if not non_interactive and sys.stdin.isatty():
        text = _ask(text)
    _write(target, text)
    _tell_next_steps(target)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise BridgeError(
            f"{target} exists already, and is never overwritten: name another file, or move it away."
        )


def _render() -> str:
    from bridge.settings import render_template

    return render_template(
        {
            "pii_key": b64encode(secrets.token_bytes(32)).decode(),
            "authorization": secrets.token_urlsafe(32),
            "callback_password": secrets.token_urlsafe(24),
            "operator_token": secrets.token_urlsafe(24),
        }
    )


def _ask(text: str) -> str:
    from bridge.settings import rules

    def read_url(answer: str) -> str:
        if not rules.BASE_URL.holds(answer):
            raise click.BadParameter(f"write {rules.BASE_URL.wanted}")
        return answer

    def read_senders(answer: str) -> list[str]:
        names = [name.strip() for name in answer.split(",") if name.strip()]
        if not names or not all(rules.TEXT.holds(name) for name in names):
            raise click.BadParameter("write at least one name")
        return names

    url = click.prompt(
        "The address at which the provider reaches this bridge", "http://127.0.0.1:8080", value_proc=read_url
    )
    senders = click.prompt(
        "The sender names that the provider approved (commas between)", "Amazing", value_proc=read_senders
    )
    return set_key(set_key(text, "public_url", url), "senders", senders)


def set_key(text: str, key: str, value: str | list[str]) -> str:
    """The settings with a value in place of the commented default of a key. Keys that stand twice are not for this."""
    written = json.dumps(value, ensure_ascii=False).replace("${", "$${")
    changed, count = re.subn(
        rf"^# ({key} = )\S.*?(  +#.*)$",
        lambda found: f"{found[1]}{written}{found[2]}",
        text,
        flags=re.MULTILINE,
    )
    if count != 1:
        raise ValueError(f"{key} stands {count} times in the template")
    return changed


def _write(target: Path, text: str) -> None:
    """Readable by its owner only, from its first byte on."""
    try:
        with os.fdopen(
            os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
    except FileExistsError:
        _refuse_existing(target)
    except OSError as error:
        raise BridgeError(f"{target} cannot be written ({error.strerror}): name another file.") from None


def _tell_next_steps(target: Path) -> None:
    option = "" if target == Path("bridge.toml") else f" --config {target}"
    click.echo(f"{target} is written, with fresh secrets; keep it from others. Next:")
    click.echo("  1. Set SMARTICO_API_KEY and REVICOM_TOKEN in the environment, or write them into the file.")
    click.echo("  2. Set server.public_url and the senders of gateways.sms, if you have not yet.")
    click.echo(f"  3. bridge check{option}")
    click.echo(f"  4. bridge contacts import people.csv{option}")
    click.echo(f"  5. bridge serve{option}")
    click.echo(f"  6. bridge send-test sms EXT_USER_ID{option}")
    click.echo(
        f"  7. bridge smartico-values{option}: what to paste into Smartico, and what to give to the provider"
    )
