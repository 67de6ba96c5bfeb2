"""What the commands need of PostgreSQL: its driver, which is an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bridge.errors import StoreError

__all__ = ["asyncpg_needed"]


@contextmanager
def asyncpg_needed(named: str = "database.url") -> Iterator[None]:
    """Around an import: raises StoreError with the mend where asyncpg is missing. `named`: who names PostgreSQL."""
    try:
        yield
    except ImportError as error:
        raise StoreError(
            f"{named} names PostgreSQL, and asyncpg is not installed: install bridge[postgres]."
        ) from error
