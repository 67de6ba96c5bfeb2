"""At which commit a process dies that was told to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.soak.dying import Watch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "point"


def test_without_a_point_nobody_dies(file: Path) -> None:
    """No file, no death."""
    assert Watch(file).meets(["add_message"]) == (False, False)


def test_commits_count_from_when_the_point_is_named(file: Path) -> None:
    """The third one from then on, and none of those before or after it."""
    watch = Watch(file)
    watch.meets(["add_message"])
    file.write_text("before 3 any")
    assert [watch.meets([]) for _ in range(4)] == [(False, False)] * 2 + [(True, False), (False, False)]


def test_a_kind_counts_only_its_own(file: Path) -> None:
    """Commits of other statements pass by."""
    watch = Watch(file)
    file.write_text("after 2 hand_send")
    commits = ["add_message"], ["hand_send"], ["add_batch"], ["add_step", "hand_send"]
    assert [watch.meets(names) for names in commits] == [(False, False)] * 3 + [(False, True)]


def test_another_point_begins_anew(file: Path) -> None:
    """What was counted for the one before is forgotten."""
    watch = Watch(file)
    file.write_text("before 2 any")
    watch.meets([])
    file.write_text("after 2 any")
    assert [watch.meets([]) for _ in range(2)] == [(False, False), (False, True)]


def test_the_bridge_knows_nothing_of_it() -> None:
    """Importing the whole service brings in neither the launcher nor its variable: nobody can switch it on there."""
    code = "import sys, bridge.process, bridge.cli; print([name for name in sys.modules if 'soak' in name])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    sources = Path(__file__).parents[2].joinpath("bridge").rglob("*.py")
    assert not [path for path in sources if "SOAK_POINT" in path.read_text()]
