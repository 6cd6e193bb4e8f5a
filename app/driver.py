"""SQLite's connection for asyncio: a statement and its rows cost one change of threads, not four.

aiosqlite, as it is, hands each step of a statement over to its thread: making a cursor, executing,
fetching, closing. Most of a short statement's time goes into that.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import aiosqlite

# So many rows come with the statement itself; more are asked for when they are wanted.
AT_ONCE = 1000
# A connection remembers how so many statements are executed.
REMEMBERED = 512


class Cursor:
    """What SQLAlchemy needs of a cursor."""

    arraysize = 1

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.under: sqlite3.Cursor | None = None
        self.rows: list[Any] = []
        self.is_more = False

    @property
    def description(self) -> Any:  # noqa: ANN401 - as DB-API says it
        """The columns of the rows, None where there are none."""
        return self.under.description if self.under else None

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        return self.under.rowcount if self.under else -1

    @property
    def lastrowid(self) -> int | None:
        """The id of the row that was added last."""
        return self.under.lastrowid if self.under else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def execute(self, sql: str, values: Iterable[Any] = ()) -> "Cursor":
        """Execute a statement and fetch the first of its rows."""
        await self.connection.do(self.run, sql, values)
        return self

    def run(self, sql: str, values: Iterable[Any]) -> None:
        """Do what `execute` promises, in the connection's thread."""
        self.under = self.connection.under().execute(sql, values)  # type: ignore[arg-type] # a sequence always
        self.fetch(AT_ONCE)

    async def executemany(self, sql: str, values: Iterable[Iterable[Any]]) -> "Cursor":
        """Execute a statement for each of many values."""
        self.under = await self.connection.do(self.connection.under().executemany, sql, values)
        return self

    async def fetchall(self) -> Sequence[Any]:
        """Return all rows that are left."""
        if self.is_more:
            await self.connection.do(self.fetch, None)
        rows, self.rows = self.rows, []
        return rows

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return so many of the rows that are left."""
        size = size or self.arraysize
        if len(self.rows) < size and self.is_more:
            await self.connection.do(self.fetch, max(size, AT_ONCE))
        rows, self.rows = self.rows[:size], self.rows[size:]
        return rows

    async def fetchone(self) -> Any:  # noqa: ANN401 - as DB-API says it
        """Return the next row, None behind the last."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    def fetch(self, most: int | None) -> None:
        """Take rows out of SQLite, in the connection's thread, if the statement has any."""
        if self.under is None or self.under.description is None:
            return
        found = self.under.fetchall() if most is None else self.under.fetchmany(most)
        self.rows += found
        self.is_more = most is not None and len(found) == most

    async def close(self) -> None:
        """End the statement; one whose rows were all taken has ended."""
        if self.is_more and self.under:
            self.is_more = False
            await self.connection.do(self.under.close)
        self.rows = []


class Connection(aiosqlite.Connection):
    """A connection that makes such cursors."""

    def cursor(self) -> Cursor:  # type: ignore[override] # it does what SQLAlchemy asks of one
        """Return a cursor; nothing waits for that."""
        return Cursor(self)

    def under(self) -> sqlite3.Connection:
        """Return Python's own connection."""
        return self._conn

    async def do(self, work: Any, *words: Any) -> Any:  # noqa: ANN401 - any function of sqlite3's
        """Do something in the connection's thread."""
        return await self._execute(work, *words)  # type: ignore[no-untyped-call] # aiosqlite's own


def connection(path: str, **options: Any) -> Connection:  # noqa: ANN401 - sqlite3's own
    """Return a connection to a file, not yet open; awaited, it opens."""
    made = Connection(
        partial(sqlite3.connect, path, cached_statements=REMEMBERED, **options), AT_ONCE
    )
    # As SQLAlchemy does: a process that ends waits for no connection.
    made._thread.daemon = True  # noqa: SLF001 - there is no other way to say so
    return made
