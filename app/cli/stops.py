"""How a command begins, and how it stops: with one readable line instead of a traceback."""

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from app import copies, database, migrate
from app import settings as config
from app.settings import Settings, SettingsError

Json = Annotated[bool, typer.Option("--json", help="Say it in JSON, for a program to read.")]


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
    except (migrate.NewerDatabase, migrate.OldServer) as error:
        raise stop(f"{error}.") from None
    except (copies.NotEmpty, copies.Differs) as error:
        raise stop(f"{where}: {error}.") from None
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        reason = reason_of(error)
        raise stop(f"{where} cannot be used: {reason}. {cure(reason, named)}") from None


def reason_of(error: Exception) -> str:
    """Return what a database says is wrong, in one line."""
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    # The server's own word is the last; what the driver tried before it helps nobody.
    return said.rpartition("FATAL:")[2].strip().rstrip(".")


def cure(reason: str, named: str) -> str:
    """Return what to do about it, as far as the reason tells."""
    for word, advice in CURES.items():
        if word in reason:
            return advice.format(named)
    return f"Check that it exists and may be written by this user, or set {named} to another place."


CURES = {
    "authentication failed": "Check the user and the password in {}.",
    "no password supplied": "Put the password into {}: postgres://user:password@host/name.",
    "does not exist": "Make it first (createdb), or check the name in {}.",
    "Connection refused": "Check the host and port in {}, and that PostgreSQL runs there.",
    "resolve host": "Check the host in {}.",
    "No such file or directory": "Check the host in {}, and that PostgreSQL runs there.",
    "is locked": "Another process writes for a long time; stop it, or try again.",
}


def must_be_current(settings: Settings) -> None:
    """Stop where there is no database, or one of another version."""
    path = database.sqlite_file(settings.database_url)
    if path and not path.exists():
        raise stop(f"there is no database at {path}; the first start makes it (serve or migrate)")
    with readable_database_errors(settings):
        if not migrate.is_current(settings.database_url):
            raise stop("the database is not of this version. Run: ownyourtrakt migrate")
