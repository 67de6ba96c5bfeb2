"""`--help` of every command: quick, with an example, and plain in a pipe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from bridge.cli.root import bridge_group
from tests.cli.conftest import Run


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command and every group of commands."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("words", list(commands(bridge_group)), ids=" ".join)
def test_every_command_has_help_with_an_example(bridge: Run, words: tuple[str, ...]) -> None:
    """Help says how the command is called, and draws no boxes and no colours in a pipe."""
    result = bridge(*words, "--help")
    assert result.code == 0
    assert f"Usage: {' '.join(['bridge', *words])} " in result.out
    assert f"Example: {' '.join(['bridge', *words])}" in result.out
    assert not set("╭│─━┃\x1b") & set(result.out)


def test_help_imports_nothing_slow() -> None:
    """The web framework and the HTTP clients are imported by the commands that need them."""
    script = "import bridge.cli, sys; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    slow = {"asyncpg", "litestar", "uvicorn", "httpx", "aiohttp", "phonenumbers", "cryptography", "structlog"}
    assert not slow & set(output.split())


def test_the_contract_has_every_command_of_this_version() -> None:
    """Names are exact, because scripts use them."""
    found = {" ".join(words) for words in commands(bridge_group) if words}
    assert found == {
        "demo", "init", "check", "serve", "simulate", "bench", "send-test", "smartico-values",
        "contacts", "contacts import", "contacts show", "contacts timeline", "contacts delete",
        "messages", "messages find", "messages show",
        "reports", "reports list", "reports causes", "reports replay",
        "review", "review list", "review show", "review replay", "review dismiss",
        "export",
        "db", "db migrate", "db status", "db backup", "db copy", "db prune", "db restore",
        "keys", "keys status", "keys rotate",
        "completion",
    }  # fmt: skip
