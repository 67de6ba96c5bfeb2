"""`bridge completion`: what the Tab key does in a real bash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

# As bash would call it: the words so far, the last of which is being typed.
PRESS_TAB = """
set -e
eval "$(bridge completion bash)"
complete -p bridge > registered
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bridge_completion bridge
printf '%s\\n' "${COMPREPLY[@]}"
"""
SETTINGS = '[gateways.sms]\nauthorization = ["${NOT_IN_THIS_ENVIRONMENT}"]\n[gateways.viber]\n'


def press_tab(folder: Path, *words: str) -> list[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {name: text for name, text in os.environ.items() if name != "BRIDGE_CONFIG"} | {"PATH": path}
    command = ["bash", "-c", PRESS_TAB, "bash", *words]
    done = subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    assert "bridge" in (folder / "registered").read_text()
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("bridge", "mess"), ["messages"]),
        (("bridge", "export", "c"), ["callbacks", "costs"]),
        (("bridge", "serve", "--r"), ["--role"]),
        (("bridge", "send-test", ""), ["sms", "viber"]),
        (("bridge", "reports", "list", "--gateway", "v"), ["viber"]),
    ],
    ids=" ".join,
)
def test_tab_completes(tmp_path: Path, words: tuple[str, ...], expected: list[str]) -> None:
    """Commands, options, and the names of gateways, for which no secret has to be at hand."""
    (tmp_path / "bridge.toml").write_text(SETTINGS)
    found = press_tab(tmp_path, *words)
    assert found[: len(expected)] == expected


@pytest.mark.parametrize("text", [None, "[gateways", "gateways = 3"])
def test_settings_that_cannot_be_read_complete_nothing(tmp_path: Path, text: str | None) -> None:
    """Nobody wants a complaint between two words of a command line."""
    if text is not None:
        (tmp_path / "bridge.toml").write_text(text)
    assert press_tab(tmp_path, "bridge", "send-test", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_is_that_of_the_environment(
    bridge: Run, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    """Without a word, it is the shell that $SHELL names."""
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert bridge("completion").out == bridge("completion", shell).out != ""


def test_an_unknown_shell_is_a_sentence(bridge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has another shell is told which ones there are."""
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    result = bridge("completion")
    assert (result.code, result.out) == (1, "")
    assert "bash|zsh|fish" in result.err
