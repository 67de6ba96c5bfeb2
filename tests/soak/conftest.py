"""What the tests of the soak share: the place of compiled files, where Python may leave none beside the program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(autouse=True)
def one_place(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that only the first of many starts is slow."""
    if "PYTHONDONTWRITEBYTECODE" in os.environ:
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(compiled))
