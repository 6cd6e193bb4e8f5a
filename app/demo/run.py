"""The demo: the bridge as it is, on a network with a simulated Trakt and a simulated website.

Each has an origin of its own, so redirects, cookies and content security policies work as in
real life.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import webbrowser
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import typer
import uvicorn
from fastapi import FastAPI

from app import database, logs, migrate
from app import settings as config
from app.demo.site import SimulatedSite
from app.demo.trakt import SimulatedTrakt
from app.main import create_app

CLIENT_ID = "demo"
# People in a demo do not wait half an hour.
INTERVAL = 30  # seconds
# Nor until a website is looked at again after a lost answer, and believed.
WAITS = {"looks": (10, 40, 3600, 86_400), "absent_after": 30, "first_retry": 5}
OLD_PLAYS = 600
LOOPBACK = "127.0.0.1"
# They end it as Ctrl+C does.
ENDINGS = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


def demo(port: int, *, browser: bool) -> None:
    """Run on ``port`` and the three after it, 0 for any, until interrupted.

    Nothing of it stays behind, also where its terminal is closed or it is told to end.
    """
    for ending in ENDINGS:
        signal.signal(ending, signal.default_int_handler)
    logging.getLogger("uvicorn.error").addFilter(is_unforeseen)
    listeners = [free(port + number if port else 0) for number in range(4)]
    bridge, api, auth, site = (listener.getsockname()[1] for listener in listeners)
    logs.configure("text")
    with tempfile.TemporaryDirectory(prefix="ownyourtrakt-demo-") as folder:
        settings = config.load(
            _env_file=None,
            secret_key=secrets.token_urlsafe(48),
            port=bridge,
            base_url=f"http://localhost:{bridge}",
            database_url=f"sqlite:///{Path(folder) / 'demo.db'}",
            trakt_client_id=CLIENT_ID,
            trakt_client_secret="",
            trakt_api_url=f"http://{LOOPBACK}:{api}",
            trakt_auth_url=f"http://{LOOPBACK}:{auth}",
            poll_interval=INTERVAL,
            waits=WAITS,
            allowed_sites=(),
            heartbeat_url="",
            allow_private_networks=f"{LOOPBACK}/32",
            demo_site=f"http://{LOOPBACK}:{site}/",
        )
        database.prepare(settings.database_url)
        migrate.upgrade(settings.database_url)
        trakt = SimulatedTrakt(client_id=CLIENT_ID, redirect_uri=settings.redirect_uri, now=utcnow)
        trakt.history.pictures_at = f"{LOOPBACK}:{api}"
        trakt.fill(OLD_PLAYS)
        home = SimulatedSite(settings.demo_site.rstrip("/"), now=utcnow, with_mishaps=True)
        if port not in {0, bridge}:
            typer.echo(f"\n  Port {port} is taken, so the bridge is on {bridge}.")
        welcome(settings)
        if browser and has_screen():
            webbrowser.open(settings.base_url)
        apps = [create_app(settings), trakt.api, trakt.auth, home.app]
        asyncio.run(serve(dict(zip(listeners, apps, strict=True))))


def free(wanted: int) -> socket.socket:
    """Return a listener on ``wanted``, or on any free port where that one is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, wanted))
    except OSError:
        listener.bind((LOOPBACK, 0))
    listener.listen(128)
    return listener


async def serve(apps: dict[socket.socket, FastAPI]) -> None:
    """Serve each app on its socket until interrupted."""
    servers = {
        listener: uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, date_header=False)
        )
        for listener, app in apps.items()
    }
    async with asyncio.TaskGroup() as group:
        for listener, server in servers.items():
            group.create_task(server.serve(sockets=[listener]))


def is_unforeseen(line: logging.LogRecord) -> bool:
    """Tell whether a line of the log is about anything but an answer that was to break off."""
    return not (line.exc_info and isinstance(line.exc_info[1], httpx2.ReadError))


def welcome(settings: config.Settings) -> None:
    """Say where everything is."""
    typer.echo(
        f"""
  The bridge              {settings.base_url}
  The simulated website   {settings.demo_site}
  The simulated Trakt     {settings.trakt_auth_url}/

  1. Open the bridge, sign in with the simulated website, connect the simulated Trakt.
  2. On the simulated Trakt, press “Watch something”.
  3. Back on the bridge, press “Check now”: the post is on the simulated website.

  Nothing leaves this machine, and nothing stays behind. Stop it with Ctrl+C.
"""
    )


def has_screen() -> bool:
    """Tell whether a browser could show itself here."""
    return sys.platform in {"darwin", "win32"} or bool(
        {"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ}
    )


def utcnow() -> datetime:
    """Return the time, aware and in UTC."""
    return datetime.now(UTC)
