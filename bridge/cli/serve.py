"""`bridge serve`: the service, until it is asked to stop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.introduction import introduction
from bridge.cli.options import config_option, read_settings
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.app import Role, Service
    from bridge.settings import Settings

__all__ = ["serve_command"]


@click.command("serve", epilog="Example: bridge serve --config /etc/bridge/bridge.toml --port 8080")
@click.option("--host", metavar="H", help="The address to listen on (default: server.host).")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="The port; 0: a free one (default: server.port).",
)
@click.option(
    "--role",
    type=click.Choice(["all", "web", "worker"]),
    default="all",
    help="What this process does (default: all). On SQLite one process does it all.",
)
@config_option
def serve_command(host: str | None, port: int | None, role: Role, config: Path) -> None:
    """Run the service: take messages, send them, take callbacks, report back.

    SIGTERM and SIGINT stop it in order: what is in flight finishes. A second signal ends it at once.
    """
    from bridge.log import set_up_logging

    set_up_logging()
    settings = read_settings(config)
    if role != "all" and settings.database.is_sqlite:
        raise BridgeError(
            f"One process owns a SQLite database, so there is no --role {role} beside another: "
            "leave --role out, or use PostgreSQL for several instances."
        )
    _warn(settings)
    _run(settings, host or settings.server.host, settings.server.port if port is None else port, role)


def _warn(settings: Settings) -> None:
    import structlog

    log = structlog.get_logger()
    for warning in settings.warnings:
        log.warning(warning)


def _run(settings: Settings, host: str, port: int, role: Role) -> None:
    from bridge.process import serve

    def started(service: Service) -> None:
        click.echo(introduction(settings, service.url, role))

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, host=host, port=port, role=role, started=started))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop's loop where it is installed; None: Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop
