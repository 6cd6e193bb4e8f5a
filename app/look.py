"""Look at a site, for what it holds and for posts whose answer was lost.

A look reads the site's own list of posts or, where it has none, its pages; what may be ours is
kept page by page, so that a look that is cut short goes on where it stopped. When it ends, the
posts that nobody knew about are judged by what it proves.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import httpx2
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Database
from app.errors import SiteBusy, SiteError, SiteLocked, SiteUnlisted
from app.indieweb.feed import feed_page
from app.indieweb.source import listed, source
from app.keys import Keys
from app.lookup import Cursor, Entry, Progress, Way, progress_of, turned
from app.metrics import Metrics
from app.notices import Kind
from app.outbox import Evidence, backoff, jittered
from app.store import found, gates, looks, notices, posts
from app.store.looks import Turn
from app.tables import SiteRow
from app.waits import Waits

log = structlog.get_logger()

# A way that failed so often in a row is given up for the next one.
PATIENCE = 3
WAYS = (Way.LIST, Way.FEED, Way.NONE)
# So many lost posts are asked for one by one where a list does not help.
MOST_SINGLE = 10


@dataclass(frozen=True, slots=True)
class Page:
    """What one request told."""

    entries: tuple[Entry, ...]
    follows: Cursor | None


@dataclass(frozen=True, slots=True)
class Looker:
    """Reads what the sites of all accounts of one database hold."""

    database: Database
    http: httpx2.AsyncClient
    keys: Keys
    now: Callable[[], datetime]
    waits: Waits
    metrics: Metrics

    async def look(self, turn: Turn) -> None:
        """Read a site as far as it is needed, and settle what that settles."""
        try:
            async with asyncio.timeout(self.waits.look_turn.total_seconds()):
                progress = await self.read(turn)
        except (SiteError, TimeoutError) as error:
            self.metrics.ended("look", error)
            await self.note_trouble(turn, error)
            return
        if progress:
            await self.end(turn, progress)
        self.metrics.ended("look")

    async def read(self, turn: Turn) -> Progress | None:
        """Read page after page; return how far that came, None when the turn is not ours."""
        progress: Progress | None = progress_of(turn.site.look_progress) or await self.begin(turn)
        while progress and not progress.is_done:
            try:
                page = await self.page(turn, progress)
            except SiteUnlisted:
                # What was there before may be missing just now, like everything else.
                if turn.site.shows == Way.LIST:
                    raise
                progress = replace(progress, way=Way.FEED, cursor=None)
                continue
            progress = await self.save(turn, progress, page)
        if progress and progress.way is not Way.LIST:
            await self.ask_single(turn)
        return progress

    async def begin(self, turn: Turn) -> Progress:
        """Return the start of a look: by which way, and how deep it must go."""
        way = WAYS[min(turn.site.look_failures // PATIENCE, len(WAYS) - 1)]
        depth = None
        if not turn.site.wants_all:
            async with self.database.reading() as session:
                depth = await looks.depth(session, turn.site.account_id, self.waits)
        return Progress(way, self.now(), depth, is_done=way is Way.NONE)

    async def page(self, turn: Turn, progress: Progress) -> Page:
        """Ask for the next page. Raises `SiteError`."""
        if progress.way is Way.FEED:
            url = progress.cursor if isinstance(progress.cursor, str) else turn.me
            seen = await feed_page(self.http, url, self.waits.look_deadline)
            return Page(seen.entries, seen.follows)
        page = await self.list_page(turn.site, progress.cursor)
        # What a list does not show is sent: its end is believed when it was seen twice.
        return page if page.entries else await self.list_page(turn.site, progress.cursor)

    async def list_page(self, site: SiteRow, cursor: Cursor | None) -> Page:
        """Ask for a page of the site's own list. Raises `SiteError`."""
        deadline = self.waits.look_deadline
        token = await self.keys.token(site)
        try:
            one = await listed(self.http, site.micropub, token, cursor, deadline)
        except SiteLocked:
            token = await self.keys.token(site, token)
            one = await listed(self.http, site.micropub, token, cursor, deadline)
        return Page(one.entries, one.follows)

    async def save(self, turn: Turn, progress: Progress, page: Page) -> Progress | None:
        """Keep what a page shows and how far the look has come."""
        now = self.now()
        async with self.database.writing() as session:
            site = await looks.hold(session, turn)
            if site is None:
                return None
            rows = await found.keep(session, site.account_id, page.entries, now)
            await found.settle(session, site.account_id, rows, now)
            after = turned(progress, page.entries, looks.count_ours(rows), page.follows)
            if is_mute(after):
                after = Progress(Way.FEED, after.began_at, after.depth, is_empty=True)
            if after.way is Way.FEED and after.is_done and not after.read:
                after = replace(after, way=Way.NONE)
            site.look_failures = 0
            gates.reach(site, after)
            looks.progressed(site, after)
        return after

    async def ask_single(self, turn: Turn) -> None:
        """Ask for lost posts where the site would have put them; failing changes nothing."""
        async with self.database.reading() as session:
            places = await looks.predicted_places(session, turn.site.account_id, MOST_SINGLE)
        for url in places:
            try:
                token = await self.keys.token(turn.site)
                entry = await source(
                    self.http, turn.site.micropub, token, url, self.waits.look_deadline
                )
            except SiteError:
                return
            if entry:
                await self.save_single(turn, entry)

    async def save_single(self, turn: Turn, entry: Entry) -> None:
        """Keep a post that was found where it was expected."""
        async with self.database.writing() as session:
            if site := await looks.hold(session, turn):
                rows = await found.keep(session, site.account_id, [entry], self.now())
                await found.settle(session, site.account_id, rows, self.now())

    async def end(self, turn: Turn, progress: Progress) -> None:
        """Settle what the look settles, and say when to look next."""
        now = self.now()
        async with self.database.writing() as session:
            site = await looks.hold(session, turn)
            if site is None:
                return
            evidence = evidence_of(site, progress)
            await looks.settle_wanting(session, site, evidence, now, self.waits)
            await self.settle_gate(session, site, progress, now)
            if site.wants_all and site.adopted_at is None:
                await offer_start(session, site, now)
            if site.wants_all:
                site.adopted_at = now
            site.look_progress, site.looking_until, site.look_failures = None, None, 0
            site.looked_at, site.look_said = now, summary(progress)
            site.wants_all = gates.awaits_list(site, progress, now, self.waits)
            if site.wants_all:
                site.look_due_at = now + self.waits.looks[1]
            else:
                # An empty site may list its posts or not: the first post will tell.
                site.shows = None if is_bare(progress) else progress.way
                due_at = await looks.next_time(session, site, self.waits)
                # Two looks in a row, after a long silence, would be one.
                site.look_due_at = due_at and max(due_at, now + self.waits.looks[0])
        log.info("looked", account=turn.site.account_id, way=progress.way, read=progress.read)

    async def settle_gate(
        self, session: AsyncSession, site: SiteRow, progress: Progress, now: datetime
    ) -> None:
        """Open the gate of a site that showed all that matters."""
        knows = await gates.knows_posts(session, site.account_id)
        if await found.is_unknown_since(session, site.account_id, site.gate_at):
            # What is there may be ours, and nobody knows which watches it tells of.
            knows = True
        if gates.opened_by(site, progress, knows_posts=knows):
            gates.lift(site)
            await notices.close(session, site.account_id, Kind.GATE, now)

    async def note_trouble(self, turn: Turn, error: Exception) -> None:
        """Write down why a look failed, and when to try again; what was read stays."""
        now = self.now()
        said = str(error) or "Your site took too long to answer."
        log.warning("look failed", account=turn.site.account_id, trouble=said)
        async with self.database.writing() as session:
            site = await looks.hold(session, turn)
            if site is None:
                return
            site.look_failures += 1
            if site.look_failures % PATIENCE == 0:
                site.look_progress = None
            asked = error.retry_after if isinstance(error, SiteBusy) else None
            wait = max(backoff(site.look_failures, self.waits), asked or backoff(1, self.waits))
            site.looking_until, site.look_due_at = None, now + jittered(wait)
            site.look_said = said
            if isinstance(error, SiteLocked):
                site.locked = said
                await notices.open_one(session, site.account_id, Kind.SITE, said, now)


async def offer_start(session: AsyncSession, site: SiteRow, now: datetime) -> None:
    """Ask, on a new database, whether to start from the newest post that the site holds."""
    newest = await found.newest(session, site.account_id, now)
    if newest is None or await posts.has_sent(session, site.account_id):
        return
    count = await found.count(session, site.account_id)
    posts_are = "1 post" if count == 1 else f"{count} posts"
    said = (
        f"Your site already shows {posts_are} of what you watched, the newest of "
        f"{newest.day} {newest:%B %Y}. Shall the bridge also post what you watched since then?"
    )
    await notices.open_one(session, site.account_id, Kind.START, said, now)


def is_mute(progress: Progress) -> bool:
    """Tell whether a list ended without a single post: some servers have one, and never fill it."""
    return progress.way is Way.LIST and progress.is_done and not progress.read


def is_bare(progress: Progress) -> bool:
    """Tell whether a site showed nothing at all, in its list and on its pages."""
    return progress.is_empty and progress.way is Way.NONE


def evidence_of(site: SiteRow, progress: Progress) -> Evidence:
    """Return what a look proves about posts that it did not show."""
    scope = site.scope.split()
    return Evidence(
        is_list=progress.way is Way.LIST,
        shows_ours=progress.ours > 0,
        reached=progress.proven,
        may_see_all="create" in scope or "draft" not in scope,
        began_at=progress.began_at,
        said=f"{summary(progress)} This post was not among them.",
    )


def summary(progress: Progress) -> str:
    """Return what a look saw, in a sentence."""
    if is_bare(progress):
        return "The bridge looked at your site; it shows no posts yet."
    if progress.way is Way.NONE:
        return "The bridge looked, but your site does not let it read its posts."
    where = "its list of posts" if progress.way is Way.LIST else "its pages"
    back = ""
    if progress.reached and not progress.is_whole:
        back = f", back to {progress.reached.day} {progress.reached:%B %Y}"
    count = "1 post" if progress.read == 1 else f"{progress.read} posts"
    return f"The bridge looked at your site ({where}) and read {count}{back}."
