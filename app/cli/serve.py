"""``serve``: the pages and, beside them, the scheduler; ``work``: the work without pages."""

import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvicorn

from app import __version__, database, logs, process, sentry
from app import settings as config
from app.cli.schema import migrated
from app.cli.stops import readable_database_errors, settings_or_stop, stop
from app.disk import loss_here
from app.main import create_app, served
from app.main import work as worked
from app.private import DOTENV
from app.settings import Settings, SettingsError

log = structlog.get_logger()


def serve(
    *,
    with_scheduler: Annotated[
        bool,
        typer.Option("--scheduler/--no-scheduler", help="Do the work, too, or leave it to `work`."),
    ] = True,
) -> None:
    """Run the bridge: its pages and, beside them, the scheduler."""
    offer_secret_key()
    settings = settings_or_stop()
    logs.configure(settings.log_format)
    try:
        sentry.start(settings)
        app = create_app(settings, with_scheduler=with_scheduler)
    except SettingsError as error:
        raise stop(str(error)) from None
    if kept := migrated(settings, log.warning):
        log.info("the database was migrated; as it was it is kept", copy=str(kept))
    listener = listening("0.0.0.0", settings.port)  # noqa: S104 - a platform routes to any address
    warn_of_loss(settings)
    log.info("serving", at=settings.base_url, version=__version__)
    if settings.secure and not settings.trusted_proxies:
        log.warning("there is a proxy in front, as BASE_URL is https: set TRUSTED_PROXIES=1")
    if not settings.trakt_client_id:
        log.warning("TRAKT_CLIENT_ID is missing: the dashboard says how to get one")
    server = uvicorn.Server(served(app, settings))
    process.settle()
    server.run(sockets=[listener])


def work(
    *,
    with_jobs: Annotated[
        bool, typer.Option("--queue", help="Let PgQueuer hand out polls and posts (docs/scale.md).")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Answer /metrics and /healthz at this port.", min=1, max=65535),
    ] = None,
) -> None:
    """Do the work without pages, beside any number of others; needs PostgreSQL."""
    settings = settings_or_stop()
    if database.sqlite_file(settings.database_url):
        raise stop(
            "SQLite has one writer, so workers would only wait for each other: run serve, which "
            "works by itself, or set DATABASE_URL to a PostgreSQL (docs/scale.md)"
        )
    listener = None
    if metrics_port:
        # As far as /metrics itself answers anybody, see `app.web.health`.
        host = "0.0.0.0" if settings.metrics_token else "127.0.0.1"  # noqa: S104 - see above
        listener = listening(host, metrics_port, "--metrics-port")
    logs.configure(settings.log_format)
    try:
        sentry.start(settings)
        migrated(settings, log.warning)
        log.info("working", at=settings.base_url, version=__version__)
        with readable_database_errors(settings):
            process.run(worked(settings, with_jobs=with_jobs, listener=listener))
    except SettingsError as error:
        raise stop(str(error)) from None


def warn_of_loss(settings: Settings) -> None:
    """Say loudly when the database is on a disk that will be thrown away."""
    if loss := loss_here(settings):
        log.error("%s: %s", "EVERYTHING WILL BE LOST AT THE NEXT RESTART", loss)


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


def listening(host: str, port: int, named: str = "PORT") -> socket.socket:
    """Return a socket bound to ``port``, which ``named`` gave, or stop with one readable line."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise stop(
            f"port {port} cannot be used ({error.strerror}). Stop the program that holds it, or "
            f"set {named} to another number."
        ) from None
    return listener
