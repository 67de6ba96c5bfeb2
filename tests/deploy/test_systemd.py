"""bridge.service: what systemd itself says of it, and whatever it names, looked up where that comes from."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.cli.serve import serve_command
from bridge.settings import parse_settings

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "bridge.service"
SETTINGS = ROOT / "deploy" / "systemd" / "bridge.toml"
HANDED = "/run/credentials/bridge.service"  # where systemd puts them, for a unit of this name


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("there is no systemd-analyze: apt-get install systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=50, check=False)


def test_systemd_understands_it(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, once the program is there."""
    program = shlex.split(values("ExecStart")[0])[0]
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace(program, "/bin/true"))
    said = analyze("verify", "--man=no", str(unit))
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_it_is_shut_in() -> None:
    """By systemd's own count (10: open to everything) it has little to attack with."""
    said = analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT))
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_bridge_takes_the_command() -> None:
    """ExecStart is a command of the bridge, and names the settings that the guide copies."""
    program, name, *arguments = shlex.split(values("ExecStart")[0])
    assert Path(program).name == "bridge"
    assert name == serve_command.name
    assert serve_command.make_context("serve", arguments).params["config"] == Path("/etc/bridge/bridge.toml")


def test_it_may_stop_in_order_and_comes_back() -> None:
    """More time than the ten seconds of a stop, one signal for the bridge alone, and a new start whatever happened."""
    assert int(values("TimeoutStopSec")[0]) > 10
    assert values("KillSignal") == ["SIGTERM"]
    assert values("KillMode") == ["mixed"]
    assert values("Restart") == ["always"]
    assert values("StartLimitIntervalSec") == ["0"]


def test_secrets_come_as_credentials(tmp_path: Path) -> None:
    """Each secret of bridge.toml is one that systemd hands over, and the reverse; with them it can be read."""
    text = SETTINGS.read_text(encoding="utf-8")
    asked = re.findall(r"\$\{file:([^}]*)\}", text)
    given = dict(value.split(":") for value in values("LoadCredential"))
    assert {f"{HANDED}/{name}" for name in given} == set(asked)
    assert all(path == f"/etc/bridge/secrets/{name}" for name, path in given.items())
    for name in given:
        (tmp_path / name).write_text(f"the-secret-called-{name}\n")
    (tmp_path / "pii-key").write_text("A" * 43 + "=\n")
    settings = parse_settings(
        text.replace(HANDED, str(tmp_path)), file="bridge.toml", base_dir=tmp_path, environ={}
    )
    assert settings.warnings == ()
    assert settings.ops.operators[0].token.reveal() == "the-secret-called-ops-admin-token"
    assert settings.database_path().parent == Path("/var/lib") / values("StateDirectory")[0]
    assert values("WorkingDirectory") == [str(settings.database_path().parent)]
