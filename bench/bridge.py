"""The bridge that is measured: its parts as `serve` joins them, with people moved in already."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select, update
from sqlmodel import col

from app import database, migrate
from app import settings as config
from app.abilities import MOST_POSTS, Abilities, to_json
from app.grants import Pair
from app.main import assembled
from app.outbox import State
from app.scheduler import Scheduler
from app.settings import Settings
from app.store import accounts, connections
from app.store.accounts import Site
from app.store.connections import Start
from app.tables import ConnectionRow, PostRow, SiteRow
from app.waits import Waits
from app.watch import Person
from app.web.bridge import Bridge

KEY = "a secret key that only the benches know"
# So that the benches measure the bridge, and not the patience that Trakt asks of it.
UNLIMITED = 10_000_000
# Nor the gentle rate at which posts leave for one site.
HASTE = Waits(between_posts=timedelta(0))


@dataclass(frozen=True, slots=True)
class Resident:
    """Somebody who signed in and connected before the measuring began."""

    me: str
    micropub: str
    trakt_token: str
    start_at: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """A bridge whose scheduler runs."""

    bridge: Bridge
    scheduler: Scheduler

    async def work(self) -> None:
        """Let all that is due now be done."""
        self.scheduler.poke()
        rest = 0.005
        while await is_busy(self.bridge):
            # The longer it takes, the less it matters to ask at once, and asking costs.
            await asyncio.sleep(rest)
            rest = min(rest * 1.05, 0.2)
        # Whoever failed waits for another try, and would only seem to be done.
        if trouble := await first_trouble(self.bridge):
            raise RuntimeError(f"this figure would not be true: {trouble}")

    async def poll_all(self) -> None:
        """Poll every connection now, and do what comes of it."""
        async with self.bridge.database.writing() as session:
            await session.execute(update(ConnectionRow).values(next_poll_at=self.bridge.now()))
        await self.work()


def settings_at(folder: Path, trakt: str, **changes: object) -> Settings:
    """Return the settings of a bridge with its SQLite database in ``folder``."""
    return config.load(
        _env_file=None,
        **{
            "secret_key": KEY,
            "base_url": "http://localhost:8000",
            "database_url": f"sqlite:///{folder / 'bridge.db'}",
            "trakt_client_id": "bench",
            "trakt_api_url": trakt,
            "trakt_auth_url": trakt,
            "trakt_gets_per_5_min": UNLIMITED,
            "allow_private_networks": "127.0.0.0/8",
            "waits": HASTE,
            **changes,
        },
    )


@asynccontextmanager
async def running_bridge(
    settings: Settings, now: Callable[[], datetime]
) -> AsyncIterator[Measured]:
    """Run a bridge on a new database during the block."""
    database.prepare(settings.database_url)
    migrate.upgrade(settings.database_url)
    bridge, scheduler = assembled(settings, now)
    clockwork = asyncio.create_task(scheduler.run())
    try:
        yield Measured(bridge, scheduler)
    finally:
        scheduler.stop()
        await clockwork
        await scheduler.finish()
        await bridge.close()


async def move_in(
    bridge: Bridge, residents: Iterable[Resident], read_up_to: str | None = None
) -> None:
    """Sign everybody in and connect them, as the pages would do.

    With ``read_up_to``, Trakt's stamp of both kinds, they have been here for a while: their
    histories were read, and what their sites can do is known.
    """
    now, vault = bridge.now(), bridge.vault
    async with bridge.database.writing() as session:
        for number, resident in enumerate(residents):
            site = site_of(resident, now)
            account, _ = await accounts.sign_in(session, site, vault, now)
            person = Person("trakt", str(number), f"person {number}", "UTC", now)
            pair = Pair(resident.trakt_token, None, now, None)
            start = Start(resident.start_at, now)
            await connections.connect(session, account, person, pair, vault, start)
        # What their sites hold was read long ago.
        await session.execute(
            update(SiteRow).values(wants_all=False, adopted_at=now, look_due_at=None)
        )
        if read_up_to:
            # Of each site three posts were looked at, and it was asked what it can do.
            for row in (await session.scalars(select(SiteRow))).all():
                known = Abilities(row.micropub, asked_at=now, posts=MOST_POSTS)
                row.abilities = to_json(known)
            await session.execute(
                update(ConnectionRow).values(
                    movies_stamp=read_up_to,
                    episodes_stamp=read_up_to,
                    looked_at=now,
                    checked_at=now,
                    archive_page=None,
                    archive_due_at=None,
                )
            )


def site_of(resident: Resident, now: datetime) -> Site:
    """Return a resident's site, confirmed, with a token that does not run out."""
    return Site(
        me=resident.me,
        name=None,
        photo=None,
        micropub=resident.micropub,
        authorization_endpoint=f"{resident.me}auth",
        token_endpoint=f"{resident.me}token",
        revocation_endpoint=None,
        issuer=None,
        scope="create update",
        pair=Pair("site token", None, now, None),
    )


async def is_busy(bridge: Bridge) -> bool:
    """Tell whether something is due or under way, by the rows alone."""
    now = bridge.now()
    read = select(col(ConnectionRow.id)).where(
        (col(ConnectionRow.next_poll_at) <= now)
        | col(ConnectionRow.polling_until).is_not(None)
        # While a page is read its time lies ahead, so that nobody else reads it.
        | (
            col(ConnectionRow.archive_page).is_not(None)
            & (col(ConnectionRow.archive_failures) == 0)
        )
    )
    sent = select(col(PostRow.id)).where(
        (col(PostRow.state) == State.SENDING)
        | ((col(PostRow.state) == State.QUEUED) & (col(PostRow.due_at) <= now))
    )
    async with bridge.database.reading() as session:
        for found in (read, sent):
            if await session.scalar(found.limit(1)) is not None:
                return True
    return False


async def first_trouble(bridge: Bridge) -> str | None:
    """Return what went wrong with a connection, a site or a post, None when nothing did."""
    async with bridge.database.reading() as session:
        for row in (ConnectionRow, SiteRow, PostRow):
            found = select(col(row.trouble)).where(col(row.trouble).is_not(None))
            if trouble := await session.scalar(found.limit(1)):
                return trouble
        failed = select(col(ConnectionRow.id)).where(col(ConnectionRow.archive_failures) > 0)
        if await session.scalar(failed.limit(1)) is not None:
            return "a page of an archive could not be read"
    return None
