"""`bridge keys`: the change of database.pii_key, step by step, without a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.store.sqlite.lock import OwnerLock
from tests.cli.conftest import SETTINGS, Run

FORMER = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
PRESENT = "OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2NTQzMjEwOTg="
BOTH = f'pii_key = "{PRESENT}"\npii_key_old = "{FORMER}"'
NEW = f'pii_key = "{PRESENT}"'
NONE = 'pii_key = ""'


def keys(folder: Path, lines: str) -> None:
    """Writes the settings with these keys."""
    (folder / "bridge.toml").write_text(SETTINGS.replace(f'pii_key = "{FORMER}"', lines))


@pytest.fixture
def people(bridge: Run, folder: Path) -> None:
    """Three contacts, kept with the key of the settings."""
    rows = "\n".join(f"user-{number},+44770090012{number},{number}@example.com" for number in range(3))
    (folder / "people.csv").write_text(f"ext_user_id,phone,email\n{rows}\n")
    assert bridge("contacts", "import", "people.csv").code == 0


def status(bridge: Run) -> dict[str, int]:
    found = bridge("keys", "status", "--json").json
    assert len(found.pop("key")) in (0, 16)
    return {name: value for name, value in found.items() if value}


@pytest.mark.usefixtures("people")
def test_from_one_key_to_another(bridge: Run, folder: Path) -> None:
    """Both keys, rotate, the new key alone; at every step `status` and `check` say what is next."""
    assert status(bridge) == {"present": 6}
    assert "Nothing is left to do." in bridge("keys", "status").out
    keys(folder, BOTH)
    assert status(bridge) == {"former": 6, "unfinished": True}
    assert "Next: bridge keys rotate." in bridge("keys", "status").out
    assert "warning  keys: values are sealed with the former" in bridge("check", "--offline").out
    assert (
        bridge("keys", "rotate", "--dry-run").out == "6 values would be sealed anew; nothing was changed.\n"
    )
    assert status(bridge) == {"former": 6, "unfinished": True}
    result = bridge("keys", "rotate")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "6 values were sealed anew with database.pii_key. Nothing needs the former key now: take database.pii_key_old "
        "out, and restart bridge.\n"
        "Free pages of the file may hold former values: to clear them, stop bridge and run VACUUM on it.\n"
    )
    assert "take database.pii_key_old out" in bridge("keys", "status").out
    assert "warning  keys: nothing needs database.pii_key_old" in bridge("check", "--offline").out
    keys(folder, NEW)
    assert status(bridge) == {"present": 6}
    assert " keys: " not in bridge("check", "--offline").out
    assert bridge("contacts", "show", "user-1", "--json").json["email"].endswith("@example.com")
    assert bridge("keys", "rotate", "--json").json == {"resealed": 0, "unreadable": 0, "dry_run": False}
    assert bridge("keys", "rotate").out.endswith("All are sealed with it.\n")


@pytest.mark.usefixtures("people")
def test_the_new_key_alone_is_refused_until_then(bridge: Run, folder: Path) -> None:
    """Whoever takes the former key out too early is told to set it again."""
    keys(folder, NEW)
    assert "database.pii_key is not the one" in bridge("keys", "rotate").err
    keys(folder, BOTH)
    assert bridge("check", "--offline").code == 0
    keys(folder, NEW)
    for command in (("keys", "rotate"), ("contacts", "show", "user-1"), ("keys", "status")):
        result = bridge(*command)
        assert result.code == 1
        assert "set database.pii_key_old to that key, and run bridge keys rotate" in result.err


def test_from_no_key_to_one(bridge: Run, folder: Path) -> None:
    """A database without a key gets one; without the key it does not open any more."""
    keys(folder, NONE)
    (folder / "people.csv").write_text("ext_user_id,phone,email\nanna,+447700900123,\n")
    bridge("contacts", "import", "people.csv")
    assert status(bridge) == {"plain": 1}
    assert "Personal data is not encrypted." in bridge("keys", "status").out
    for arguments in ([], ["--dry-run"]):
        assert "database.pii_key is empty" in bridge("keys", "rotate", *arguments).err
    keys(folder, NEW)
    assert status(bridge) == {"plain": 1, "unfinished": True}
    assert "1 values were sealed anew" in bridge("keys", "rotate").out
    assert status(bridge) == {"present": 1}
    assert bridge("contacts", "show", "anna").code == 0
    keys(folder, NONE)
    assert "database.pii_key is not the one" in bridge("contacts", "show", "anna").err


@pytest.mark.usefixtures("people")
def test_beside_another_command_it_waits_for_its_turn(bridge: Run, folder: Path) -> None:
    """Whoever owns the file and is no service lets nobody else change it; looking is possible."""
    keys(folder, BOTH)
    with OwnerLock(folder / "bridge.db"):
        assert "try again" in bridge("keys", "rotate").err
        assert status(bridge) == {"former": 6, "unfinished": True}
