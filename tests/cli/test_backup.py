"""`bridge db backup`: the file as it is, so that there is a way back from a newer version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bridge.store.sqlite import latest_version, schema_version
from tests.cli.conftest import Run


def test_a_backup_is_taken_before_the_file_is_brought_up_to_date(bridge: Run, folder: Path) -> None:
    """The first backup with a new version is of the old schema, and the file itself stays as it was."""
    assert bridge("db", "migrate").code == 0
    older = latest_version() - 1
    with closing(sqlite3.connect(folder / "bridge.db")) as connection:
        connection.execute(f"PRAGMA user_version = {older}")
    assert bridge("db", "backup", "copy.db").code == 0
    assert schema_version(folder / "copy.db") == schema_version(folder / "bridge.db") == older


def test_a_backup_of_nothing_makes_nothing(bridge: Run, folder: Path) -> None:
    """Where there is no database, the command says so, and leaves no file."""
    result = bridge("db", "backup", "copy.db")
    assert result.code == 1
    assert "cannot be opened" in result.err
    assert [each.name for each in folder.iterdir()] == ["bridge.toml"]
