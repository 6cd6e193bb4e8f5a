"""How a command begins, and how it stops: with one readable line instead of a traceback."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from sqlalchemy.exc import SQLAlchemyError

from app import database, migrate
from app import settings as config
from app.settings import Settings, SettingsError


def stop(sentence: str) -> typer.Exit:
    """Say why we cannot go on, in one line, and return the exit."""
    typer.secho(f"ownyourtrakt: {sentence}", err=True, fg=typer.colors.RED)
    return typer.Exit(2)


def settings_or_stop() -> Settings:
    """Return the settings, or stop with one readable line."""
    try:
        return config.load()
    except SettingsError as error:
        raise stop(str(error)) from None


@contextmanager
def readable_database_errors(settings: Settings) -> Iterator[None]:
    """Turn what a database may complain of into one line with a way out."""
    path = database.sqlite_file(settings.database_url)
    where = f"the database {path}" if path else "the database of DATABASE_URL"
    try:
        yield
    except migrate.NewerDatabase as error:
        raise stop(f"{error}.") from None
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise stop(
            f"{where} cannot be used: {reason}. Check that it exists and may be written by this "
            "user, or set DATABASE_URL to another place."
        ) from None
