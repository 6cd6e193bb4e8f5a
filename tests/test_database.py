"""Migrations and transactions, on SQLite and on PostgreSQL."""

import asyncio
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, MetaData, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, col

from app import database, migrate, settings
from app.database import Database
from app.grants import Pair
from app.outbox import published
from app.store import agenda, connections, posts
from app.tables import AccountRow, PostRow, SessionRow, SiteRow, SpentRow, WatchRow
from app.vault import Vault
from app.waits import USUAL, Waits
from app.watch import Person
from tests.conftest import NOON

ROOT = Path(__file__).parents[1]
OLD = Path(__file__).with_name("old_database.sql")


@pytest.fixture
def url(database_url: str) -> str:
    return settings.database(database_url)


@pytest.fixture
def migrated(url: str) -> str:
    database.prepare(url)
    migrate.upgrade(url)
    return url


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether a table is one of ours: PgQueuer's have a test of their own."""
    return kind != "table" or not (name or "").startswith("queue_")


def test_the_migrations_make_what_the_tables_say(migrated: str) -> None:
    with migrate.alone(migrated) as connection:
        options = {"compare_type": True, "include_name": is_ours}
        context = MigrationContext.configure(connection, opts=options)
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


def test_a_step_that_alters_a_table_leaves_its_children_alone(migrated: str) -> None:
    with migrate.alone(migrated) as connection:
        connection.execute(
            text("INSERT INTO account (id, me, timezone, created_at) VALUES (1, 'x', 'UTC', :now)"),
            {"now": NOON.replace(tzinfo=None)},
        )
        connection.execute(
            text(
                "INSERT INTO watch (account_id, standing, title, source, key) "
                "VALUES (1, 'archived', 'Dune', 'trakt', '1')"
            )
        )
    with migrate.alone(migrated) as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("account") as account:
            account.add_column(Column("shoe_size", Integer))

    with migrate.alone(migrated) as connection:
        assert connection.execute(text("SELECT count(*) FROM watch")).scalar() == 1


def test_a_step_that_would_orphan_a_row_is_undone(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'bridge.db'}"
    database.prepare(url)
    migrate.upgrade(url)
    orphan = text("INSERT INTO event (watch_id, at, said) VALUES (7, 'now', 'x')")

    def careless_step() -> None:
        with migrate.alone(url) as connection:
            connection.execute(orphan)

    with pytest.raises(RuntimeError, match="without their parents"):
        careless_step()
    with migrate.alone(url) as connection:
        assert connection.execute(text("SELECT count(*) FROM event")).scalar() == 0


async def test_eight_workers_send_each_post_once_and_to_a_site_one_at_a_time(
    migrated: str,
) -> None:
    stores = [Database(migrated) for _ in range(8)]
    await fill(stores[0], posts_each=12)
    sent: list[int] = []
    busy: set[int] = set()

    async def work(store: Database) -> None:
        while True:
            async with store.writing() as session:
                found = await posts.due(session, NOON, 1)
                if not found:
                    if not (await agenda.read(session, NOON)).posts:
                        return
                    continue
                (due,) = found
                begun = posts.begin(due, NOON, "{}", "slug", AT_ONCE)
            assert due.row.account_id not in busy
            busy.add(due.row.account_id)
            await asyncio.sleep(0)
            sent.append(due.row.id or 0)
            busy.discard(due.row.account_id)
            async with store.writing() as session:
                await posts.hold_sites(session, [due.row.account_id])
                outcomes = [(due.row.id or 0, begun, published(begun, None, NOON))]
                assert await posts.settle(session, outcomes, NOON, USUAL) == [True]

    await asyncio.gather(*(work(store) for store in stores))

    assert sorted(sent) == list(range(1, 25))
    for store in stores:
        await store.close()


AT_ONCE = Waits(between_posts=timedelta())


async def fill(store: Database, posts_each: int) -> None:
    """Two accounts with queued posts."""
    async with store.writing() as session:
        for me in ("https://ada.example/", "https://bob.example/"):
            account = AccountRow(me=me, created_at=NOON)
            session.add(account)
            await session.flush()
            key = account.id or 0
            site = SiteRow(
                account_id=key, micropub=me, authorization_endpoint=me, token_endpoint=me
            )
            session.add(site)
            for number in range(posts_each):
                post = PostRow(account_id=key, state="queued", due_at=NOON, watched_at=NOON)
                session.add(post)
                await session.flush()
                session.add(
                    WatchRow(
                        account_id=key,
                        post_id=post.id,
                        standing="posted",
                        title="Dune",
                        source="trakt",
                        key=str(number),
                    )
                )


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


async def test_a_power_cut_cannot_undo_a_commit_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'bridge.db'}"
    database.prepare(url)
    store = Database(url)

    async with store.reading() as session:
        pragmas = [
            await session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    await store.close()

    assert pragmas == ["wal", 2, 1]


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


async def test_a_locked_account_keeps_nobody_from_adding_what_points_to_it(
    on_postgres: Database,
) -> None:
    store = on_postgres
    await fill(store, posts_each=1)
    person = Person("trakt", "ada", "ada", "UTC", NOON)
    pair = Pair("access", None, NOON, None)

    # What a reconnect holds, beside what a poll writes.
    async with store.writing() as holder:
        await connections.connect(
            holder, 1, person, pair, Vault(["k" * 32]), connections.Start(NOON, NOON)
        )
        async with asyncio.timeout(10), store.writing() as other:
            other.add(PostRow(account_id=1, state="queued", due_at=NOON))


def test_the_files_of_the_migrations_begin_with_their_ids() -> None:
    steps = ScriptDirectory(str(migrate.STEPS.parent)).walk_revisions()

    assert [step.revision for step in steps] == migrate.revisions()[::-1]


def test_an_old_database_opens_with_its_watches_ready_to_be_compared(url: str) -> None:
    """One of the first schema, with a film, an episode, and something unreadable."""
    with migrate.alone(url) as connection:
        migrate.go(connection, "0001")
        for statement in OLD.read_text(encoding="utf-8").split(";\n"):
            connection.execute(text(statement))

    migrate.upgrade(url)

    with migrate.alone(url) as connection:
        rows = connection.execute(
            text("SELECT item, show, at IS NOT NULL FROM sighting ORDER BY id")
        ).all()
        site = connection.execute(text("SELECT wants_all, look_due_at FROM site")).one()
        sent = connection.execute(text("SELECT sent_at IS NOT NULL FROM post")).scalar_one()
    assert [(item, show, bool(at)) for item, show, at in rows] == [
        ("movie:481", None, True),
        ("episode:62085", "1390", False),
        (None, None, False),
    ]
    assert bool(site[0])
    assert site[1] is not None
    assert sent


def test_who_was_signed_in_before_the_browsers_were_listed_stays_so(url: str) -> None:
    now = datetime.now(UTC)
    ends = {"fresh": now + timedelta(days=179), "old": now + timedelta(days=3)}
    with migrate.alone(url) as connection:
        migrate.go(connection, "0008")
        account = {"me": "https://ada.example/", "timezone": "UTC", "created_at": now}
        tables = MetaData()
        tables.reflect(connection)
        connection.execute(tables.tables["account"].insert(), {"id": 1, **account})
        for digest, until in ends.items():
            row = {"digest": digest, "account_id": 1, "expires_at": until}
            connection.execute(tables.tables["session"].insert(), row)

    migrate.upgrade(url)

    with migrate.alone(url) as connection:
        rows = {row.digest: row for row in connection.execute(select(SessionRow.__table__))}  # type: ignore[attr-defined] # a table has one
    assert rows["fresh"].expires_at - rows["fresh"].seen_at == timedelta(days=30)
    assert rows["old"].expires_at == ends["old"]
    assert rows["old"].signed_in_at == ends["old"] - timedelta(days=180)
    assert {row.browser for row in rows.values()} == {"A browser"}


async def test_an_error_of_the_database_does_not_repeat_what_was_to_be_stored(
    tmp_path: Path,
) -> None:
    url = settings.database(f"sqlite:///{tmp_path / 'bridge.db'}")
    database.prepare(url)
    migrate.upgrade(url)
    db = Database(url)
    async with db.writing() as session:
        session.add(SpentRow(digest="a marked secret", expires_at=NOON))

    with pytest.raises(IntegrityError) as twice:
        async with db.writing() as session:
            session.add(SpentRow(digest="a marked secret", expires_at=NOON))

    assert "marked" not in str(twice.value)
    await db.close()
