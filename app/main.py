"""The one place where the parts meet."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network
from signal import SIGINT, SIGTERM
from socket import socket
from types import ModuleType

import httpx2
import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.database import Database
from app.disk import loss_here
from app.errors import SignInError
from app.http import client
from app.keys import Keys
from app.learn import Learner
from app.look import Looker
from app.metrics import Metrics
from app.notify import Notifier, check_urls
from app.poll import Poller
from app.posters import Pictures
from app.publish import Publisher
from app.pulse import Pulse
from app.refresh import Refresher
from app.scheduler import POLLS, Errand, Scheduler
from app.server import LARGEST_HEAD, beside, patient
from app.settings import Settings, SettingsError
from app.sources.budget import Budget
from app.sources.trakt import Trakt
from app.store import connections
from app.tester import Tester
from app.vault import Vault
from app.web import (
    abilities,
    admission,
    connect,
    file,
    health,
    history,
    notifications,
    operator,
    pages,
    posters,
    questions,
    rules,
    signin,
    site,
    style,
    trial,
)
from app.web.bridge import Bridge, the_bridge
from app.web.door import Door, tell_refusal
from app.web.headers import SecurityHeaders, protect, protection
from app.web.observe import HEADER, Observed, request_id
from app.web.problems import problem
from app.web.session import SignedOut
from app.web.views import HERE, plain_trouble_page, trouble_page

log = structlog.get_logger()

# A look at a site for one watch comes before what a person decides about it.
PAGES = (signin, connect, site, questions, history, pages)
CHOICES = (style, rules, file, abilities, trial, notifications)
PARTS = (*PAGES, *CHOICES, health, operator, posters)


def utcnow() -> datetime:
    """Return the time, aware and in UTC."""
    return datetime.now(UTC)


def create_app(
    settings: Settings, now: Callable[[], datetime] = utcnow, *, with_scheduler: bool = True
) -> FastAPI:
    """Return the app for ``settings``, on a database that is migrated already.

    It opens nothing until it is started; then its scheduler runs beside the pages, unless others
    do the work.

    Raises:
        SettingsError: a setting that only the parts themselves can judge is wrong.

    """
    check(settings)
    bridge, scheduler = assembled(settings, now)
    return app_of(replace(bridge, has_scheduler=with_scheduler), scheduler)


async def work(
    settings: Settings,
    now: Callable[[], datetime] = utcnow,
    *,
    with_jobs: bool = False,
    listener: socket | None = None,
) -> None:
    """Do what is due beside other workers, without pages, until SIGTERM or Ctrl-C.

    ``with_jobs``: it is handed out by PgQueuer, which must be installed. ``listener``: where
    machines, and nobody else, may ask how this process does.

    Raises:
        SettingsError: as `create_app`.

    """
    check(settings)
    bridge, scheduler = assembled(settings, now)
    scheduler.is_one_of_many = True
    if with_jobs:
        scheduler = jobs_of(scheduler, settings.database_url)
    for number in (SIGTERM, SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, scheduler.stop)
    answering = (
        beside(served(app_of(bridge, scheduler, [health]), settings), listener)
        if listener
        else nullcontext()
    )
    try:
        async with answering:
            await scheduler.run()
            await scheduler.finish()
    finally:
        await closed(bridge, scheduler)


def jobs_of(scheduler: Scheduler, url: str) -> Scheduler:
    """Return a scheduler with the same parts that offers and takes jobs of PgQueuer.

    Raises SettingsError where that is not installed.
    """
    try:
        from app.jobs import JobScheduler  # noqa: PLC0415 - it needs an extra
    except ImportError as error:
        raise SettingsError(
            f"--queue needs the package pgqueuer ({error}): run pip install pgqueuer, or leave "
            "--queue away, which does the same without it"
        ) from None
    return JobScheduler(
        **{one.name: getattr(scheduler, one.name) for one in fields(scheduler)}, url=url
    )


async def errand(
    settings: Settings, now: Callable[[], datetime] = utcnow, *, everybody: bool = False
) -> Errand:
    """Do what is due, without pages, and end; SIGTERM ends it sooner, between two claims.

    ``everybody``: all connections are due now, as far as Trakt asked for no wait.

    Raises:
        SettingsError: as `create_app`.

    """
    check(settings)
    bridge, scheduler = assembled(settings, now)
    asyncio.get_running_loop().add_signal_handler(SIGTERM, scheduler.stop)
    try:
        if everybody:
            async with bridge.database.writing() as session:
                await connections.hasten(session, now())
        return await scheduler.errand()
    finally:
        await closed(bridge, scheduler)


def check(settings: Settings) -> None:
    """Stop the start at what only the parts themselves can judge. Raises SettingsError."""
    admission.check_allowed_sites(settings)
    check_urls(settings)


def served(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return how an app answers whoever connects."""
    return uvicorn.Config(
        app,
        # One worker, whatever WEB_CONCURRENCY says: the scheduler lives in it.
        workers=1,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        http=patient(settings.waits, protection(secure=settings.secure)),
        ws="none",
        h11_max_incomplete_event_size=LARGEST_HEAD,
    )


def app_of(bridge: Bridge, scheduler: Scheduler, parts: Sequence[ModuleType] = PARTS) -> FastAPI:
    """Return the app that shows ``bridge`` and runs ``scheduler`` while it is started."""
    settings = bridge.settings
    app = FastAPI(
        title="OwnYourTrakt",
        # As they are: included, each would be made anew.
        routes=[route for part in parts for route in part.router.routes],
        lifespan=partial(lifespan, bridge, scheduler),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # It would answer with the scheme and host of the request, which behind a proxy are others.
        redirect_slashes=False,
    )
    app.state.bridge = bridge
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_middleware(Door, bridge=bridge)
    app.add_middleware(SecurityHeaders, secure=settings.secure)
    app.add_middleware(Observed, metrics=bridge.metrics)
    app.add_exception_handler(SignInError, on_sign_in_error)
    app.add_exception_handler(SignedOut, on_signed_out)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(ClientDisconnect, on_gone)
    app.add_exception_handler(Exception, on_bug)
    return app


def assembled(settings: Settings, now: Callable[[], datetime]) -> tuple[Bridge, Scheduler]:
    """Return all parts, joined."""
    database = Database(settings.database_url)
    vault = Vault(settings.secret_key)
    about = "" if settings.is_loopback else settings.base_url
    metrics = Metrics()

    def neighbour(name: str, keepalive: int = 0) -> httpx2.AsyncClient:
        seen = partial(metrics.asked, name)
        allowed = settings.allow_private_networks
        return client(allowed, about=about, keepalive=keepalive, seen=seen)

    sites = neighbour("site")
    trakt = Trakt(
        http=neighbour("trakt", keepalive=POLLS),
        auth=neighbour("trakt-auth"),
        budget=Budget(settings.trakt_gets_per_5_min, lambda: now().timestamp()),
        api_url=settings.trakt_api_url,
        auth_url=settings.trakt_auth_url,
        client_id=settings.trakt_client_id,
        client_secret=settings.trakt_client_secret,
        redirect_uri=settings.redirect_uri,
        deadline=settings.waits.trakt_deadline,
    )
    refresher = Refresher(database, vault, now, metrics)
    interval = timedelta(seconds=settings.poll_interval)
    poller = Poller(database, trakt, refresher, now, interval, settings.waits, metrics)
    keys = Keys(sites, refresher, now, f"{settings.base_url}/id")
    learner = Learner(database, sites, keys, now)
    pictures = Pictures(database, sites, learner, now, settings.waits, settings.trakt_api_url)
    publisher = Publisher(
        database,
        sites,
        keys,
        learner,
        pictures,
        now,
        settings.waits,
        metrics,
        settings.base_url,
    )
    looker = Looker(database, sites, keys, now, settings.waits, metrics)
    notifier = Notifier(database, vault, now, settings, metrics)
    # The operator's own word, like DATABASE_URL: it may lead anywhere, also to the next room.
    anywhere = client([ip_network("0.0.0.0/0"), ip_network("::/0")], about=about)
    pulse = Pulse(settings.heartbeat_url, anywhere, settings.waits.heartbeat_deadline)
    scheduler = Scheduler(
        database, poller, publisher, looker, notifier, pulse, now, settings.waits, metrics
    )
    # Strangers choose what the pages fetch; the work goes on however slow their names are.
    strangers = neighbour("site")
    asker = replace(learner, http=strangers)
    bridge = Bridge(
        settings=settings,
        database=database,
        vault=vault,
        http=strangers,
        trakt=trakt,
        now=now,
        poke=scheduler.poke,
        notifier=notifier,
        learner=asker,
        tester=Tester(replace(publisher, http=strangers, learner=asker)),
        metrics=metrics,
        started_at=now(),
        loss=loss_here(settings),
    )
    return bridge, scheduler


@asynccontextmanager
async def lifespan(bridge: Bridge, scheduler: Scheduler, _: FastAPI) -> AsyncIterator[None]:
    """Run the scheduler beside the pages; at the end let what is in flight come to rest."""
    await admission.prepare(bridge.database, bridge.settings)
    clockwork = asyncio.create_task(scheduler.run()) if bridge.has_scheduler else None
    try:
        yield
    finally:
        scheduler.stop()
        if clockwork:
            await clockwork
        await scheduler.finish()
        await closed(bridge, scheduler)


async def closed(bridge: Bridge, scheduler: Scheduler) -> None:
    """Close all connections."""
    await bridge.close()
    await scheduler.pulse.http.aclose()


async def on_sign_in_error(request: Request, error: Exception) -> Response:
    """Show what stopped, and what to do."""
    told = problem(error) if isinstance(error, SignInError) else problem(SignInError("broken"))
    tell_refusal(request, the_bridge(request), getattr(error, "code", ""))
    return await trouble_page(request, told)


def on_signed_out(_request: Request, _error: Exception) -> Response:
    """Lead to the first page, where one signs in."""
    return RedirectResponse("/?said=sign-in-first", status_code=303)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Show an address that does not exist, or not that way, as a page of ours."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    code = {404: "not_found", 405: "method"}.get(status, "malformed")
    response = await trouble_page(request, problem(SignInError(code)))
    # A 405 names the methods that are allowed (RFC 9110 §15.5.6).
    response.headers.update(getattr(error, "headers", None) or {})
    return response


def on_gone(_request: Request, _error: Exception) -> Response:
    """Answer a browser that went away while it was sending: nobody reads it."""
    return Response(status_code=400)


def on_bug(request: Request, error: Exception) -> Response:
    """Show that the fault is ours; the server logs the rest."""
    bridge = the_bridge(request)
    bridge.metrics.bug("page", error, bridge.now())
    told = problem(SignInError("broken", f"In the log it is request={request_id()}."))
    response = plain_trouble_page(request, told)
    # Starlette answers for bugs outside all middleware.
    response.headers[HEADER] = request_id()
    protect(response.headers, request.url.path, secure=bridge.settings.secure)
    return response
