"""What all tests share: PostgreSQL, and a database of each kind for the tests that want one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import PostgresServer, running_postgres

ENGINES = ("sqlite", "postgres")

# No test is timed: on a busy machine a single example may take long.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that has a database runs once for each engine; `only_sqlite` marks what PostgreSQL has nothing like."""
    if "database" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only_sqlite")
        metafunc.parametrize("database", ENGINES[:1] if only else ENGINES, indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server; who restarts it, waits until it is there again."""
    with running_postgres() as server:
        yield server


@pytest.fixture
async def database(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The `database.url` of an empty database."""
    if request.param == "sqlite":
        yield "sqlite:///bridge.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = await server.create()
    yield url
    await server.drop(url)
