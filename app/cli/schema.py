"""``migrate``, and what every command does that needs the newest schema."""

from pathlib import Path

import typer

from app import database, migrate
from app.cli.stops import readable_database_errors, settings_or_stop
from app.settings import Settings


def migrated(settings: Settings) -> Path | None:
    """Bring the database to the newest schema, or stop with one readable line.

    Return where a copy of an older SQLite database was kept.
    """
    with readable_database_errors(settings):
        database.prepare(settings.database_url)
        return migrate.upgrade(settings.database_url)


def migrate_database() -> None:
    """Bring the database to the newest schema; of a SQLite file a copy is kept first."""
    settings = settings_or_stop()
    if kept := migrated(settings):
        typer.echo(f"The database as it was is kept in {kept}.")
    typer.echo("The database is up to date.")
