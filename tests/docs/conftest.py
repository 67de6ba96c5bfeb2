"""The commands are run here as in their own tests."""

from __future__ import annotations

from tests.cli.conftest import bridge as bridge
from tests.cli.conftest import folder as folder
