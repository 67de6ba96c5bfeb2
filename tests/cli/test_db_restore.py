"""`bridge db restore`: what it replaces, what it refuses, and what it makes of what waited."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bridge.store.sqlite.lock import OwnerLock
from tests.cli.conftest import SETTINGS, Run

WAITING = """INSERT INTO sends (message_id, provider, gateway, phase, destination, due_at, expires_at)
VALUES (x'01', 'revicom', 'sms', 'queued', x'', 1, 1), (x'02', 'revicom', 'sms', 'lookup', x'', 1, 1),
    (x'03', 'revicom', 'sms', 'queued', x'', 1, 1)"""


@pytest.fixture
def backup(bridge: Run, folder: Path) -> Path:
    """A backup in which two messages wait, and one is being asked for; the database has gone on since."""
    assert bridge("db", "migrate").code == 0
    with closing(sqlite3.connect(folder / "bridge.db")) as database:
        database.executescript(WAITING)
    assert bridge("db", "backup", "good.db").code == 0
    with closing(sqlite3.connect(folder / "bridge.db")) as database:
        database.executescript("DELETE FROM sends")
    return folder / "good.db"


def phases(file: Path) -> list[tuple[str, bool]]:
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute(
            "SELECT phase, handed_at > 1700000000000 FROM sends ORDER BY message_id"
        ).fetchall()
    return [(phase, bool(handed)) for phase, handed in rows]


def test_what_waited_is_perhaps_sent(bridge: Run, folder: Path, backup: Path) -> None:
    """Nobody knows what was sent since: it counts as handed over just now, so that the provider is asked."""
    result = bridge("db", "restore", "good.db", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["asked_for"] == 2
    assert phases(folder / "bridge.db") == [("handed", True), ("lookup", False), ("handed", True)]
    assert phases(backup) == [("queued", False), ("lookup", False), ("queued", False)]
    assert phases(folder / "bridge.db.before-restore") == []
    assert (folder / "bridge.db").stat().st_mode & 0o777 == 0o600
    assert bridge("check", "--offline").code == 0


def test_the_log_of_the_former_file_goes_with_it(bridge: Run, folder: Path, backup: Path) -> None:
    """SQLite would take it for the log of the restored file, and damage that."""
    (folder / "bridge.db-wal").write_bytes(b"the log of a file that was not closed")
    result = bridge("db", "restore", "good.db")
    assert result.code == 0, result.err
    assert "2 messages waited to be sent: the provider is asked" in result.out
    assert not (folder / "bridge.db-wal").exists()
    assert (folder / "bridge.db.before-restore-wal").read_bytes() == b"the log of a file that was not closed"


def test_where_nothing_was(bridge: Run, folder: Path, backup: Path) -> None:
    """A new machine: there is nothing to keep."""
    (folder / "bridge.db").unlink()
    result = bridge("db", "restore", "good.db")
    assert (result.code, "before" in result.out) == (0, False)
    assert len(phases(folder / "bridge.db")) == 3


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.db", None, "is no file: name a backup"),
        ("other.db", b"This is no database. " * 1000, "damaged, or is none"),
        ("short.db", b"", "damaged"),
    ],
)
def test_what_is_no_backup(
    bridge: Run, folder: Path, backup: Path, name: str, content: bytes | None, sentence: str
) -> None:
    """It is refused with a sentence, and nothing has changed."""
    before = (folder / "bridge.db").read_bytes()
    if content is not None:
        whole = backup.read_bytes()
        (folder / name).write_bytes(content or whole[: len(whole) // 2 // 4096 * 4096])
    result = bridge("db", "restore", name)
    assert (result.code, result.out) == (1, "")
    assert sentence in result.err
    assert (folder / "bridge.db").read_bytes() == before
    assert not list(folder.glob("*restor*"))


def test_another_key(bridge: Run, folder: Path, backup: Path) -> None:
    """A backup that this pii_key does not open would be of no use."""
    before = (folder / "bridge.db").read_bytes()
    other = SETTINGS.replace("MDEy", "MDEz")
    (folder / "bridge.toml").write_text(other)
    result = bridge("db", "restore", "good.db")
    assert (result.code, "pii_key is not the one" in result.err) == (1, True)
    assert (folder / "bridge.db").read_bytes() == before
    assert not list(folder.glob("*restor*"))


def test_while_a_service_runs_or_a_second_time(bridge: Run, folder: Path, backup: Path) -> None:
    """The file of a service is not taken away from it; what an earlier restore has kept is not replaced."""
    lock = OwnerLock(folder / "bridge.db")
    result = bridge("db", "restore", "good.db")
    assert (result.code, "one process owns a SQLite database" in result.err) == (1, True)
    lock.release()
    assert bridge("db", "restore", "good.db").code == 0
    result = bridge("db", "restore", "good.db")
    assert (result.code, "from an earlier restore" in result.err) == (1, True)
