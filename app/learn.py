"""Learn what a site's endpoint can do: by asking it, and by what became of our first posts."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import httpx2
import structlog

from app.abilities import MOST_POSTS, Sent, after_post, compared, told
from app.database import Database
from app.errors import SiteError, SiteLocked
from app.hentry import JSON, content_type, properties_of
from app.indieweb.config import config, properties
from app.keys import Keys
from app.store import abilities
from app.tables import SiteRow

log = structlog.get_logger()

# People wait for some of these answers, and Heroku stops waiting after 30 s.
WITHIN = timedelta(seconds=20)
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Learner:
    """Asks the endpoints of all sites of one database."""

    database: Database
    http: httpx2.AsyncClient
    keys: Keys
    now: Callable[[], datetime]

    async def ask(self, site: SiteRow) -> None:
        """Ask an endpoint what it can do. Raises `SiteError` where it gives no answer."""
        answer = await self.asked(site, partial(config, self.http, site.micropub))
        now = self.now()
        async with self.database.writing() as session:
            await abilities.change(
                session, site.account_id, site.micropub, lambda known: told(known, answer, now)
            )

    async def ask_in_time(self, site: SiteRow) -> None:
        """Ask an endpoint what it can do, if that was not done of late; failing changes nothing."""
        if not abilities.of(site).is_to_be_asked(self.now()):
            return
        try:
            await self.ask(site)
        except SiteError as error:
            log.info("not asked", account=site.account_id, trouble=str(error))

    async def after_post(self, site: SiteRow, body: str, url: str) -> None:
        """Learn from a post that is on the site, where there is something left to learn."""
        await self.see(site, body, url)
        await self.ask_in_time(site)

    async def see(self, site: SiteRow, body: str, url: str) -> None:
        """Look what became of one of the first posts; failing changes nothing."""
        if abilities.of(site).posts >= MOST_POSTS:
            return
        try:
            kept = await self.asked(site, partial(properties, self.http, site.micropub, url=url))
        except SiteError as error:
            log.info("not looked at", account=site.account_id, trouble=str(error))
            return
        sent = Sent(properties_of(body), url, is_json=content_type(body) == JSON)
        seen = compared(sent, kept)
        async with self.database.writing() as session:
            await abilities.change(
                session,
                site.account_id,
                site.micropub,
                lambda known: after_post(known, seen, self.now(), url),
            )

    async def asked(self, site: SiteRow, query: Callable[..., Awaitable[Answer]]) -> Answer:
        """Return the answer to a query, with a renewed key where the old one was not accepted."""
        token = await self.keys.token(site)
        try:
            return await query(access_token=token, deadline=WITHIN)
        except SiteLocked:
            token = await self.keys.token(site, token)
            return await query(access_token=token, deadline=WITHIN)
