"""`bridge send-test`: one message through the running service, and its whole life in the terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.completion import complete_gateway
from bridge.cli.options import config_option, json_option, read_settings
from bridge.cli.output import print_json, timeline_line
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.settings import Settings

__all__ = ["send_test_command"]

_POLL = 0.3  # seconds
_TAKEN = "The mail server took it; it never tells more than that."
_GOOD = {"delivered": "It was delivered.", "read": "It was delivered and opened."}
_BAD = {"failed": "It could not be delivered.", "rejected": "The provider refused it."}


@click.command("send-test", epilog="Example: bridge send-test sms player1")
@click.argument("gateway", shell_complete=complete_gateway)
@click.argument("ext_user_id")
@click.option("--text", default="A test message of the bridge.", metavar="TEXT", help="What to send.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    metavar="S",
    help="How long to watch it (default: 60).",
)
@json_option
@config_option
def send_test_command(
    gateway: str, ext_user_id: str, text: str, timeout: float, as_json: bool, config: Path
) -> int:
    """Send one message to EXT_USER_ID through GATEWAY, and watch what becomes of it.

    It goes through the running service to the real provider, and costs what any message costs. Smartico is told nothing
    about it. The exit code is 0 once it is delivered, and 1 if it fails or nothing final comes in time.
    """
    settings = read_settings(config)
    ends = _ends(settings, gateway)
    message = asyncio.run(_run(settings, gateway, ext_user_id, text, timeout, ends, quiet=as_json))
    state = message["state"]
    if as_json:
        print_json(message)
    else:
        print(ends.get(state, _still(message, timeout)))
    return 0 if state in ends and state not in _BAD else 1


def _ends(settings: Settings, gateway: str) -> dict[str, str]:
    """In which states nothing else is waited for, and what that means."""
    if gateway not in settings.gateways:
        known = ", ".join(sorted(settings.gateways)) or "none"
        raise BridgeError(f"No gateway has the name {gateway}; the settings have: {known}.")
    adapter = settings.providers[settings.gateways[gateway].provider].adapter
    return {**_GOOD, **_BAD, **({"submitted": _TAKEN} if adapter == "smtp" else {})}


def _still(message: dict[str, Any], timeout: float) -> str:
    name = message["ext_message_id"]
    return f"It is {message['state']} after {timeout:g} s: watch on with bridge messages show {name}."


async def _run(
    settings: Settings,
    gateway: str,
    ext_user_id: str,
    text: str,
    timeout: float,
    ends: Container[str],
    *,
    quiet: bool,
) -> dict[str, Any]:
    from bridge.cli.access import open_service

    async with open_service(settings) as service:
        ext_message_id = await service.send_test(gateway, ext_user_id, text)
        if not quiet:
            print(f"Message {ext_message_id} is stored.")
        shown = 0
        until = monotonic() + timeout
        while True:
            message = await service.message(ext_message_id)
            for entry in [] if quiet else message["timeline"][shown:]:
                print(timeline_line(entry), flush=True)
            shown = len(message["timeline"])
            if message["state"] in ends or monotonic() > until:
                return message
            await asyncio.sleep(_POLL)
