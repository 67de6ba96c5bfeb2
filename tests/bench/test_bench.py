"""`bridge bench` as people and checks call it: real processes, a few messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.bench.run import LONG, SCENARIOS
from bridge.bench.subjects import NaiveSubject
from bridge.cli.bench import LONG_NAMES, NAMES
from bridge.errors import BridgeError

PROMISED = {
    "sends_per_second", "callback_items_per_second", "reports_per_second", "end_to_end_messages_per_second",
    "report_latency_ms", "inbox_lag_seconds", "lost", "duplicated", "peak_rss_mb", "versions",
}  # fmt: skip


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge", "bench", *arguments]
    return subprocess.run(command, capture_output=True, check=False, text=True, cwd=folder, timeout=110)


def test_the_command_offers_every_scenario() -> None:
    """It names them itself, so that --help need not load them."""
    assert tuple(SCENARIOS) == NAMES
    assert tuple(LONG) == LONG_NAMES


def test_without_the_repository_there_is_nothing_to_compare_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel has no bench/ beside it; that is said before anything is measured."""
    monkeypatch.setattr("bridge.__file__", str(tmp_path / "bridge" / "__init__.py"))
    with pytest.raises(BridgeError, match="in the repository only"):
        NaiveSubject()


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_small_bench_has_every_figure_and_loses_nothing(tmp_path: Path) -> None:
    """The contract's names, with figures in them; JSON and nothing else on stdout; nothing stays behind."""
    ended = bench(tmp_path, "--messages", "40", "--json")
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    assert set(result) >= PROMISED
    assert (result["lost"], result["duplicated"], result["problems"]) == (0, 0, [])
    assert set(result["callback_items_per_second"]) == {"1", "10", "100", "1000"}
    assert set(result["report_latency_ms"]) == {"p50", "p95", "p99"}
    figures = [result[name] for name in PROMISED if name.endswith("_per_second")]
    assert all(each > 0 for each in figures if not isinstance(each, dict))
    assert {name for name, each in result["scenarios"].items() if each} == set(NAMES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
@pytest.mark.slow
def test_a_table_has_a_line_for_each_scenario(tmp_path: Path) -> None:
    """In a pipe: a heading and one line each, columns by tabs; what goes on is said on stderr."""
    ended = bench(tmp_path, "--messages", "20", "--only", "sends")
    assert ended.returncode == 0, ended.stderr
    heading, *lines = ended.stdout.splitlines()
    assert heading.split("\t")[0] == "SCENARIO"
    assert [line.split("\t")[0] for line in lines] == ["sends"]
    assert "Measuring sends of bridge." in ended.stderr
