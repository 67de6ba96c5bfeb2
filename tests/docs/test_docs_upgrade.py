"""docs/upgrade.md: the sentences in it are those of the program, and its way back leads back."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.docs.pages import arguments, blocks, fits, page, spans

PAGE = page("upgrade.md")


@pytest.mark.parametrize("path", ["bridge/store/sqlite/__init__.py", "bridge/store/postgres/schema.py"])
def test_how_an_older_program_refuses_a_newer_database(path: str) -> None:
    """The sentence is quoted as it is, and both engines say it."""
    (said,) = {each for each in arguments(path, "StoreError", 0) if "newer version" in each}
    assert any(fits(said, each) for each in spans(PAGE))


def mark(folder: Path, value: str) -> None:
    with closing(sqlite3.connect(folder / "bridge.db")) as connection:
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('test', ?)", (value,))
        connection.commit()


def marked(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "bridge.db")) as connection:
        return str(connection.execute("SELECT value FROM meta WHERE key = 'test'").fetchone()[0])


def test_restoring_a_backup(bridge: Run, folder: Path) -> None:
    """The steps of the page bring back what was there, whatever was written since, and set the rest aside."""
    (backup,) = re.findall(r"^bridge (db backup [\w.]+)", "\n".join(blocks(PAGE, "sh")), re.MULTILINE)
    (steps,) = [block for block in blocks(PAGE, "sh") if "set-aside" in block]
    assert bridge("db", "migrate").code == 0
    mark(folder, "before")
    assert bridge(*backup.split()).code == 0
    mark(folder, "after")
    commands = [line for line in steps.splitlines() if not line.startswith("bridge")]
    subprocess.run(["sh", "-c", "\n".join(commands)], check=True, cwd=folder, capture_output=True)
    assert marked(folder) == "before"
    assert (folder / "set-aside" / "bridge.db").is_file()
    assert bridge("check", "--offline").code == 0
