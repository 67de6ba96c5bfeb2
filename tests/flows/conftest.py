"""A desk for each test of the flows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.flows.desk import Desk, open_desk


@pytest.fixture
async def desk(tmp_path: Path, database: str) -> AsyncIterator[Desk]:
    """A desk with one contact."""
    opened = await open_desk(tmp_path, database=database)
    await opened.add_contact()
    yield opened
    await opened.store.close()
