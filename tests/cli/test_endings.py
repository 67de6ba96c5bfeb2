"""How commands end: exit codes 0, 1 and 2, one sentence, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

UNKNOWN = "0199c0de-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["messages", "find"],
        ["messages", "find", "x", "--limit", "0"],
        ["reports", "list", "--state", "lost"],
        ["reports", "replay"],
        ["reports", "replay", "not-an-id"],
        ["reports", "replay", f"{UNKNOWN}:delivered", "--state", "dead"],
        ["reports", "replay", "--gateway", "sms"],
        ["reports", "replay", "--state", "dead", "--since", "yesterday"],
        ["review", "show", "seven"],
        ["simulate", "nobody"],
        ["serve", "--role", "boss"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(bridge: Run, arguments: list[str]) -> None:
    """What cannot be meant ends with 2 and says how it is meant."""
    result = bridge(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: bridge" in result.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["messages", "show", UNKNOWN], "No message has the ext_message_id"),
        (["messages", "show", "nonsense"], "No message has the ext_message_id"),
        (["contacts", "show", "nobody"], "No contact has the ext_user_id nobody"),
        (["contacts", "delete", "nobody"], "Nothing is known of the ext_user_id nobody"),
        (["review", "show", "7"], "No review item has the ID 7"),
        (["review", "replay", "7"], "No review item has the ID 7"),
        (["review", "replay", "7", "--resend"], "No review item has the ID 7"),
        (["review", "dismiss", "7"], "No review item has the ID 7"),
        (["serve", "--role", "web"], "One process owns a SQLite database"),
    ],
)
def test_a_refusal_is_1_with_a_sentence(bridge: Run, arguments: list[str], sentence: str) -> None:
    """What is refused says why, on standard error."""
    result = bridge(*arguments)
    assert (result.code, result.out) == (1, "")
    assert sentence in result.err
    assert "Traceback" not in result.err


def test_missing_settings_are_named(bridge: Run) -> None:
    """The file that was looked for is in the sentence; --config wins over the environment."""
    result = bridge("db", "status", "--config", "elsewhere.toml")
    assert result.code == 1
    assert "elsewhere.toml" in result.err


def test_the_environment_names_the_settings(
    bridge: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BRIDGE_CONFIG stands in for --config."""
    (folder / "bridge.toml").rename(folder / "other.toml")
    assert bridge("db", "status").code == 1
    monkeypatch.setenv("BRIDGE_CONFIG", "other.toml")
    assert bridge("db", "status").code == 0


def test_all_problems_of_the_settings_are_said_at_once(bridge: Run, folder: Path) -> None:
    """Each line names file and key."""
    (folder / "bridge.toml").write_text(
        '[server]\nprot = 1\nhost = 7\n[gateways.sms]\nauthorization = ["x"]\n'
    )
    result = bridge("serve")
    assert result.code == 1
    assert "server.prot" in result.err
    assert "server.host" in result.err


def test_a_foreign_file_as_database_is_a_sentence(bridge: Run, folder: Path) -> None:
    """A file that is no database is neither read nor overwritten."""
    (folder / "bridge.db").write_text("this is no database, but a long enough text" * 20)
    result = bridge("messages", "find", "x")
    assert result.code == 1
    assert "file is not a database" in result.err


def test_a_database_of_another_key_is_refused(bridge: Run, folder: Path) -> None:
    """With another pii_key nothing would be found and nothing could be read."""
    assert bridge("db", "migrate").code == 0
    text = (folder / "bridge.toml").read_text()
    (folder / "bridge.toml").write_text(text.replace("MDEyMzQ1", "OTg3NjU0"))
    result = bridge("messages", "find", "x")
    assert result.code == 1
    assert "pii_key" in result.err


def test_what_nobody_foresaw_is_one_sentence(folder: Path) -> None:
    """Without any standard output there is nowhere to print to: the type is said, and BRIDGE_DEBUG=1 shows more."""
    command = ["sh", "-c", f"exec {sys.executable} -m bridge db status --json >&-"]
    quiet = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert quiet.returncode == 1
    assert "nobody foresaw (AttributeError)" in quiet.stderr
    assert "Traceback" not in quiet.stderr
    environ = {**os.environ, "BRIDGE_DEBUG": "1"}
    loud = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, env=environ)
    assert "Traceback" in loud.stderr


def test_a_reader_that_leaves_is_no_error_to_shout_about(folder: Path) -> None:
    """`bridge … | head` ends quietly."""
    command = [sys.executable, "-m", "bridge", "db", "status", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(20) == 1
