"""The commands are run here as in their own tests."""

from __future__ import annotations

from tests.cli.conftest import bridge, folder

__all__ = ["bridge", "folder"]
