"""What `bridge check` says of this machine and of the address at which the bridge is reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli.check_machine import check_file_system, check_port
from bridge.cli.check_peers import check_public_url
from bridge.settings import Settings, load_settings, parse_settings
from bridge.sim import RevicomConfig, RevicomSimulator
from tests.cli.conftest import SETTINGS, Run
from tests.e2e.stage import BridgeProcess

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/export /var/lib/bridge nfs4 rw 0 0
/dev/sdb1 /var/lib/bridge/local ext4 rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
host: /mnt/there fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/bridge", "nfs4"),
        ("/var/lib/bridge/data", "nfs4"),
        ("/var/lib/bridge/local", ""),
        ("/var/lib/bridges", ""),
        ("/mnt/my share/data", "cifs"),
        ("/mnt/there", "fuse.sshfs"),
        ("/", ""),
    ],
)
def test_a_database_on_another_machine(folder: str, kind: str) -> None:
    """The nearest mount counts; a disk of another machine is a warning that names its kind and the mend."""
    found = list(check_file_system(Path(folder), MOUNTS))
    assert [each.level for each in found] == (["warning"] if kind else [])
    assert all(f"({kind})" in each.text and "PostgreSQL" in each.text for each in found)


def test_a_system_that_does_not_say_what_is_mounted() -> None:
    """Nothing is said where nothing is known."""
    assert list(check_file_system(Path("/data"), "")) == []


@pytest.mark.parametrize(("mode", "said"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_file_that_everybody_can_read(bridge: Run, folder: Path, mode: int, said: bool) -> None:
    """Secrets in a file that others can read are a warning, with the command that mends it."""
    (folder / "bridge.toml").chmod(mode)
    assert ("everybody on this machine can read it: chmod o-rwx" in bridge("check", "--offline").out) is said


def test_a_file_without_secrets_may_be_read(
    bridge: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References to secrets are none, so a file that holds only those is nobody's secret."""
    text = SETTINGS
    secrets = (
        "key-of-smartico",
        "token-of-revicom",
        "password-of-callbacks",
        "secret-of-sms",
        "an-operator-token-for",
    )
    for place, secret in enumerate((*secrets, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")):
        monkeypatch.setenv(f"NUMBER_{place}", secret)
        text = text.replace(secret, f"${{NUMBER_{place}}}")
    (folder / "bridge.toml").write_text(text)
    (folder / "bridge.toml").chmod(0o644)
    assert "can read it" not in bridge("check", "--offline").out


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_that_is_taken(bridge: Run, folder: Path, taken: int) -> None:
    """An error with the mend, for the service would not start; the service itself says the same."""
    (folder / "bridge.toml").write_text(SETTINGS.replace("port = 0", f"port = {taken}"))
    sentence = (
        f"127.0.0.1:{taken} cannot be listened on (Address already in use): stop the program that has it, or "
    )
    result = bridge("check", "--offline")
    assert (result.code, f"error    port: {sentence}" in result.out) == (1, True)
    result = bridge("serve")
    assert (result.code, sentence in result.err) == (1, True)


def test_an_address_that_this_machine_does_not_have(bridge: Run, folder: Path) -> None:
    """A public address behind a router is none of this machine's: the mend names server.host."""
    (folder / "bridge.toml").write_text(SETTINGS.replace("port = 0", 'port = 8080\nhost = "192.0.2.1"'))
    result = bridge("check", "--offline")
    assert result.code == 1
    assert "error    port: 192.0.2.1:8080 cannot be listened on (" in result.out
    assert "set server.host to an address of this machine" in result.out


def test_nobody_in_the_directory(bridge: Run, folder: Path) -> None:
    """A warning, for every message would be refused; not where the platform is asked."""
    assert "warning  contacts: nobody is in the directory" in bridge("check", "--offline").out
    platform = '\n[contacts]\nsource = "http"\nhttp.url = "https://platform.example/{ext_user_id}"\n'
    (folder / "bridge.toml").write_text(SETTINGS + platform)
    assert " contacts: " not in bridge("check", "--offline").out


async def test_a_public_url_is_tried() -> None:
    """Nobody there, or somebody else, is a warning; an address of this machine alone is not tried."""
    nobody = await check_public_url("https://no-such-host.invalid")
    assert nobody is not None
    assert nobody.level == "warning"
    assert nobody.text.startswith("nobody answers at https://no-such-host.invalid (")
    async with RevicomSimulator(RevicomConfig()) as simulator:
        other = await check_public_url(simulator.url.replace("127.0.0.1", "0.0.0.0"))
        assert other is not None
        assert other.level == "warning"
        assert "answers HTTP 404, and not as a bridge" in other.text
        assert await check_public_url(simulator.url) is None


async def test_a_running_bridge_is_known(tmp_path: Path) -> None:
    """By its answer: at its public address, and at its port. On PostgreSQL it may be the one with these settings; a
    bridge that has another SQLite file is in the way."""
    process = BridgeProcess(tmp_path, "http://127.0.0.1:1")
    await process.start()
    address = await check_public_url(process.url.replace("127.0.0.1", "0.0.0.0"))
    text = SETTINGS.replace("port = 0", f"port = {process.port}")
    own = await check_port(load_settings(process.settings, {}))
    other = await check_port(parse(text.replace("sqlite:///bridge.db", "sqlite:///other.db"), tmp_path))
    shared = await check_port(parse(text.replace("sqlite:///bridge.db", "postgresql://u@h/bridge"), tmp_path))
    await process.stop()
    assert address is not None
    assert address.level == "ok"
    assert own is None
    assert other is not None
    assert other.level == "error"
    assert shared is not None
    assert (shared.level, shared.text) == ("ok", f"a bridge answers at 127.0.0.1:{process.port}")


def parse(text: str, folder: Path) -> Settings:
    return parse_settings(text, file="bridge.toml", base_dir=folder, environ={})
