"""`bridge check`: one line each, with the mend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.check_here import check_clock, check_disk
from bridge.cli.check_peers import callback_addresses, compare_clocks
from bridge.settings import parse_settings
from bridge.sim import RevicomConfig, RevicomSimulator
from bridge.store.sqlite.lock import OwnerLock
from tests.cli.conftest import SETTINGS, Run
from tests.e2e.stage import BridgeProcess

GIB = 1024**3


def levels(result: Any) -> dict[str, set[str]]:
    """What was looked at, and how it was found."""
    found: dict[str, set[str]] = {}
    for item in result["items"]:
        found.setdefault(item["check"], set()).add(item["level"])
    return found


def test_offline_everything_is_fine(bridge: Run, folder: Path) -> None:
    """Settings, tables, database, contacts, disk, SQLite and clock; neither provider nor Smartico."""
    (folder / "people.csv").write_text("ext_user_id,phone,email\nplayer1,+14155550101,\n")
    assert bridge("contacts", "import", "people.csv").code == 0
    result = bridge("check", "--offline", "--json")
    assert (result.code, result.json["ok"]) == (0, True)
    found = levels(result.json)
    assert found.pop("settings") == {"ok"}
    assert found == {each: {"ok"} for each in ("mappings", "sqlite", "database", "contacts", "disk", "clock")}
    lines = bridge("check", "--offline").out.splitlines()
    assert len(lines) == len(result.json["items"])
    assert all(line.startswith(("ok       ", "warning  ")) for line in lines)


@pytest.mark.parametrize("damage", ["no database", "truncated", "header", "empty pages"])
def test_a_damaged_database_is_said(bridge: Run, folder: Path, damage: str) -> None:
    """With what to do; the file stays as it is, for whoever can save something of it."""
    assert bridge("db", "migrate").code == 0
    file = folder / "bridge.db"
    content = file.read_bytes()
    damaged = {
        "no database": b"This is no database. " * 1000,
        "truncated": content[: len(content) // 2 // 4096 * 4096],
        "header": b"x" * 100 + content[100:],
        "empty pages": content[:4096] + bytes(len(content) - 4096),
    }[damage]
    file.write_bytes(damaged)
    result = bridge("check", "--offline", "--json")
    assert result.code == 1
    (found,) = [item for item in result.json["items"] if item["check"] == "database"]
    assert found["level"] == "error"
    assert "is damaged" in found["text"]
    assert "put a backup in its place" in found["text"]
    assert file.read_bytes() == damaged


def test_wrong_settings_are_all_said(bridge: Run, folder: Path) -> None:
    """One line for each problem, and nothing else is looked at."""
    (folder / "bridge.toml").write_text("[server]\nprot = 1\nhost = 7\n")
    result = bridge("check", "--offline", "--json")
    assert result.code == 1
    assert levels(result.json) == {"settings": {"error"}}
    assert len(result.json["items"]) >= 2


def test_a_provider_that_refuses_its_settings(bridge: Run, folder: Path) -> None:
    """What only the provider itself can judge is a finding like any other, and --json stays JSON."""
    with (folder / "bridge.toml").open("a") as file:
        file.write('[providers.grid]\nadapter = "sendgrid"\ntoken = "t"\nwebhook_public_key = "AAAA"\n')
    for arguments in (["--offline"], []):
        result = bridge("check", "--json", *arguments)
        assert result.code == 1
        (found,) = [each for each in result.json["items"] if each["level"] == "error"]
        assert found["check"] == "settings"
        assert "providers.grid.webhook_public_key" in found["text"]


def test_open_addresses_are_warnings(bridge: Run, folder: Path) -> None:
    """Warnings of the settings are shown, and are no failure."""
    settings = SETTINGS.replace("https://bridge.example", "http://127.0.0.1:8080")
    (folder / "bridge.toml").write_text(
        settings + '\n[providers.mail]\n[gateways.email]\nauthorization = ["x"]\n'
    )
    result = bridge("check", "--offline")
    assert result.code == 0
    assert result.out.count("warning  settings: server.public_url") == 2
    assert "warning  settings: providers.mail.host" in result.out


def test_wrong_tables_are_all_said(bridge: Run, folder: Path) -> None:
    """Both files' problems, and a file that no adapter reads."""
    (folder / "mine").mkdir()
    (folder / "mine/revicom.toml").write_text("nonsense = 1\n")
    (folder / "mine/smartico.toml").write_text("this is no TOML\n")
    (folder / "mine/revicon.toml").touch()
    (folder / "bridge.toml").write_text('mappings_dir = "mine"\n' + SETTINGS)
    result = bridge("check", "--offline")
    assert result.code == 1
    assert "error    mappings: " in result.out
    assert "mine/revicom.toml" in result.out
    assert "mine/smartico.toml" in result.out
    assert "warning  mappings: " in result.out
    (folder / "bridge.toml").write_text('mappings_dir = "nowhere"\n' + SETTINGS)
    assert bridge("check", "--offline").out.count("mappings_dir is no folder") == 1


def test_a_database_that_cannot_be_used_is_an_error(bridge: Run, folder: Path) -> None:
    """A folder that does not exist, and another pii_key, each with the mend."""
    (folder / "bridge.toml").write_text(
        SETTINGS.replace("sqlite:///bridge.db", "sqlite:///nowhere/bridge.db")
    )
    result = bridge("check", "--offline")
    assert result.code == 1
    assert "error    database: The folder" in result.out
    (folder / "bridge.toml").write_text(SETTINGS)
    assert bridge("check", "--offline").code == 0
    (folder / "bridge.toml").write_text(SETTINGS.replace("MDEyMzQ1", "OTg3NjU0"))
    assert "error    database: database.pii_key is not the one" in bridge("check", "--offline").out


def test_beside_an_owner_it_only_reads(bridge: Run, folder: Path) -> None:
    """A service is not disturbed, and is named."""
    bridge("db", "migrate")
    with OwnerLock(folder / "bridge.db"):
        result = bridge("check", "--offline")
    assert result.code == 0
    assert "owns it" in result.out


@pytest.mark.parametrize(("free", "level"), [(2 * GIB, "ok"), (GIB - 1, "warning"), (GIB // 11, "error")])
def test_disk(free: int, level: str) -> None:
    """Below 1 GiB a warning, below 100 MiB an error."""
    assert check_disk(Path("/var/lib"), free).level == level


def test_clock() -> None:
    """A year that cannot be is an error; beside a provider's clock 5 s are odd, and 60 s are wrong."""
    now = datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert check_clock(now).level == "ok"
    assert check_clock(now.replace(year=1970)).level == "error"
    found = [
        compare_clocks("revicom", now, now + timedelta(seconds=seconds)).level for seconds in (-5, 6, -60, 61)
    ]
    assert found == ["ok", "warning", "warning", "error"]


def test_which_callback_hosts_can_be_tried() -> None:
    """Hosts that are known by name; for Smartico's own domain its API; http where the settings allow it."""
    hosts = '"*.smartico.ai", "crm.example:8443", "*.example"'
    text = SETTINGS.replace('"*.smartico.ai"', hosts)
    settings = parse_settings(text, file="x", base_dir=Path(), environ={})
    assert callback_addresses(settings) == {
        "api.smartico.ai": ["https://api.smartico.ai/"],
        "crm.example:8443": ["https://crm.example:8443/"],
    }
    text = SETTINGS.replace("[smartico]", "[smartico]\nallow_insecure_callbacks = true")
    settings = parse_settings(text, file="x", base_dir=Path(), environ={})
    assert callback_addresses(settings)["api.smartico.ai"][1] == "http://api.smartico.ai/"


@pytest.fixture
async def provider() -> AsyncIterator[RevicomSimulator]:
    async with RevicomSimulator(RevicomConfig(token="token-of-revicom")) as simulator:
        yield simulator


async def check(folder: Path, url: str, old: str = "", new: str = "") -> tuple[int, str]:
    """`bridge check` against a provider, with a change of the settings."""
    process = BridgeProcess(folder, url, smartico='callback_hosts = ["127.0.0.1:1"]')
    text = process.settings.read_text().replace('callback_hosts = ["127.0.0.1"]\n', "")
    process.settings.write_text(text.replace(old, new) if old else text)
    code, out, _ = await process.command("check")
    return code, out


async def test_the_provider_is_asked(tmp_path: Path, provider: RevicomSimulator) -> None:
    """A good token shows the balance and compares clocks; a Smartico that is away is a warning."""
    code, out = await check(tmp_path, provider.url)
    assert code == 0
    assert "ok       provider revicom: the token is good, the balance is " in out
    assert "from the clock of provider revicom" in out
    assert "warning  smartico: 127.0.0.1:1 cannot be reached" in out


async def test_a_wrong_token_is_an_error_with_the_mend(tmp_path: Path, provider: RevicomSimulator) -> None:
    """The token itself is not shown."""
    code, out = await check(tmp_path, provider.url, "token-of-revicom", "another-token")
    assert code == 1
    assert "error    provider revicom: it refuses the token" in out
    assert "correct providers.revicom.token" in out
    assert "another-token" not in out


async def test_a_provider_that_is_away_is_an_error(tmp_path: Path) -> None:
    """Nothing could be sent."""
    code, out = await check(tmp_path, "http://127.0.0.1:1")
    assert code == 1
    assert "error    provider revicom: it does not answer to a ping" in out
