"""The engine and its transactions, alike on SQLite and PostgreSQL."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from app import driver

# How long SQLite waits for another process's transaction before it gives up.
BUSY = 15_000


class Database:
    """Transactions that read, and transactions that write.

    They commit when their block ends and roll back when it raises. Nothing inside such a block
    may wait for the network.
    """

    def __init__(self, url: str) -> None:
        self.engine = engine(url)
        self.writer = self.engine.execution_options(immediate=True)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # SQLite has one writer at a time. Its own waiting is a lottery; this queue is fair.
        self.turn = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that only reads."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that may write; on SQLite it is the only one."""
        turn = self.turn if self.is_sqlite else nullcontext()
        async with (
            turn,
            AsyncSession(self.writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def engine(url: str) -> AsyncEngine:
    """Return the engine for ``url``; it connects when it is first used.

    Its errors do not repeat what was to be stored: they end in the log.
    """
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_pre_ping=True, hide_parameters=True)
    made = create_async_engine(url, hide_parameters=True)
    event.listen(made.sync_engine, "do_connect", on_do_connect)
    event.listen(made.sync_engine, "connect", on_connect)
    event.listen(made.sync_engine, "begin", on_begin)
    return made


def on_do_connect(_dialect: object, _record: object, _where: object, how: dict[str, Any]) -> None:
    """Let a SQLite connection be one of our driver's."""
    how["async_creator_fn"] = driver.connection


def on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's connection
    """Prepare a new SQLite connection.

    ``synchronous=FULL``: with less, a power cut can undo the last commits, and the only copy of
    a token pair, or the note that a post is being sent, would be among them.
    """
    # Python's driver opens deferred transactions by itself, which lose updates between writers.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        # What was deleted is not left readable in the file; Debian's library does so anyway.
        "secure_delete=ON",
        f"busy_timeout={BUSY}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def on_begin(connection: Connection) -> None:
    """Open the transaction ourselves: at once for writers, when needed for readers."""
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database, None for PostgreSQL."""
    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    return Path(parsed.database) if is_sqlite and parsed.database else None


def prepare(url: str) -> None:
    """Make the folder and file of a SQLite database, readable by their owner alone.

    Raises:
        OSError: the place cannot be written.
        sqlite3.Error: the file is not a database, or cannot be written.

    """
    path = sqlite_file(url)
    if path is None:
        return
    # Whatever the umask takes away, their owner has; what lies there already is `app.private`'s.
    if not path.parent.exists():
        path.parent.mkdir(0o700, parents=True)
        path.parent.chmod(0o700)
    if not path.exists():
        path.touch(0o600)
        path.chmod(0o600)
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    finally:
        connection.close()
