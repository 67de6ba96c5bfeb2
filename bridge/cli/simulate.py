"""`bridge simulate`: one of the simulated peers by itself, for trying things out by hand."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.options import config_option
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.sim.server import Simulator

__all__ = ["simulate_command"]

_BRIDGE = "http://127.0.0.1:8080"  # where the settings' defaults let it listen
_HINTS = {
    "provider": 'For the settings: base_url = "{url}/api/v1", token = "sim-token".',
    "sendgrid": (
        'For the settings: base_url = "{url}/v3", token = "sim-token", and the webhook_public_key that '
        "{url}/_sim/public_key shows. Its events go to the bridge at {bridge}/callbacks/sendgrid."
    ),
    "smtp": 'For the settings: host = "{smtp.smtp_host}", port = {smtp.smtp_port}, tls = "none".',
    "smartico": 'Status reports go to {url}/callback; for the settings: api_key = "sim-api-key".',
    "platform": (
        "People: {url}/users/user1; Custom IM: POST {url}/notifications; what is passed on: POST {url}/communications "
        "and {url}/inbound."
    ),
}


@click.command("simulate", epilog="Example: bridge simulate provider --port 9001")
@click.argument("what", type=click.Choice(list(_HINTS)))
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="The port (default: a free one)."
)
@config_option
def simulate_command(what: str, port: int, config: Path) -> None:  # noqa: ARG001 - every command takes --config
    """Run one simulated peer until Ctrl-C: the provider, Smartico, the operator's platform, SendGrid or a mail server.

    What it saw is at /_sim/summary and /_sim/messages; faults are read and set at /_sim/faults (GET and PUT).
    """
    asyncio.run(_run(what, port))


async def _run(what: str, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    simulator = _build(what, port)
    try:
        await simulator.__aenter__()
    except OSError as error:
        raise BridgeError(
            f"Port {port} cannot be listened on ({error.strerror}): choose another one."
        ) from None
    try:
        click.echo(f"The simulated {what} answers at {simulator.url} until Ctrl-C.")
        click.echo(_HINTS[what].format(url=simulator.url, smtp=simulator, bridge=_BRIDGE))
        await stopped.wait()
    finally:
        await simulator.__aexit__(None, None, None)


def _build(what: str, port: int) -> Simulator[Any]:
    from bridge import sim

    match what:
        case "provider":
            return sim.RevicomSimulator(sim.RevicomConfig(port=port))
        case "smartico":
            return sim.SmarticoSimulator(sim.SmarticoConfig(port=port, accept_unknown=True))
        case "sendgrid":
            webhook = f"{_BRIDGE}/callbacks/sendgrid"
            return sim.SendgridSimulator(sim.SendgridConfig(port=port, webhook_url=webhook))
        case "smtp":
            return sim.SmtpSimulator(sim.SmtpConfig(port=port))
        case _:
            return sim.PlatformSimulator(sim.PlatformConfig(port=port))
