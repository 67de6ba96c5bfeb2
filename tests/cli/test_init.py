"""`bridge init`: a file that can be used, with secrets of its own."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bridge.cli.init import set_key
from bridge.settings import load_settings
from tests.cli.conftest import Run

ENVIRON = {"SMARTICO_API_KEY": "a-key", "REVICOM_TOKEN": "a-token"}


def test_it_writes_settings_that_can_be_used(bridge: Run, folder: Path) -> None:
    """The file is private, complete, and says what comes next without showing a secret."""
    result = bridge("init", "--non-interactive", "new.toml")
    assert result.code == 0
    assert "bridge check --config new.toml" in result.out
    assert stat.S_IMODE((folder / "new.toml").stat().st_mode) == 0o600
    settings = load_settings(folder / "new.toml", ENVIRON)
    operator, gateway = settings.ops.operators[0], settings.gateways["sms"]
    assert len(operator.token.reveal()) >= 16
    secrets = [operator.token, gateway.authorization[0], settings.database.pii_key]
    assert not [secret for secret in secrets if secret.reveal() in result.out + result.err]


def test_two_files_share_no_secret(bridge: Run, folder: Path) -> None:
    """Every secret is made anew."""
    assert [bridge("init", "--non-interactive", name).code for name in ("a.toml", "b.toml")] == [0, 0]
    a, b = (load_settings(folder / name, ENVIRON) for name in ("a.toml", "b.toml"))
    assert a.database.pii_key.reveal() != b.database.pii_key.reveal()
    assert a.gateways["sms"].authorization != b.gateways["sms"].authorization
    assert a.ops.operators[0].token.reveal() != b.ops.operators[0].token.reveal()


def test_it_never_overwrites(bridge: Run, folder: Path) -> None:
    """An existing file stays as it is, and so does what a link points to."""
    before = (folder / "bridge.toml").read_text()
    (folder / "link.toml").symlink_to("nowhere.toml")
    for arguments in ([], ["bridge.toml"], ["link.toml"]):
        result = bridge("init", "--non-interactive", *arguments)
        assert result.code == 1
        assert "never overwritten" in result.err
    assert (folder / "bridge.toml").read_text() == before
    assert not (folder / "nowhere.toml").exists()


def test_a_folder_that_is_not_there_is_a_sentence(bridge: Run) -> None:
    """No folder is made for a file by mistake."""
    result = bridge("init", "--non-interactive", "nowhere/bridge.toml")
    assert result.code == 1
    assert "nowhere/bridge.toml cannot be written" in result.err


def test_on_a_terminal_it_asks_for_address_and_senders(folder: Path) -> None:
    """What cannot be used is asked for again; the answers are in the file."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bridge", "init", "asked.toml"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, b"nonsense\nhttps://bridge.example\nCasino, Casino ${VIP}\n")
        assert process.wait(20) == 0
    os.close(ours)
    settings = load_settings(folder / "asked.toml", ENVIRON)
    assert settings.server.public_url == "https://bridge.example"
    assert settings.gateways["sms"].senders == ("Casino", "Casino ${VIP}")


def test_a_key_that_is_not_there_once_is_a_bug() -> None:
    """If the template changes, this does not go wrong silently."""
    assert tomllib.loads(set_key("# port = 8080  # the port", "port", "x"))["port"] == "x"
    with pytest.raises(ValueError, match="stands 0 times"):
        set_key("", "port", "x")
