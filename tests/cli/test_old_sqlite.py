"""A SQLite library that is too old is refused by whatever opens a database, and said by the check."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.store.sqlite.library import too_old

OLD = "import sqlite3\nsqlite3.sqlite_version_info = (3, 39, 5)\n"
SENTENCE = "The SQLite library of this Python, version 3.39.5, is too old: install 3.40 or newer."


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a Python whose SQLite says that it is an old one."""
    (folder / "old").mkdir(exist_ok=True)
    (folder / "old/sitecustomize.py").write_text(OLD)
    path = os.pathsep.join([str(folder / "old"), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "bridge", *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", [["serve", "--port", "0"], ["db", "migrate"], ["db", "status"]])
def test_nothing_is_opened_with_an_old_library(folder: Path, words: list[str]) -> None:
    """The service and every other command end with the sentence and exit code 1, and write nothing."""
    done = run(folder, *words)
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (1, SENTENCE)
    assert not (folder / "bridge.db").exists() or not (folder / "bridge.db").read_bytes()


def test_the_check_says_it_once(folder: Path) -> None:
    """One line, in the words of the service; the database is not looked at."""
    done = run(folder, "check", "--offline")
    assert done.returncode == 1
    assert f"error    sqlite: {SENTENCE}\n" in done.stdout
    assert " database: " not in done.stdout


def test_which_versions_will_do() -> None:
    """3.40.0 is the first one."""
    assert too_old((3, 40, 0)) is None
    assert too_old((4, 0, 0)) is None
    assert too_old((3, 39, 5)) == SENTENCE
