"""``backup``, ``restore``, ``move`` and the copy before a migration, run as people run them."""

import asyncio
import json
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlmodel import Session

from app import copies, migrate, settings
from app.tables import AccountRow, HeartbeatRow, LeaseRow, SiteRow
from tests.full_database import filled, filled_at, sums, tables_there
from tests.machine import Machine
from tests.postgres import new_database

STEPS = migrate.revisions()


def there(machine: Machine, engine: str, request: pytest.FixtureRequest) -> str:
    """An empty database on an engine."""
    if engine == "sqlite":
        return f"sqlite:///{machine.folder / 'other.db'}"
    return new_database(request.getfixturevalue("postgres"))


def be_scheduled(url: str) -> None:
    """Let a process hold the scheduler of a database."""
    with migrate.alone(settings.database(url)) as connection, Session(connection) as session:
        session.add(LeaseRow(owner="process 1 on web-1", until=datetime.now(UTC) + TEN))
        session.commit()


TEN = timedelta(seconds=10)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- Before a migration ---


@pytest.mark.parametrize("step", STEPS)
def test_a_database_of_every_older_version_opens_with_all_its_rows(
    database_url: str, step: str
) -> None:
    url = settings.database(database_url)
    held = filled_at(url, step)

    migrate.upgrade(url)

    assert migrate.is_current(url)
    with migrate.alone(url) as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table))
            for table in tables_there(connection)
        }
    assert {name: counts[name] for name in held} == held


async def test_a_copy_of_an_old_sqlite_database_is_kept_before_it_is_migrated(
    machine: Machine,
) -> None:
    filled_at(settings.database(machine.url), STEPS[0])

    ended = await machine.run("migrate")

    (kept,) = (machine.folder / "backups").iterdir()
    assert str(kept) in ended.said
    assert kept.stem.endswith(STEPS[0])
    assert mode(kept) == 0o600
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (
            STEPS[0],
        )
        assert connection.execute("SELECT count(*) FROM watch").fetchone() == (1,)


async def test_of_two_processes_that_migrate_at_once_one_does(
    machine: Machine, database_url: str
) -> None:
    url = settings.database(database_url)
    filled_at(url, STEPS[0])

    ended = await asyncio.gather(
        *(machine.run("migrate", DATABASE_URL=database_url) for _ in range(2))
    )

    assert [(one.code, one.complaint) for one in ended] == [(0, ""), (0, "")]
    assert migrate.is_current(url)
    is_sqlite = database_url.startswith("sqlite")
    assert len(list(machine.folder.glob("backups/*"))) == (1 if is_sqlite else 0)


def test_only_the_last_few_copies_before_migrations_are_kept(machine: Machine) -> None:
    machine.migrate()
    when = datetime(2026, 11, 20, tzinfo=UTC)

    made = [
        copies.keep_old(machine.database, "0001", when + timedelta(days=day)) for day in range(5)
    ]

    assert sorted((machine.folder / "backups").iterdir()) == made[-copies.KEPT :]


# --- A backup ---


async def test_a_backup_holds_everything_on_either_engine(
    machine: Machine, database_url: str
) -> None:
    filled(database_url)
    file = machine.folder / "copy.db"

    ended = await machine.run("backup", str(file), "--json", DATABASE_URL=database_url)

    assert (ended.code, ended.complaint) == (0, "")
    assert json.loads(ended.said) == {"file": str(file), "bytes": file.stat().st_size}
    assert mode(file) == 0o600
    assert sums(f"sqlite:///{file}") == sums(database_url)


async def test_a_backup_of_a_database_in_use_is_whole(machine: Machine) -> None:
    filled(machine.url)
    with closing(sqlite3.connect(machine.database)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE account SET name = 'half'")

        ended = await machine.run("backup", "copy.db")

        writer.rollback()
    assert ended.code == 0
    assert sums(f"sqlite:///{machine.folder / 'copy.db'}") == sums(machine.url)


async def test_a_backup_without_a_name_is_dated_and_beside_the_database(machine: Machine) -> None:
    machine.migrate()

    ended = await machine.run("backup")

    (made,) = (machine.folder / "backups").iterdir()
    assert ended.code == 0
    assert str(made) in ended.said
    assert mode(made.parent) == 0o700


async def test_a_backup_overwrites_nothing(machine: Machine) -> None:
    machine.migrate()
    (machine.folder / "copy.db").write_text("mine", encoding="utf-8")

    ended = await machine.run("backup", "copy.db")

    assert "copy.db exists already" in ended.line
    assert (machine.folder / "copy.db").read_text(encoding="utf-8") == "mine"


async def test_without_a_database_there_is_nothing_to_back_up(machine: Machine) -> None:
    ended = await machine.run("backup")

    assert "there is no database at" in ended.line
    assert "the first start makes it" in ended.line
    assert list(machine.folder.iterdir()) == []


# --- Restoring ---


async def test_a_backup_is_restored_and_what_was_there_is_kept(machine: Machine) -> None:
    filled(machine.url)
    await machine.run("backup", "copy.db")
    machine.alter("UPDATE account SET name = 'newer'")

    ended = await machine.run("restore", "copy.db")

    assert (ended.code, ended.complaint) == (0, "")
    assert "each website is looked at first" in ended.said
    (aside,) = machine.folder.glob("bridge-replaced-*.db")
    assert str(aside) in ended.said
    assert mode(machine.database) == mode(aside) == 0o600
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT DISTINCT name FROM account").fetchall() == [("newer",)]
    kept = {one.table: one for one in sums(f"sqlite:///{machine.folder / 'copy.db'}")}
    for one in sums(machine.url):
        # The site's gate is shut.
        assert one == kept[one.table] or one.table == "site"


async def test_after_restoring_nothing_is_posted_before_the_site_was_looked_at(
    machine: Machine, database_url: str
) -> None:
    filled(database_url)
    await machine.run("backup", "copy.db", DATABASE_URL=database_url)
    target = database_url if database_url.startswith("sqlite") else emptied(database_url)

    ended = await machine.run("restore", "copy.db", DATABASE_URL=target)

    assert (ended.code, ended.complaint) == (0, "")
    with migrate.still(settings.database(target)) as connection, Session(connection) as session:
        site = session.get(SiteRow, 1)
        beat = session.get(HeartbeatRow, 1)
    assert site
    assert beat
    assert site.gate_at is not None
    assert site.gate_at <= beat.at
    assert site.look_due_at is not None
    assert site.wants_all


def emptied(url: str) -> str:
    """Take everything out of a database on PostgreSQL."""
    with migrate.alone(settings.database(url)) as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    return url


async def test_an_older_backup_is_migrated_when_it_is_restored(machine: Machine) -> None:
    old = machine.folder / "old.db"
    filled_at(settings.database(f"sqlite:///{old}"), STEPS[0])

    ended = await machine.run("restore", str(old))

    assert (ended.code, ended.complaint) == (0, "")
    assert migrate.is_current(settings.database(machine.url))


async def test_nothing_is_restored_while_a_scheduler_is_at_work(machine: Machine) -> None:
    filled(machine.url)
    await machine.run("backup", "copy.db")
    be_scheduled(machine.url)

    ended = await machine.run("restore", "copy.db")

    assert "the bridge is running (process 1 on web-1). Stop it first" in ended.line


async def test_nothing_is_restored_while_a_process_has_the_database_open(
    machine: Machine,
) -> None:
    filled(machine.url)
    await machine.run("backup", "copy.db")
    before = sums(machine.url)
    with closing(sqlite3.connect(machine.database)) as other:
        other.execute("SELECT count(*) FROM account").fetchall()

        ended = await machine.run("restore", "copy.db")

    assert "another process has" in ended.line
    assert sums(machine.url) == before
    assert not list(machine.folder.glob("*.restoring*"))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "newer OwnYourTrakt"),
        ("DROP TABLE alembic_version", "is not a backup"),
        ("INSERT INTO event (watch_id, at, said) VALUES (77, 'then', 'x')", "is damaged"),
    ],
    ids=["newer", "something else", "orphans"],
)
async def test_what_is_no_whole_backup_of_ours_is_not_restored(
    machine: Machine, spoil: str, word: str
) -> None:
    filled(machine.url)
    before = sums(machine.url)
    await machine.run("backup", "copy.db")
    with closing(sqlite3.connect(machine.folder / "copy.db")) as connection:
        connection.execute(spoil)
        connection.commit()

    ended = await machine.run("restore", "copy.db")

    assert word in ended.line
    assert sums(machine.url) == before


@pytest.mark.parametrize("content", [None, "Dear diary\n" * 500], ids=["missing", "a text"])
async def test_a_file_that_is_no_database_is_told_in_one_line(
    machine: Machine, content: str | None
) -> None:
    if content:
        (machine.folder / "copy.db").write_text(content, encoding="utf-8")

    ended = await machine.run("restore", "copy.db")

    assert "copy.db" in ended.line


# --- Moving ---


@pytest.mark.parametrize("target", ["sqlite", "postgres"])
async def test_everything_moves_from_one_engine_to_the_other(
    machine: Machine, database_url: str, target: str, request: pytest.FixtureRequest
) -> None:
    filled(database_url, rows=5)
    before = sums(database_url)
    other = there(machine, target, request)

    ended = await machine.run("move", "--to", other, "--json", DATABASE_URL=database_url)

    assert (ended.code, ended.complaint) == (0, "")
    assert all(one.rows for one in before)
    assert sums(other) == sums(database_url) == before
    told = [(one["table"], one["rows"], one["digest"]) for one in json.loads(ended.said)]
    assert told == [(one.table, one.rows, one.digest) for one in before]
    with (
        migrate.alone(settings.database(other)) as connection,
        Session(connection) as session,
    ):
        made = AccountRow(me="https://new.example/", created_at=datetime.now(UTC))
        session.add(made)
        session.flush()
        assert made.id == 6


async def test_what_moves_is_told_for_people_too(machine: Machine, postgres: Any) -> None:  # noqa: ANN401 - the server of a library without types
    filled(machine.url)

    ended = await machine.run("move", "--to", new_database(postgres))

    assert "watch: 3 rows, the same there" in ended.said
    assert "Set DATABASE_URL to the new database" in ended.said


async def test_nothing_moves_into_a_database_that_holds_something(
    machine: Machine,
    postgres: Any,  # noqa: ANN401 - the server of a library without types
) -> None:
    filled(machine.url)
    other = new_database(postgres)
    filled(other, rows=1)
    before = sums(other)

    ended = await machine.run("move", "--to", other)

    assert "a copy needs an empty one" in ended.line
    assert sums(other) == before


async def test_nothing_moves_while_a_scheduler_is_at_work(
    machine: Machine, database_url: str
) -> None:
    filled(database_url)
    be_scheduled(database_url)

    ended = await machine.run("move", "--to", "sqlite:///x.db", DATABASE_URL=database_url)

    assert "the bridge is running (process 1 on web-1). Stop it first" in ended.line
    assert not (machine.folder / "x.db").exists()


async def test_a_lease_that_has_ended_keeps_nobody_from_moving(machine: Machine) -> None:
    filled(machine.url)
    be_scheduled(machine.url)
    machine.alter("UPDATE lease SET until = '2026-11-20 20:14:30+00:00'")

    ended = await machine.run("move", "--to", "sqlite:///x.db")

    assert (ended.code, ended.complaint) == (0, "")


@pytest.mark.parametrize(
    ("to", "word"),
    [
        ("mysql://x", "must start with sqlite:/// or postgres://"),
        ("sqlite:///bridge.db", "--to names the database"),
        ("sqlite:///./bridge.db", "--to names the database"),
        ("sqlite:///file/x.db", "cannot be used"),
    ],
)
async def test_a_wrong_place_to_move_to_is_told_in_one_line(
    machine: Machine, to: str, word: str
) -> None:
    filled(machine.url)
    (machine.folder / "file").touch()

    ended = await machine.run("move", "--to", to, DATABASE_URL="sqlite:///bridge.db")

    assert word in ended.line


def test_a_copy_that_reads_differently_is_noticed(machine: Machine) -> None:
    """A trigger that changes what is written stands for whatever may."""
    source = filled(machine.url)
    machine_there = Machine(machine.folder / "there")
    machine_there.folder.mkdir()
    target = settings.database(machine_there.url)
    migrate.upgrade(target)
    machine_there.alter(
        "CREATE TRIGGER spoil AFTER INSERT ON watch BEGIN UPDATE watch SET title = 'x'; END"
    )

    def copy() -> None:
        with migrate.still(source) as here, migrate.alone(target) as made:
            copies.copy_rows(here, made, lambda _: None)

    with pytest.raises(copies.Differs):
        copy()
    assert all(one.rows == 0 for one in sums(machine_there.url))
