"""The list of commands, and the one place where an exception becomes a sentence and an exit code.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage. BRIDGE_DEBUG=1 shows the traceback of what nobody foresaw.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

import rich_click as click

from bridge import __version__
from bridge.cli.bench import bench_command
from bridge.cli.check import check_command
from bridge.cli.completion import completion_command
from bridge.cli.contacts import contacts_group
from bridge.cli.database import database_group
from bridge.cli.demo import demo_command
from bridge.cli.export import export_command
from bridge.cli.init import init_command
from bridge.cli.keys import keys_group
from bridge.cli.messages import messages_group
from bridge.cli.reports import reports_group
from bridge.cli.review import review_group
from bridge.cli.send_test import send_test_command
from bridge.cli.serve import serve_command
from bridge.cli.simulate import simulate_command
from bridge.cli.smartico_values import smartico_values_command
from bridge.errors import BridgeError

__all__ = ["bridge_group", "main"]

click.rich_click.THEME = "default-slim"  # the one without boxes: help is also read in pipes and logs


@click.group("bridge", epilog="Example: bridge demo --messages 300 --duration 12")
@click.version_option(__version__, prog_name="bridge")
def bridge_group() -> None:
    """A messaging bridge: what Smartico wants to send goes to a provider, what became of it goes back."""


for _command in (
    demo_command,
    init_command,
    check_command,
    serve_command,
    smartico_values_command,
    send_test_command,
    contacts_group,
    messages_group,
    reports_group,
    review_group,
    export_command,
    database_group,
    keys_group,
    simulate_command,
    bench_command,
    completion_command,
):
    bridge_group.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command (None: the one that the process was started with), and ends the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 is no reason to fail
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = bridge_group.main(arguments, prog_name="bridge", standalone_mode=False)
        print(end="", flush=True)  # what cannot be written any more is noticed here
    except BridgeError as error:
        return _failed(error.sentence)
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _failed(error.format_message())
    except click.Abort:
        return _failed("Stopped.")
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001 - the last fence: an operator gets a sentence, not a traceback
        return _unforeseen(error)
    return code if isinstance(code, int) else 0


def _failed(sentence: str) -> int:
    click.echo(sentence, err=True)
    return 1


def _unforeseen(error: Exception) -> int:
    """Only the type is shown: the text of an unknown error may hold anything."""
    if os.environ.get("BRIDGE_DEBUG") == "1":
        raise error
    return _failed(
        f"The command failed for a reason that nobody foresaw ({type(error).__name__}); "
        "BRIDGE_DEBUG=1 shows where."
    )


def _reader_left() -> int:
    """`bridge … | head` has read enough. Python would complain once more when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
