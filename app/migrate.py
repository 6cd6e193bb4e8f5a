"""Bring a database to the newest schema. Forward only; an old database always opens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.pool import NullPool

import migrations
from app import copies, database

STEPS = Path(migrations.__file__).parent / "versions"
# Any number will do, as long as all processes of this program use the same one.
ADVISORY_LOCK = 0x0E7B_A17


class Schema(Enum):
    """What the schema of a database is to this program."""

    CURRENT = auto()
    OLD = auto()
    NEWER = auto()


# Of PostgreSQL; older ones get no mending any more.
OLDEST_SERVER = 13


class OldServer(Exception):
    """PostgreSQL is older than what this program was tried with."""


class NewerDatabase(Exception):
    """The database was written by a newer version of this program."""


def upgrade(url: str) -> Path | None:
    """Migrate the database at ``url``; safe to call from two processes at once.

    Of a SQLite database that is to change a copy is kept first; return where it is.

    Raises:
        NewerDatabase: this program is older than the database; nothing was changed.

    """
    with alone(url) as connection:
        step = current(connection)
        if schema_at(step) is Schema.NEWER:
            raise NewerDatabase(
                "the database was written by a newer OwnYourTrakt; update the program"
            )
        if schema_at(step) is Schema.CURRENT:
            return None
        path = database.sqlite_file(url)
        kept = copies.keep_old(path, step, datetime.now(UTC)) if path and step else None
        go(connection, newest())
    return kept


def go(connection: Connection, step: str) -> None:
    """Take all steps up to ``step``, by Alembic, configured from the installed package."""
    # Alembic takes 11 MB, and a server whose database is new enough, as nearly always, needs none.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    made = Config(attributes={"connection": connection})
    made.set_main_option("script_location", str(STEPS.parent))
    made.set_main_option("path_separator", "os")
    command.upgrade(made, step)


def is_current(url: str) -> bool:
    """Tell whether the database at ``url`` has the newest schema."""
    with still(url) as connection:
        return current(connection) == newest()


def revisions() -> list[str]:
    """Return the ids of all steps that this program knows, in order: how their files begin."""
    return sorted(path.name.partition("_")[0] for path in STEPS.glob("[0-9]*_*.py"))


def newest() -> str:
    """Return the id of the last step."""
    return revisions()[-1]


@cache
def schema_at(step: str | None) -> Schema:
    """Return what a database at this step of the migrations is to us; None: an empty one."""
    if step == newest():
        return Schema.CURRENT
    return Schema.OLD if step is None or step in revisions() else Schema.NEWER


def current(connection: Connection) -> str | None:
    """Return the step that the database is at, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


@contextmanager
def alone(url: str) -> Iterator[Connection]:
    """Open a transaction that no other migration runs beside."""
    with engine(url) as opened, opened.execution_options(immediate=True).begin() as connection:
        if opened.dialect.name == "postgresql":
            check_server(opened.dialect.server_version_info or (OLDEST_SERVER,))
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": ADVISORY_LOCK})
        yield connection
        if opened.dialect.name == "sqlite":
            check_foreign_keys(connection)


@contextmanager
def still(url: str) -> Iterator[Connection]:
    """Open a transaction that only reads, all of it as it is now, whoever writes meanwhile."""
    with engine(url) as opened:
        is_sqlite = opened.dialect.name == "sqlite"
        level = {} if is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with opened.execution_options(**level).begin() as connection:
            yield connection


@contextmanager
def engine(url: str) -> Iterator[Engine]:
    """Connect to ``url`` as migrations do, for as long as the block lasts."""
    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        parsed = parsed.set(drivername="sqlite")
    made = create_engine(parsed, poolclass=NullPool, hide_parameters=True)
    if is_sqlite:
        event.listen(made, "connect", database.on_connect)
        event.listen(made, "connect", without_foreign_keys)
        event.listen(made, "begin", database.on_begin)
    try:
        yield made
    finally:
        made.dispose()


def check_server(version: Sequence[int | str]) -> None:
    """Make sure that PostgreSQL is new enough.

    Raises:
        OldServer: it is not; nothing was changed.

    """
    if int(version[0]) < OLDEST_SERVER:
        raise OldServer(
            f"this PostgreSQL is version {version[0]}; OwnYourTrakt needs {OLDEST_SERVER} or newer"
        )


def without_foreign_keys(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's connection
    """Switch foreign keys off: SQLite alters a table by dropping it, which would cascade."""
    connection.execute("PRAGMA foreign_keys=OFF")


def check_foreign_keys(connection: Connection) -> None:
    """Make sure, before a migration is committed, that it left no row without its parent."""
    orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if orphans:
        raise RuntimeError(f"a migration would leave {len(orphans)} rows without their parents")
