"""``migrate``, and what every command does that needs the newest schema."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer

from app import database, migrate, private
from app.cli.stops import Json, readable_database_errors, say_json, settings_or_stop
from app.settings import Settings


def migrated(settings: Settings, say: Callable[[str], object]) -> Path | None:
    """Bring the database to the newest schema, or stop with one readable line.

    Return where a copy of an older SQLite database was kept. What others could read, as older
    versions left it, is closed to them before; ``say`` tells it.
    """
    with readable_database_errors(settings):
        mended, left = private.mend(database.sqlite_file(settings.database_url))
        if mended:
            say(f"others could read these, now they cannot: {', '.join(mended)}")
        if left:
            say(f"others can read these, and it cannot be mended: {', '.join(left)}")
        database.prepare(settings.database_url)
        return migrate.upgrade(settings.database_url)


def migrate_database(*, as_json: Json = False) -> None:
    """Bring the database to the newest schema; of a SQLite file a copy is kept first."""
    settings = settings_or_stop()
    if as_json:
        kept = migrated(settings, partial(typer.echo, err=True))
        say_json({"copy": str(kept) if kept else None})
        return
    if kept := migrated(settings, typer.echo):
        typer.echo(f"The database as it was is kept in {kept}.")
    typer.echo("The database is up to date.")
