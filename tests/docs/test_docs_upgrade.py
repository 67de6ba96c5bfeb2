"""docs/upgrade.md: the sentences in it are those of the program, and its way back leads back."""

from __future__ import annotations

import shlex
import sqlite3
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


def test_going_back(bridge: Run, folder: Path) -> None:
    """The steps of the page bring back what was there, whatever was written since."""
    backup, *rest = [
        line for block in blocks(PAGE, "sh") for line in block.splitlines() if "db backup" in line
    ]
    (steps,) = [block for block in blocks(PAGE, "sh") if "db restore" in block]
    assert rest == []
    assert bridge("db", "migrate").code == 0
    mark(folder, "before")
    assert bridge(*shlex.split(backup, comments=True)[1:]).code == 0
    mark(folder, "after")
    for step in steps.splitlines():
        offline = ["--offline"] if "check" in step else []
        assert bridge(*shlex.split(step, comments=True)[1:], *offline).code == 0
    assert marked(folder) == "before"
