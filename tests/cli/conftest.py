"""What the tests of the commands share: a folder with settings, and running a command in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from bridge.cli import main

SETTINGS = """
[server]
port = 0
public_url = "https://bridge.example"

[database]
url = "sqlite:///bridge.db"
pii_key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

[smartico]
api_key = "key-of-smartico"
callback_hosts = ["*.smartico.ai"]

[providers.revicom]
token = "token-of-revicom"
callback_password = "password-of-callbacks"

[gateways.sms]
authorization = ["secret-of-sms"]
senders = ["Casino"]

[[ops.operators]]
name = "alice"
token = "an-operator-token-for-tests"
"""
SECRETS = (
    "key-of-smartico",
    "token-of-revicom",
    "password-of-callbacks",
    "secret-of-sms",
    "an-operator-token-for-tests",
)


class Result(Struct, frozen=True):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which must be JSON and nothing else."""
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings that can be used, and nothing else; it is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BRIDGE_CONFIG", raising=False)
    (tmp_path / "bridge.toml").write_text(SETTINGS)
    (tmp_path / "bridge.toml").chmod(0o600)
    return tmp_path


@pytest.fixture
def bridge(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command, to its exit code. No secret of the settings may ever be in what it prints."""

    def run(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfd.readouterr()
        assert not [secret for secret in SECRETS if secret in out + err]
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, out, err)

    return run
