"""The commands: ``ownyourtrakt serve`` and the rest; ``python -m app`` is the same."""

import asyncio
import os
import secrets
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from app import __version__, database, logs, migrate
from app import settings as config
from app.errors import FetchError
from app.http import client, date_of
from app.main import create_app
from app.settings import Settings, SettingsError

cli = typer.Typer(
    help="Brings what you watch on Trakt home: each film and episode becomes a post on your site.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
log = structlog.get_logger()

# Tokens last for days; a clock that is off by more than this breaks sign-ins.
WORST_CLOCK = timedelta(minutes=2)
DOTENV = Path(".env")


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


def migrated(settings: Settings) -> None:
    """Bring the database to the newest schema, or stop with one readable line."""
    with readable_database_errors(settings):
        database.prepare(settings.database_url)
        migrate.upgrade(settings.database_url)


@cli.command()
def serve() -> None:
    """Run the bridge: its pages and, beside them, the scheduler."""
    offer_secret_key()
    settings = settings_or_stop()
    logs.configure(settings.log_format)
    try:
        app = create_app(settings)
    except SettingsError as error:
        raise stop(str(error)) from None
    migrated(settings)
    listener = listening("0.0.0.0", settings.port)  # noqa: S104 - a platform routes to any address
    log.info("serving", at=settings.base_url, version=__version__)
    if not settings.trakt_client_id:
        log.warning("TRAKT_CLIENT_ID is missing: the dashboard says how to get one")
    # One worker, whatever WEB_CONCURRENCY says: the scheduler lives in it.
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            workers=1,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
    )
    server.run(sockets=[listener])


def offer_secret_key() -> None:
    """Offer to make a SECRET_KEY where somebody can answer and there is none."""
    try:
        config.load()
    except SettingsError as error:
        if "SECRET_KEY is missing" not in str(error) or not sys.stdin.isatty():
            return
    else:
        return
    if typer.confirm("There is no SECRET_KEY yet. Write a new one into .env?", default=True):
        add_secret_key(DOTENV)


def add_secret_key(path: Path) -> None:
    """Append a new SECRET_KEY to a file that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
        path.chmod(0o600)
        file.write(f"\nSECRET_KEY={secrets.token_urlsafe(48)}\n")


def listening(host: str, port: int) -> socket.socket:
    """Return a socket bound to ``port``, or stop with one readable line."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise stop(
            f"port {port} cannot be used ({error.strerror}). Stop the program that holds it, or "
            "set PORT to another number."
        ) from None
    return listener


@cli.command(name="migrate")
def migrate_database() -> None:
    """Bring the database to the newest schema."""
    settings = settings_or_stop()
    migrated(settings)
    typer.echo("The database is up to date.")


@cli.command()
def demo(
    port: Annotated[int, typer.Option(help="The bridge's port; the others follow it.")] = 8000,
    *,
    browser: Annotated[bool, typer.Option(help="Open a browser where there is one.")] = True,
) -> None:
    """Run the bridge with a simulated Trakt and a simulated website, to try it in a browser."""
    from app.demo import run  # noqa: PLC0415 - the simulators are loaded for the demo alone

    run.demo(port, browser=browser)


@cli.command()
def doctor(
    *,
    reach: Annotated[bool, typer.Option(help="Also ask whether Trakt can be reached.")] = False,
) -> None:
    """Check settings, database, migrations and clock, and say what to mend."""
    try:
        settings = config.load()
    except SettingsError as error:
        typer.echo(f"FAIL  settings: {error}")
        raise typer.Exit(1) from None
    checks = [
        ("settings", True, f"the bridge is at {settings.base_url}"),
        check_trakt_app(settings),
        *check_database(settings),
        *(asyncio.run(check_reach(settings)) if reach else [check_clock(datetime.now(UTC))]),
    ]
    for name, is_fine, words in checks:
        typer.echo(f"{'ok  ' if is_fine else 'FAIL'}  {name}: {words}")
    if not all(is_fine for _, is_fine, _ in checks):
        raise typer.Exit(1)


Check = tuple[str, bool, str]


def check_trakt_app(settings: Settings) -> Check:
    """Tell whether there is a Trakt app to connect with."""
    if settings.trakt_client_id:
        return ("trakt app", True, f"its redirect URI must be {settings.redirect_uri}")
    return ("trakt app", False, "TRAKT_CLIENT_ID is missing; the dashboard says how to get one")


def check_database(settings: Settings) -> Iterator[Check]:
    """Tell whether the database can be written and has the newest schema; change nothing."""
    path = database.sqlite_file(settings.database_url)
    where = str(path) if path else "PostgreSQL"
    if path and not path.exists():
        yield check_place(path)
        return
    try:
        with migrate.alone(settings.database_url) as connection:
            step = migrate.current(connection)
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        yield ("database", False, f"{where} cannot be used: {reason}")
        return
    yield ("database", True, f"{where} can be written")
    yield check_schema(step)


def check_place(path: Path) -> Check:
    """Tell whether the first start will be able to make the database at ``path``."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return ("database", True, f"{path} will be made by the first start")
    return ("database", False, f"{path} cannot be made: {folder} is not a folder we can write in")


def check_schema(step: str | None) -> Check:
    """Tell whether a database at this step of the migrations is one that we can work with."""
    if step == migrate.script().get_current_head():
        return ("migrations", True, "up to date")
    if step is None or step in migrate.revisions():
        return ("migrations", False, "out of date; run: ownyourtrakt migrate")
    return ("migrations", False, "made by a newer OwnYourTrakt; update the program")


def check_clock(now: datetime, theirs: datetime | None = None) -> Check:
    """Tell whether the clock is plausible: not before this version, and near Trakt's."""
    if now < BUILT:
        return ("clock", False, f"it says {now:%Y-%m-%d}, before this version was made; set it")
    if theirs is not None and abs(now - theirs) > WORST_CLOCK:
        return ("clock", False, f"it differs from Trakt's by {abs(now - theirs)}; set it")
    return ("clock", True, f"{now:%Y-%m-%d %H:%M:%S} UTC")


BUILT = datetime(2026, 11, 21, tzinfo=UTC)


async def check_reach(settings: Settings) -> list[Check]:
    """Tell whether Trakt's two hosts answer, and compare its clock with ours."""
    checks: list[Check] = []
    theirs = None
    async with client(settings.allow_private_networks) as http:
        for name, url in (("api", settings.trakt_api_url), ("sign-in", settings.trakt_auth_url)):
            try:
                answer = await http.get(url)
            except FetchError as error:
                checks.append((f"trakt {name}", False, str(error)))
            else:
                theirs = date_of(answer) or theirs
                checks.append((f"trakt {name}", True, f"{url} answers"))
    return [*checks, check_clock(datetime.now(UTC), theirs)]
