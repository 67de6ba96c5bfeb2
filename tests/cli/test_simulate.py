"""`bridge simulate`: one simulated peer as a process."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize("what", ["provider", "smartico", "platform"])
def test_it_runs_until_it_is_stopped(what: str) -> None:
    """It says where it answers, answers there, and ends with 0."""
    command = [sys.executable, "-m", "bridge", "simulate", what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        with urllib.request.urlopen(f"{found[0]}/_sim/summary", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_a_port_that_is_taken_is_a_sentence(bridge: Run) -> None:
    """It is not tried again on another one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = bridge("simulate", "provider", "--port", str(taken.getsockname()[1]))
    assert result.code == 1
    assert "cannot be listened on" in result.err
