"""Migrations and transactions, on SQLite and on PostgreSQL."""

import asyncio
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select, text, update
from sqlmodel import SQLModel, col

from app import database, migrate, settings
from app.database import Database
from app.tables import AccountRow
from tests.conftest import NOON

ROOT = Path(__file__).parents[1]


@pytest.fixture
def url(database_url: str) -> str:
    return settings.database(database_url)


@pytest.fixture
def migrated(url: str) -> str:
    database.prepare(url)
    migrate.upgrade(url)
    return url


def test_the_migrations_make_what_the_tables_say(migrated: str) -> None:
    with migrate.alone(migrated) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, SQLModel.metadata)

    assert differences == []
    assert migrate.is_current(migrated)


def test_migrating_twice_changes_nothing(migrated: str) -> None:
    migrate.upgrade(migrated)

    assert migrate.is_current(migrated)


async def test_two_processes_may_migrate_at_once(url: str) -> None:
    database.prepare(url)

    await asyncio.gather(*(asyncio.to_thread(migrate.upgrade, url) for _ in range(4)))

    assert migrate.is_current(url)


def test_a_database_of_a_newer_program_is_refused(migrated: str) -> None:
    with migrate.alone(migrated) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(migrate.NewerDatabase, match="update the program"):
        migrate.upgrade(migrated)


def test_migrations_import_nothing_of_the_app() -> None:
    for path in (ROOT / "migrations").rglob("*.py"):
        assert "import app" not in path.read_text(encoding="utf-8")
        assert "from app" not in path.read_text(encoding="utf-8")


async def test_writers_lose_no_update(migrated: str) -> None:
    store = Database(migrated)
    async with store.writing() as session:
        session.add(AccountRow(me="https://ada.example/", name="0", created_at=NOON))

    async def count_on() -> None:
        for _ in range(25):
            async with store.writing() as session:
                row = await session.scalar(select(AccountRow).with_for_update())
                assert row is not None
                row.name = str(int(row.name or 0) + 1)

    await asyncio.gather(*(count_on() for _ in range(8)))

    async with store.reading() as session:
        assert await session.scalar(select(col(AccountRow.name))) == "200"
    await store.close()


async def test_a_block_that_raises_leaves_nothing_behind(migrated: str) -> None:
    store = Database(migrated)

    async def fail_midway() -> None:
        async with store.writing() as session:
            session.add(AccountRow(me="https://ada.example/", created_at=NOON))
            await session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_midway()

    async with store.reading() as session:
        assert await session.scalar(select(AccountRow)) is None
    await store.close()


async def test_times_come_back_aware_and_in_utc(migrated: str) -> None:
    store = Database(migrated)
    async with store.writing() as session:
        session.add(AccountRow(me="https://ada.example/", created_at=NOON))
        await session.flush()
        await session.execute(update(AccountRow).values(created_at=NOON))

    async with store.reading() as session:
        found = await session.scalar(select(col(AccountRow.created_at)))
    await store.close()

    assert found == NOON
    assert found is not None
    assert found.utcoffset() is not None


def test_only_the_owner_can_read_a_sqlite_database(tmp_path: Path) -> None:
    path = tmp_path / "data" / "bridge.db"

    database.prepare(f"sqlite+aiosqlite:///{path}")

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_power_cut_cannot_undo_a_commit_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'bridge.db'}"
    database.prepare(url)

    with migrate.alone(url) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_wheel_holds_all_that_the_program_needs(tmp_path: Path) -> None:
    subprocess.run(  # noqa: S603 - our own build, no input of others
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())

    shipped = [
        path.relative_to(ROOT).as_posix()
        for folder in ("app", "migrations")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert set(shipped) <= held
