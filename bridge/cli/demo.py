"""`bridge demo`: runs the demo, prints a line every now and then, and says at the end whether anything was lost."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from bridge.demo import Demo, Figures

__all__ = ["demo_command"]

_EVERY = 1.0  # seconds between lines
_DEFAULT_RATE = 25.0  # messages a second
_SENDING_SHARE = 0.6  # of --duration, when --messages says how many
_PATIENCE = 60.0  # seconds for the drain


@click.command("demo", epilog="Example: bridge demo --messages 300 --duration 12")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of the service (default: a free one)."
)
@click.option("--messages", type=click.IntRange(1), help="Send that many (default: until stopped).")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Messages a second (default: 25).")
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds, and drain."
)
@click.option(
    "--config", expose_value=False, metavar="FILE", help="Not used: the demo has settings of its own."
)
@click.option("--no-browser-hint", is_flag=True, help="Leave out what to look at meanwhile.")
def demo_command(
    port: int, messages: int | None, rate: float | None, duration: float | None, no_browser_hint: bool
) -> None:
    """Show the whole product at work: simulated peers, SQLite, no keys, no network."""
    from bridge.log import set_up_logging

    set_up_logging("CRITICAL")  # the faults are on purpose; the lines of the demo tell what matters
    pace = rate or _rate(messages, duration)
    sys.exit(asyncio.run(_run(port, messages, pace, duration, hint=not no_browser_hint)))


def _rate(messages: int | None, duration: float | None) -> float:
    """When both are given, the messages are spread over the first part of the time."""
    if messages and duration:
        return max(messages / (duration * _SENDING_SHARE), 1.0)
    return _DEFAULT_RATE


async def _run(port: int, messages: int | None, rate: float, duration: float | None, *, hint: bool) -> int:
    from bridge.demo import open_demo

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_demo(port) as demo:
        _introduce(demo, hint=hint)
        traffic = asyncio.create_task(demo.run_traffic(messages, rate))
        await _watch(demo, stopped, traffic, duration)
        drained = await _drain(demo)
        return _conclude(demo.figures(), drained=drained)


def _introduce(demo: Demo, *, hint: bool) -> None:
    from bridge.demo import OPERATOR_TOKEN

    print(
        f"The bridge runs at {demo.url} with simulated providers (SMS, WhatsApp, e-mail, Custom IM), Smartico and "
        "operator platform; faults are on."
    )
    if hint:
        print(f"Look at {demo.url}/ops/ in a browser; the operator token is {OPERATOR_TOKEN}. For scripts:")
        print(f"  curl -H 'Authorization: Bearer {OPERATOR_TOKEN}' '{demo.url}/api/messages?limit=3'")
        print("Ctrl-C stops it.")


async def _watch(
    demo: Demo, stopped: asyncio.Event, traffic: asyncio.Task[None], duration: float | None
) -> None:
    """Prints a line a second until it is time to stop."""
    loop = asyncio.get_running_loop()
    end = None if duration is None else loop.time() + duration
    while not stopped.is_set() and (end is None or loop.time() < end):
        wait = _EVERY if end is None else min(_EVERY, max(0.0, end - loop.time()))
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), wait)
        print(_line(demo.figures()), flush=True)
    traffic.cancel()
    with suppress(asyncio.CancelledError):
        await traffic


async def _drain(demo: Demo) -> bool:
    print("Draining: no new messages; what is owed still goes out …", flush=True)
    return await demo.drain(_PATIENCE)


def _line(figures: Figures) -> str:
    return (
        f"accepted {figures.accepted:,}  sent {figures.sent:,}  callbacks {figures.callbacks:,}  "
        f"reports {figures.reports:,}  retries {figures.retries:,}  in progress {figures.open:,}  "
        f"sent twice {len(figures.verdict.sent_twice):,}  notifications passed on "
        f"{figures.notifications - figures.notifications_open:,} of {figures.notifications:,}"
    )


def _conclude(figures: Figures, *, drained: bool) -> int:
    verdict = figures.verdict
    print(
        f"{figures.accepted:,} messages accepted, {figures.sent:,} sent through real HTTP and SMTP, "
        f"{figures.callbacks:,} callbacks, {figures.reports:,} status reports, {figures.retries:,} retries: "
        f"{len(verdict.lost):,} lost, {len(verdict.sent_twice):,} sent twice, "
        f"{len(verdict.out_of_order):,} out of order. {figures.notifications:,} asset notifications, "
        f"{figures.notifications_open:,} of them not passed on."
    )
    for finding in [*verdict.lost, *verdict.unexpected, *verdict.out_of_order][:10]:
        print(f"  {finding.ext_message_id}: {finding.what}")
    if not drained:
        print("Not everything was drained in time.")
    return 0 if verdict.ok and drained and not figures.notifications_open else 1
