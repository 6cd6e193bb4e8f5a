"""The whole world of a test: the bridge's pages and work, Trakt and a website on real sockets.

Nothing runs by itself here: `World.work` does what is due at the time the clock shows.
"""

import asyncio
import atexit
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from urllib.parse import urljoin

import httpx2
import uvicorn
from bs4 import BeautifulSoup, Tag
from starlette.types import ASGIApp, Receive, Scope, Send

from app import database, migrate
from app import settings as config
from app.demo.site import Habits, SimulatedSite
from app.demo.trakt import SimulatedTrakt
from app.http import trusted
from app.main import app_of, assembled
from app.scheduler import Scheduler
from app.settings import Settings
from app.store import connections, watches
from app.tables import ConnectionRow, PostRow, WatchRow
from app.web import admission
from app.web.bridge import Bridge

BRIDGE = "http://localhost:8000"
SECRET_KEY = "a secret key that only the tests know"


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def passes(self, **span: float) -> None:
        self.moment += timedelta(**span)


@dataclass
class Browser:
    """A person with a browser that knows forms, cookies and redirects, and no JavaScript."""

    client: httpx2.AsyncClient
    page: httpx2.Response = field(init=False)

    async def visit(self, url: str) -> httpx2.Response:
        self.page = await self.client.get(urljoin(BRIDGE, url), follow_redirects=True)
        return self.page

    @property
    def document(self) -> BeautifulSoup:
        return BeautifulSoup(self.page.text, "html.parser")

    @property
    def text(self) -> str:
        return " ".join(self.document.get_text(" ").split())

    async def press(self, button: str, **typed: str) -> httpx2.Response:
        """Press the first button with this text, after typing into the fields of its form."""
        form, pressed = self.form_with(button)
        fields: dict[str, str | list[str]] = {**filled(form), **typed}
        if pressed.get("name"):
            fields[str(pressed["name"])] = str(pressed.get("value", ""))
        url = urljoin(str(self.page.url), str(form.get("action", "")))
        origin = str(self.page.url.copy_with(raw_path=b"/"))[:-1]
        self.page = await self.client.post(
            url, data=fields, headers={"Origin": origin}, follow_redirects=True
        )
        return self.page

    def form_with(self, button: str) -> tuple[Tag, Tag]:
        for form in self.document.find_all("form"):
            for pressed in form.find_all("button"):
                if button in " ".join(pressed.get_text(" ").split()):
                    return form, pressed
        raise AssertionError(f"no button {button!r} on {self.page.url}: {self.text[:500]}")


def filled(form: Tag) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for one in form.find_all("input"):
        if one.get("type") in {"checkbox", "radio"} and not one.has_attr("checked"):
            continue
        if one.get("name"):
            fields.setdefault(str(one["name"]), []).append(str(one.get("value", "")))
    for one in form.find_all("textarea"):
        # A line feed right behind the tag is not part of the text.
        fields.setdefault(str(one["name"]), []).append(one.get_text().removeprefix("\n"))
    for one in form.find_all("select"):
        options = one.find_all("option")
        chosen = next((each for each in options if each.has_attr("selected")), options[0])
        value = chosen.get("value", chosen.get_text())
        fields.setdefault(str(one["name"]), []).append(str(value))
    return fields


@dataclass
class World:
    clock: Clock
    settings: Settings
    bridge: Bridge
    scheduler: Scheduler
    trakt: SimulatedTrakt
    site: SimulatedSite
    browser: Browser
    app: ASGIApp

    @property
    def me(self) -> str:
        return self.site.me

    async def sign_in(self, me: str | None = None) -> httpx2.Response:
        await self.browser.visit("/")
        await self.browser.press("Sign in", me=me or self.me)
        return await self.browser.press("Approve")

    async def sign_in_again(self) -> httpx2.Response:
        """Sign in once more, as somebody whose cookie is gone."""
        self.browser.client.cookies.clear()
        return await self.sign_in()

    async def connect(self) -> httpx2.Response:
        await self.browser.visit("/")
        await self.browser.press("Connect Trakt")
        return await self.browser.press("Approve")

    async def ready(self) -> None:
        """Sign in, connect, and let all that is due then be done."""
        await self.sign_in()
        await self.connect()
        await self.work()

    async def check_now(self) -> None:
        await self.browser.visit("/")
        await self.browser.press("Check now")
        await self.work()

    async def work(self) -> None:
        """Do all that is due by now, and what becomes due by doing it."""
        while True:
            # Work that ends says so; it may have made something due while we looked for more.
            self.scheduler.poked.clear()
            await self.scheduler.start_due()
            if running := self.scheduler.running:
                await asyncio.wait(running)
                # Let the tasks' callbacks take them out of their sets.
                await asyncio.sleep(0)
            elif not self.scheduler.poked.is_set():
                return

    async def watches(self, account_id: int = 1) -> list[tuple[WatchRow, PostRow | None]]:
        async with self.bridge.database.reading() as session:
            return await watches.page(session, account_id, 1, most=100_000)

    async def states(self, account_id: int = 1) -> dict[str, int]:
        async with self.bridge.database.reading() as session:
            return await watches.states(session, account_id)

    async def connection(self, account_id: int = 1) -> ConnectionRow:
        async with self.bridge.database.reading() as session:
            return (await connections.of_account(session, account_id))[0]


class Street:
    """Several apps behind one server, each on a port of its own."""

    def __init__(self) -> None:
        self.apps: dict[int, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.apps[scope["server"][1]](scope, receive, send)


def listening() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def origin(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@asynccontextmanager
async def serving(app: ASGIApp, listeners: list[socket.socket]) -> AsyncIterator[None]:
    """Serve ``app`` on loopback while the block runs."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        date_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=listeners))
    try:
        yield
    finally:
        server.should_exit = True
        await task


def migrated(url: str) -> None:
    """Give the database at ``url`` our schema; an empty SQLite file by copying one that has it."""
    file = database.sqlite_file(url)
    if file is None:
        migrate.upgrade(url)
        return
    database.prepare(url)
    with closing(sqlite3.connect(file)) as new, closing(sqlite3.connect(pattern())) as one:
        is_empty = not new.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if is_empty:
            one.backup(new)


@cache
def pattern() -> Path:
    """Return a SQLite file with our schema and no rows."""
    folder = Path(mkdtemp(prefix="ownyourtrakt-pattern-"))
    atexit.register(rmtree, folder)
    url = f"sqlite:///{folder / 'pattern.db'}"
    database.prepare(url)
    migrate.upgrade(url)
    return folder / "pattern.db"


@asynccontextmanager
async def running_world(
    folder: Path, clock: Clock, habits: Habits | None = None, **changes: object
) -> AsyncIterator[World]:
    """A bridge with an empty database, a Trakt and a website."""
    trakt = SimulatedTrakt(client_id="client", redirect_uri=f"{BRIDGE}/trakt/callback", now=clock)
    listeners = [listening() for _ in range(3)]
    api, auth, home = (origin(listener) for listener in listeners)
    trakt.history.pictures_at = api.removeprefix("http://")
    site = SimulatedSite(home, now=clock, habits=habits or Habits())
    street = Street()
    for listener, app in zip(listeners, (trakt.api, trakt.auth, site.app), strict=True):
        street.apps[listener.getsockname()[1]] = app
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(street, listeners))
        settings = config.load(
            _env_file=None,
            **{
                "secret_key": SECRET_KEY,
                "base_url": BRIDGE,
                "database_url": f"sqlite:///{folder / 'bridge.db'}",
                "trakt_client_id": "client",
                "trakt_api_url": api,
                "trakt_auth_url": auth,
                "allow_private_networks": "127.0.0.0/8",
                # Time stands still here; a test of the pace says so itself.
                "waits": {"between_posts": 0, "together": 0},
                **changes,
            },
        )
        migrated(settings.database_url)
        bridge, scheduler = assembled(settings, clock)
        stack.push_async_callback(bridge.close)
        stack.push_async_callback(scheduler.pulse.http.aclose)
        # A test that failed may have left work behind, which would spoil the next one.
        stack.push_async_callback(scheduler.finish)
        await admission.prepare(bridge.database, settings)
        pages = app_of(bridge, scheduler)
        client = await stack.enter_async_context(browser_for(pages))
        yield World(clock, settings, bridge, scheduler, trakt, site, Browser(client), pages)


def browser_for(app: ASGIApp) -> httpx2.AsyncClient:
    """A browser of its own; the bridge's origin leads to ``app``, all others to the network."""
    here = httpx2.ASGITransport(app=app)
    hooks = {"request": [tell_origin]}
    return httpx2.AsyncClient(
        mounts={"all://localhost": here}, verify=trusted(), trust_env=False, event_hooks=hooks
    )


async def tell_origin(request: httpx2.Request) -> None:
    """Say from where a form is sent, as every browser does."""
    if request.method == "POST" and request.url.host == "localhost":
        request.headers.setdefault("Origin", str(request.url.copy_with(raw_path=b"/"))[:-1])
