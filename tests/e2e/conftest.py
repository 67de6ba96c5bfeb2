"""A service as a real process, with well-behaved peers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import DATABASE, Stage, open_stage


@pytest.fixture(autouse=True)
def stage_database(database: str) -> Iterator[None]:
    """Every test runs on both engines."""
    before = DATABASE.set(database)
    yield
    DATABASE.reset(before)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A service with well-behaved peers."""
    async with open_stage(tmp_path) as opened:
        yield opened
