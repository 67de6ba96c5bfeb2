"""The simulated outage of Smartico, in its short form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_long_outage_leaves_is_drained_in_order_without_a_storm(tmp_path: Path) -> None:
    """Probed one at a time, hardly an attempt used up, no host held up by another; then all goes out at its pace."""
    arguments = ["--reports", "5000", "--hours", "2", "--per-second", "400", "--json"]
    ended = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "outage" / "run.py"), *arguments],
        capture_output=True, check=False, text=True, timeout=280, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    assert (result["out_of_order"], result["repeated"], result["dead"], result["not_done"]) == (0, 0, 0, 0)
    assert result["under_way_at_once_while_down"] == 1
    assert result["longest_gap_seconds"] <= 21
    assert result["attempts_in_outage"] < 2 * 3600 / 5
    assert sum(count for retries, count in result["uses_of_retries"].items() if retries != "0") <= 64
    assert set(result["uses_of_retries"]) <= {"0", "1", "2"}  # until the breaker opened
    assert result["other_host_waited_for"] == 0
    assert result["most_in_a_second"] <= 401
    assert result["rss_mb_drain"] - result["rss_mb_before"] < 100
    assert list(tmp_path.iterdir()) == []
