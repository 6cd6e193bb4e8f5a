"""How a command begins, and how it stops: with one readable line instead of a traceback."""

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from sqlalchemy.exc import SQLAlchemyError

from app import copies, database, migrate
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


def say_json(told: object) -> None:
    """Print what a machine may read: one line."""
    typer.echo(json.dumps(told, ensure_ascii=False))


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Show, on a terminal only, how far something is; yield what is to be told each step."""
    with typer.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        yield bar.update


@contextmanager
def readable_database_errors(settings: Settings, named: str = "DATABASE_URL") -> Iterator[None]:
    """Turn what a database may complain of into one line with a way out.

    ``named`` is the setting or option that says where it is.
    """
    path = database.sqlite_file(settings.database_url)
    where = f"the database {path}" if path else f"the database of {named}"
    try:
        yield
    except (migrate.NewerDatabase, copies.NotEmpty, copies.Differs) as error:
        raise stop(f"{error}.") from None
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise stop(
            f"{where} cannot be used: {reason}. Check that it exists and may be written by this "
            f"user, or set {named} to another place."
        ) from None
