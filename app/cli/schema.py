"""``migrate``, and what every command does that needs the newest schema."""

import typer

from app import database, migrate
from app.cli.stops import readable_database_errors, settings_or_stop
from app.settings import Settings


def migrated(settings: Settings) -> None:
    """Bring the database to the newest schema, or stop with one readable line."""
    with readable_database_errors(settings):
        database.prepare(settings.database_url)
        migrate.upgrade(settings.database_url)


def migrate_database() -> None:
    """Bring the database to the newest schema."""
    settings = settings_or_stop()
    migrated(settings)
    typer.echo("The database is up to date.")
