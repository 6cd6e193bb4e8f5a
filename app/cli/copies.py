"""``backup``, ``restore`` and ``move``: the whole database, in one file or on another engine."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection, text

from app import copies, database, migrate
from app import settings as config
from app.cli.stops import (
    Json,
    must_be_current,
    progress,
    readable_database_errors,
    say_json,
    settings_or_stop,
    stop,
)
from app.copies import Copied
from app.settings import Settings
from app.store import gates, lease
from app.tables import HeartbeatRow


def backup(
    file: Annotated[
        Path | None, typer.Argument(help="Where to; if not said, a dated file in backups/.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Copy the whole database into one file, also while the bridge runs.

    The file is a SQLite database, whichever engine is used, and holds keys: keep it safe, and
    keep the SECRET_KEY elsewhere, because without it nobody can open them.
    """
    settings = settings_or_stop()
    path = database.sqlite_file(settings.database_url)
    target = file or (path or Path("x")).parent / "backups" / f"ownyourtrakt-{stamp()}.db"
    must_be_current(settings)
    if target.exists():
        raise stop(f"{target} exists already; name another file")
    with readable_file_errors(target):
        if path:
            copies.copy_file(path, target)
        else:
            from_postgres(settings.database_url, target)
    size = target.stat().st_size
    if as_json:
        say_json({"file": str(target), "bytes": size})
    else:
        typer.echo(f"The database is copied into {target} ({size:,} bytes).")


def from_postgres(url: str, target: Path) -> None:
    """Copy a PostgreSQL database, as it is at one moment, into a file of SQLite."""
    part = target.with_name(f"{target.name}.rows")
    part.unlink(missing_ok=True)
    here = config.database(f"sqlite:///{part}")
    try:
        make_newest(here)
        with migrate.still(url) as source, migrate.alone(here) as made:
            copy(source, made)
        copies.copy_file(part, target)
    finally:
        remove(part)


def make_newest(url: str) -> None:
    """Make a database of the newest schema at ``url``, where there is none."""
    database.prepare(url)
    migrate.upgrade(url)


def copy(source: Connection, target: Connection) -> list[Copied]:
    """Copy all rows and show how far it is."""
    with progress("Copying", copies.count(source)) as step:
        return copies.copy_rows(source, target, step)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that the command backup has made.")],
    *,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of the database; the bridge must be stopped.

    What was there is kept beside it. The bridge then looks at each website before it posts,
    because it may hold posts that the older copy does not know.
    """
    settings = settings_or_stop()
    path = database.sqlite_file(settings.database_url)
    now = datetime.now(UTC)
    with readable_file_errors(file):
        check_backup(file)
    if path is None or path.exists():
        must_not_be_scheduled(settings, now)
    made = (path or file).with_name(f"{(path or file).name}.restoring")
    try:
        with readable_file_errors(made):
            prepare(file, made, now)
        with readable_database_errors(settings):
            if path:
                aside = put_in_place(made, path)
            else:
                aside = None
                fill(settings.database_url, made)
    finally:
        remove(made)
    if as_json:
        say_json({"restored": str(file), "replaced": str(aside) if aside else None})
    else:
        tell_restored(file, aside)


def tell_restored(file: Path, aside: Path | None) -> None:
    """Say what was done, and what it means for what is posted next."""
    typer.echo(f"The database is restored from {file}.")
    if aside:
        typer.echo(f"What was there before is kept in {aside}.")
    typer.echo(
        "It is an older copy: each website is looked at first, and nothing is posted that is "
        "there already. Keys that were renewed since may be asked for again."
    )


def prepare(file: Path, made: Path, now: datetime) -> None:
    """Make of a backup a database of the newest schema that knows how old it is."""
    remove(made)
    copies.copy_file(file, made)
    url = config.database(f"sqlite:///{made}")
    migrate.upgrade(url)
    asyncio.run(be_an_old_copy(url, now))
    be_one_file(made)


def fill(url: str, made: Path) -> None:
    """Copy a file of SQLite into an empty database of PostgreSQL."""
    migrate.upgrade(url)
    here = config.database(f"sqlite:///{made}")
    with migrate.still(here) as source, migrate.alone(url) as target:
        copy(source, target)


def is_same(one: str, other: str) -> bool:
    """Tell whether two URLs name one database, however its file is written."""
    files = [database.sqlite_file(url) for url in (one, other)]
    paths = [file and file.resolve() for file in files]
    return one == other or (None not in paths and paths[0] == paths[1])


def check_backup(file: Path) -> None:
    """Make sure that a file holds a whole database that this program can read."""
    if not file.is_file():
        raise stop(f"{file} is not a file")
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        orphans = connection.execute("PRAGMA foreign_key_check").fetchone()
        steps = (
            connection.execute(
                "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone()
            and connection.execute("SELECT version_num FROM alembic_version").fetchone()
        )
    if found != "ok" or orphans:
        raise stop(f"{file} is damaged and was not restored: {found if found != 'ok' else orphans}")
    if not steps:
        raise stop(f"{file} is not a backup of OwnYourTrakt")
    if steps[0] not in migrate.revisions():
        raise stop(f"{file} was written by a newer OwnYourTrakt; update the program")


async def be_an_old_copy(url: str, now: datetime) -> None:
    """Let nothing be posted from a copy before its sites were looked at."""
    opened = database.Database(url)
    async with opened.writing() as session:
        beat = await session.get(HeartbeatRow, 1)
        await gates.shut(session, beat.at if beat else now, now)
    await opened.close()


def put_in_place(made: Path, path: Path) -> Path | None:
    """Rename the old database aside and the new one into its place; return where the old one is."""
    aside = None
    if path.exists():
        try:
            be_one_file(path)
        except sqlite3.OperationalError:
            raise stop(f"another process has {path} open; stop it first") from None
        aside = path.with_name(f"{path.stem}-replaced-{stamp()}{path.suffix}")
        path.rename(aside)
    made.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return aside


def be_one_file(path: Path) -> None:
    """Write the log of a SQLite database into its file; nobody else may have it open."""
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def move(
    to: Annotated[str, typer.Option(help="The other database, as DATABASE_URL would name it.")],
    *,
    as_json: Json = False,
) -> None:
    """Copy everything into another, empty database: from SQLite to PostgreSQL, or back.

    The bridge must be stopped. All is compared before it counts; the old database stays as it is.
    """
    settings = settings_or_stop()
    try:
        target = config.database(to)
    except ValueError as error:
        raise stop(f"--to {error}") from None
    if is_same(target, settings.database_url):
        raise stop("--to names the database of DATABASE_URL itself")
    must_be_current(settings)
    must_not_be_scheduled(settings, datetime.now(UTC))
    there = settings.model_copy(update={"database_url": target})
    with readable_database_errors(there, "--to"):
        make_newest(target)
        with migrate.alone(settings.database_url) as source, migrate.alone(target) as made:
            nobody_writes(source)
            copied = copy(source, made)
    if as_json:
        say_json([{"table": one.table, "rows": one.rows, "digest": one.digest} for one in copied])
        return
    for one in copied:
        typer.echo(f"{one.table}: {one.rows} rows, the same there")
    typer.echo(
        "All is copied. Set DATABASE_URL to the new database before the next start; started with "
        "the old one, the bridge would post again what the new one has posted by then."
    )


def nobody_writes(connection: Connection) -> None:
    """Keep everybody from writing until the transaction ends; on SQLite nobody can anyway."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(f'"{table.name}"' for table in copies.tables())
        connection.execute(text(f"LOCK TABLE {names} IN SHARE MODE"))


def must_not_be_scheduled(settings: Settings, now: datetime) -> None:
    """Stop while a scheduler is at work on the database."""
    with readable_database_errors(settings), migrate.still(settings.database_url) as connection:
        holder = lease.found(connection, now, settings.waits.scheduler_lease)
    if holder:
        raise stop(
            f"the bridge is running ({holder}). Stop it first; if it was killed, wait half a minute"
        )


@contextmanager
def readable_file_errors(path: Path) -> Iterator[None]:
    """Turn what may go wrong with a file into one line."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise stop(f"{path} cannot be used: {error}") from None


def remove(path: Path) -> None:
    """Remove a SQLite database, with what its engine puts beside it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def stamp() -> str:
    """Return the time, as it stands in names of files."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
