"""Fixtures: a clock, a database on each engine, and the whole world around the bridge."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from app import database, migrate, settings
from app.database import Database
from app.demo.trakt import SimulatedTrakt
from tests.machine import Machine
from tests.postgres import migrated_database, new_database, postgres_server
from tests.trakt_world import a_trakt, an_api_client, an_auth_client
from tests.world import Clock, World, running_world

NOON = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)

# The tests of what the engine and the store do with rows. What pages say of them is the same on
# both databases, so the tests of pages, of signing in and of the simulators stay on SQLite alone.
ABOUT_ROWS = {
    "test_adopt",
    "test_bunches",
    "test_diff",
    "test_errand",
    "test_learning",
    "test_look",
    "test_pause",
    "test_poll",
    "test_posters",
    "test_publish",
    "test_questions",
    "test_rules_applied",
    "test_sessions",
    "test_setback",
    "test_silence",
    "test_told",
    "test_trial",
}

# The files that take longest, longest first: begun last, one alone would keep all waiting.
LONGEST = (
    "test_torture",
    "test_poll",
    "test_diff",
    "test_serve",
    "test_publish",
    "test_questions",
    "test_copies",
    "test_look",
    "test_workers",
    "test_accessibility",
    "test_browser",
    "test_hostile",
    "test_end_to_end",
)

# No test is timed: other work on the machine may take its processor for a while.
hypothesis_settings.register_profile(
    "unhurried",
    hypothesis_settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the rest stays in its random order."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database on each of the two engines."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bridge.db'}"
    return new_database(request.getfixturevalue("postgres"))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Database]:
    """A database on each of the two engines, with our schema and no rows."""
    url = settings.database(database_url)
    database.prepare(url)
    migrate.upgrade(url)
    made = Database(url)
    yield made
    await made.close()


@pytest.fixture
async def on_postgres(postgres: Any) -> AsyncIterator[Database]:  # noqa: ANN401 - the server of a library without types
    """A database on PostgreSQL, with our schema and no rows."""
    with migrated_database(postgres) as url:
        made = Database(settings.database(url))
        yield made
        await made.close()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is about rows on both databases."""
    name = metafunc.module.__name__.rpartition(".")[2]
    if "world_url" in metafunc.fixturenames and name in ABOUT_ROWS:
        metafunc.parametrize("world_url", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def world_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The database of a world: on SQLite, in the files that are about rows on PostgreSQL too."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield f"sqlite:///{tmp_path / 'bridge.db'}"
        return
    with migrated_database(request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
async def world(tmp_path: Path, clock: Clock, world_url: str) -> AsyncIterator[World]:
    async with running_world(tmp_path, clock, database_url=world_url) as running:
        yield running


@pytest.fixture
def trakt(clock: Clock) -> SimulatedTrakt:
    return a_trakt(clock)


@pytest.fixture
async def api(trakt: SimulatedTrakt) -> AsyncIterator[httpx2.AsyncClient]:
    async with an_api_client(trakt) as client:
        yield client


@pytest.fixture
async def auth(trakt: SimulatedTrakt) -> AsyncIterator[httpx2.AsyncClient]:
    async with an_auth_client(trakt) as client:
        yield client
