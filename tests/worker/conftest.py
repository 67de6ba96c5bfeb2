"""The pumps are tried at the desk of the flows, and on a database that they share with others as the store is."""

from __future__ import annotations

from tests.flows.conftest import desk
from tests.store.conftest import databases, shared_url

__all__ = ["databases", "desk", "shared_url"]
