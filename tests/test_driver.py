"""SQLite's connection gives all rows, in one go or in parts, and leaves nothing open."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from app import database, driver
from app.database import Database

MANY = 2 * driver.AT_ONCE + 7
NUMBERS = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
    "SELECT i FROM n"
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'bridge.db'}"
    database.prepare(url)
    made = Database(url)
    yield made
    await made.close()


@pytest.mark.parametrize("last", [1, driver.AT_ONCE, driver.AT_ONCE + 1, MANY])
async def test_all_rows_come_however_many_they_are(store: Database, last: int) -> None:
    async with store.reading() as session:
        assert list(await session.scalars(NUMBERS, {"last": last})) == list(range(1, last + 1))


async def test_rows_that_are_streamed_come_in_parts_and_in_order(store: Database) -> None:
    found: list[int] = []
    async with store.reading() as session:
        rows = await session.stream(NUMBERS, {"last": MANY})
        async for part in rows.partitions(driver.AT_ONCE // 3):
            found += [row[0] for row in part]

    assert found == list(range(1, MANY + 1))


async def test_rows_that_nobody_takes_keep_no_writer_waiting(store: Database) -> None:
    async with store.writing() as session:
        await session.execute(text("CREATE TABLE note (said TEXT)"))
    async with store.reading() as session:
        rows = await session.stream(NUMBERS, {"last": MANY})
        await rows.fetchone()

    async with store.writing() as session:
        await session.execute(text("DROP TABLE note"))


async def test_rows_that_a_statement_adds_are_returned(store: Database) -> None:
    async with store.writing() as session:
        await session.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, said TEXT)"))
        added = await session.execute(
            text("INSERT INTO note (said) VALUES ('a'), ('b') RETURNING id")
        )
        assert [row[0] for row in added] == [1, 2]
        changed = await session.execute(text("UPDATE note SET said = 'c'"))
        assert changed.rowcount == 2  # type: ignore[attr-defined] # the result of an UPDATE has it
