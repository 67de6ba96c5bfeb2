"""Ten times as much as it can take, in the short form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
LIGHT = (
    "--rate", "40", "--seconds", "4", "--connections", "20", "--max-pending", "40", "--callbacks", "20",
    "--max-inbox", "2000", "--json",
)  # fmt: skip


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_more_than_it_can_take_is_refused_and_what_was_taken_arrives_once(tmp_path: Path) -> None:
    """Everybody is answered; nothing that was accepted is lost or sent twice; memory stays; then all are served."""
    ended = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "overload" / "run.py"), *LIGHT],
        capture_output=True, check=False, text=True, timeout=220, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    assert (result["lost"], result["sent_twice"], result["without_an_answer"]) == (0, 0, 0)
    counts = {kind: times["count"] for kind, times in result["answers"].items()}
    assert set(counts) <= {
        "callback: HTTP 200",
        "callback: HTTP 503",
        "send: error_code 0",
        "send: error_code 8",
    }
    assert result["accepted"] >= counts["send: error_code 0"] >= 40
    assert counts["send: error_code 8"] > counts["send: error_code 0"]
    assert set(result["taken_again_after_ms"]) == {"sends", "callbacks"}
    memory = list(result["memory_mib"].values())
    assert memory[-1] - memory[0] < 100  # caches of the database, which fill up
    assert list(tmp_path.iterdir()) == []
