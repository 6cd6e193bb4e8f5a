"""Put a post on the site: claim it, send it, judge the answer, write down what became of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import httpx2
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.abilities import is_micro_blog
from app.database import Database
from app.errors import (
    SignInError,
    SiteBusy,
    SiteError,
    SiteLocked,
    SiteMoved,
    SiteRefused,
)
from app.hentry import Telling, body, zone
from app.indieweb import micropub
from app.indieweb.discovery import discover
from app.keys import Keys
from app.learn import Learner
from app.metrics import Metrics
from app.outbox import REMOVED, Post, State, failed, published, removed, ruled_out
from app.posters import Fetching, Pictures
from app.rules import Decision, Then, decision_to_json
from app.store import found, grants, posts, rules, watches
from app.store import posters as posters_of
from app.store.posts import Due
from app.store.told import completed, source_of
from app.style import Posters, from_json
from app.tables import SiteRow
from app.waits import Waits

log = structlog.get_logger()

Exchange = dict[str, Any]

# Of an answer's text, so much is kept for the person to look at.
SHOWN = 4096
# So many posts that fail in a row tell of the site, not of the posts.
MOST_FAILURES = 5
PAUSED = (
    f"{MOST_FAILURES} posts in a row went wrong on your site, so the bridge sends no more for now. "
    "Look at them, then press “Go on”; until then it tries a single one now and then."
)
VISIBILITY: dict[Then, Literal["unlisted", "private"]] = {
    Then.UNLISTED: "unlisted",
    Then.PRIVATE: "private",
}
HEADERS = ("Location", "Content-Type", "Retry-After")


@dataclass(frozen=True, slots=True)
class Sending:
    """One attempt that is noted in the database and may now leave."""

    post_id: int
    account_id: int
    me: str
    endpoint: str
    body: str
    post: Post
    site: SiteRow = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: for the post, for its site, and for the person to read.

    ``endpoint`` is where it has moved to; ``token`` the last one that was sent, None when none
    was.
    """

    post: Post
    trouble: SiteError | None
    endpoint: str | None
    shown: Exchange | None = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Publisher:
    """Sends the posts of all accounts of one database."""

    database: Database
    http: httpx2.AsyncClient
    keys: Keys
    learner: Learner
    pictures: Pictures
    now: Callable[[], datetime]
    waits: Waits
    metrics: Metrics
    base_url: str

    async def claim(self) -> Sending | Fetching | None:
        """Return what to do next for a post, already noted as begun; None when nothing is due."""
        now = self.now()
        async with self.database.reading() as session:
            if not await posts.is_work(session, now):
                return None
        async with self.database.writing() as session:
            await posts.move_on(session, now, self.waits)
            while due := await posts.due(session, now):
                if attempt := await self.begin(session, due, now):
                    return attempt
        return None

    async def begin(
        self, session: AsyncSession, due: Due, now: datetime
    ) -> Sending | Fetching | None:
        """Return the attempt to send a post, or to get its poster before that.

        None if it cannot be told, or need not be any more.
        """
        if due.watch.removed_at is not None:
            posts.write(due.row, removed(posts.value(due.row), now))
            await posts.tell(session, due.row.id or 0, REMOVED, now, None)
            await session.flush()
            return None
        # What the site shows may have become known in the very moment in which the watch did.
        await found.recognise(session, [due.watch], now)
        if due.row.state != State.QUEUED:
            return None
        try:
            decision = await decision_over(session, due)
            if decision and decision.then is Then.SKIP:
                after = ruled_out(posts.value(due.row), decision.said, now)
                posts.write(due.row, after)
                await posts.tell(
                    session, due.row.id or 0, f"Not posted. {after.trouble}.", now, None
                )
                await session.flush()
                return None
            if errand := await self.picture_for(session, due, now):
                return errand
            body, told = await self.told(session, due, decision)
        except ValueError as error:
            # One watch that cannot be told must not keep all the others waiting.
            trouble = SiteRefused(f"It cannot be told: {str(error).rstrip('.')}.")
            after = failed(posts.value(due.row), trouble, now)
            posts.write(due.row, after)
            await posts.tell(session, due.row.id or 0, line(after), now, None)
            return None
        return sending(due, await posts.begin(session, due, now, body, told, self.waits), body)

    async def picture_for(self, session: AsyncSession, due: Due, now: datetime) -> Fetching | None:
        """Return the poster that a post waits for, None when it waits for none (any more)."""
        source = source_of(due.watch)
        # What was rendered once is sent as it is.
        if due.row.body is not None or source is None:
            return None
        way = from_json(due.account.style).posters
        if way is Posters.OFF:
            return None
        known = await posters_of.known(session, due.row.account_id, source)
        if posters_of.link(known, way, self.base_url):
            return None
        lease = self.waits.poster_lease
        wanted = await posters_of.begin(session, due.site, source, way, now, lease)
        return Fetching(wanted, due.site) if wanted else None

    async def told(
        self, session: AsyncSession, due: Due, decision: Decision | None
    ) -> tuple[str, str]:
        """Return the body and the slug of a post: as stored, or rendered for the first time."""
        if due.row.body is not None and due.row.slug is not None:
            return due.row.body, due.row.slug
        watch = watches.watch_of(due.watch)
        if watch is None:
            raise ValueError("its watch could not be read")
        (complete,) = await completed(session, [(due.watch, telling(due, decision))], self.base_url)
        if complete.style.posters is not Posters.OFF and complete.poster is None:
            await self.tell_missing(session, due)
        return body(watch, complete)

    async def tell_missing(self, session: AsyncSession, due: Due) -> None:
        """Say why a post leaves without its poster, if there was one to be had."""
        if source := source_of(due.watch):
            known = await posters_of.known(session, due.row.account_id, source)
            trouble = (known.trouble if known else None) or "it could not be had"
            said = f"Told without its poster: {trouble}."
            await posts.tell(session, due.row.id or 0, said, self.now(), None)

    async def deliver(self, attempt: Sending | Fetching) -> None:
        """Send one post and write down what became of it, or get its poster first."""
        if isinstance(attempt, Fetching):
            await self.pictures.get(attempt)
            return
        tokens: list[str] = []
        answer: httpx2.Response | None = None
        trouble: SiteError | None = None
        endpoint = None
        try:
            answer = await self.send(attempt, tokens)
            after = published(attempt.post, micropub.created(answer), self.now())
        except SiteError as error:
            trouble = error
            after, endpoint = await self.after(attempt, error)
        known = [*tokens, *self.held(attempt.site)]
        after = replace(
            after,
            trouble=after.trouble and redacted(after.trouble, known),
            url=after.url and redacted(after.url, known),
        )
        shown = exchange(attempt, answer, known) if tokens else None
        told = Outcome(after, trouble, endpoint, shown, tokens[-1] if tokens else None)
        self.metrics.ended("post", trouble)
        await self.settle(attempt, told)
        if after.state is State.PUBLISHED and after.url:
            await self.learner.after_post(attempt.site, attempt.body, after.url)

    def held(self, site: SiteRow) -> list[str]:
        """Return the keys that a site gave us: an answer may hold the refresh token, too."""
        pair = grants.pair_of(site, self.keys.refresher.vault)
        return [one for one in (pair.access, pair.refresh) if one] if pair else []

    async def send(self, attempt: Sending, tokens: list[str]) -> httpx2.Response:
        """Send the post, a second time where a renewed token may help; note the tokens used.

        A 401 says that nothing was written. Raises a leaf of `SiteError`.
        """
        tokens.append(await self.keys.token(attempt.site))
        answer = await self.post(attempt, tokens[-1])
        if answer.status_code != 401:
            return answer
        try:
            tokens.append(await self.keys.token(attempt.site, tokens[-1]))
        except SiteLocked:
            return answer
        return await self.post(attempt, tokens[-1])

    async def post(self, attempt: Sending, token: str) -> httpx2.Response:
        """Send the post once. Raises a leaf of `SiteError`."""
        deadline = self.waits.send_deadline
        return await micropub.create(self.http, attempt.endpoint, token, attempt.body, deadline)

    async def after(self, attempt: Sending, error: SiteError) -> tuple[Post, str | None]:
        """Return what becomes of a failed attempt, and the endpoint if it has moved."""
        endpoint = None
        if isinstance(error, SiteMoved) and not attempt.post.rediscovered:
            endpoint = await self.moved_to(attempt)
            if endpoint is None:
                known = replace(attempt.post, rediscovered=True)
                return failed(known, error, self.now(), self.waits), None
        return failed(attempt.post, error, self.now(), self.waits), endpoint

    async def moved_to(self, attempt: Sending) -> str | None:
        """Return where the site says its Micropub endpoint is now, None if that is not news."""
        try:
            async with asyncio.timeout(self.waits.search_deadline.total_seconds()):
                found = await discover(self.http, attempt.me)
        except (SignInError, TimeoutError):
            return None
        return found.micropub if found.micropub != attempt.endpoint else None

    async def settle(self, attempt: Sending, outcome: Outcome) -> None:
        """Save the outcome of an attempt, unless the row has gone on without us."""
        now, after = self.now(), outcome.post
        async with self.database.writing() as session:
            if not await posts.settle(
                session, attempt.post_id, attempt.post, after, now, self.waits
            ):
                log.warning("outcome came too late", post=attempt.post_id, state=after.state)
                return
            await posts.tell(session, attempt.post_id, line(after), now, outcome.shown)
            await posts.note_site(
                session,
                attempt.site,
                lambda site: site_after(site, outcome, now, self.waits),
                outcome.token,
                self.keys.refresher.vault,
                now,
            )
        log.info("sent", post=attempt.post_id, state=after.state, attempt=after.attempts)


def sending(due: Due, post: Post, body: str) -> Sending:
    """Return the attempt that the rows of ``due`` describe."""
    return Sending(
        post_id=due.row.id or 0,
        account_id=due.row.account_id,
        me=due.account.me,
        endpoint=due.site.micropub,
        body=body,
        post=post,
        site=due.site,
    )


async def decision_over(session: AsyncSession, due: Due) -> Decision | None:
    """Return what the person's rules decide over a post, noted in its row.

    None: it was told before, and every attempt sends the same. Raises ValueError where it cannot
    be decided.
    """
    if due.row.body is not None:
        return None
    has_rules = due.account.rules is not None
    again = has_rules and due.watch.id in await watches.earlier(session, [due.watch])
    decision = rules.decided(due.account, due.watch, again=again, post=due.row)
    if decision.then in rules.impossible(due.site):
        # It might be shown to everybody.
        raise ValueError(f"{decision.said}; your site is known not to do that")
    due.row.decision = decision_to_json(decision)
    return decision


def telling(due: Due, decision: Decision | None = None) -> Telling:
    """Return how a post of this account is told, whatever its watch adds to that.

    Raises ValueError for a damaged style.
    """
    bare = Telling(zone=zone(due.account.timezone) or UTC, style=from_json(due.account.style))
    return ruled(bare, decision or Decision(), due.site)


def ruled(telling: Telling, decision: Decision, site: SiteRow) -> Telling:
    """Return how a post is told where rules decide what becomes of it on a site."""
    # Micro.blog cross-posts everywhere unless told not to, and has no other way to be told.
    usual = () if is_micro_blog(site.micropub) else None
    return replace(
        telling,
        tags=decision.tags,
        # To name no target is the same as to say nothing: some servers refuse a blank one.
        targets=decision.targets or usual,
        status="draft" if decision.then is Then.DRAFT else "published",
        visibility=VISIBILITY.get(decision.then, "public"),
    )


def line(after: Post) -> str:
    """Return the outcome of an attempt as a line of the timeline."""
    match after.state:
        case State.PUBLISHED:
            return after.trouble or "The site published the post."
        case State.QUEUED:
            return f"Not sent: {after.trouble}"
        case State.REFUSED:
            return f"Refused: {after.trouble}"
        case _:
            return f"Unsure: {after.trouble}"


def site_after(site: SiteRow, outcome: Outcome, now: datetime, waits: Waits) -> dict[str, Any]:
    """Return what an outcome says about the site as a whole."""
    after = outcome.post
    moved = {"micropub": outcome.endpoint} if outcome.endpoint else {}
    match outcome.trouble:
        case None:
            well = {"trouble": None, "resume_at": None, "failures": 0, "paused": None}
            return well | ({"next_send_at": now + waits.between_posts} if site.paused else {})
        case SiteLocked():
            return {"trouble": after.trouble, "locked": after.trouble}
        case SiteBusy():
            # The others would fare the same; they wait together.
            return {"trouble": after.trouble, "resume_at": after.due_at}
        case SiteMoved() if after.state is State.QUEUED:
            return {"trouble": after.trouble, **moved}
        case _:
            # It is the post's trouble; the site's own is only that it happens in a row.
            return after_failure(site.failures + 1, now, waits)


def after_failure(failures: int, now: datetime, waits: Waits) -> dict[str, Any]:
    """Return what follows when so many posts have failed in a row.

    From the fifth on the site is paused; then one post at a time is tried after a longer and
    longer wait, so that it goes on by itself once the site is well.
    """
    if failures < MOST_FAILURES:
        return {"failures": failures}
    doubled: int = 2 ** min(failures - MOST_FAILURES, 10)
    wait = min(waits.pause * doubled, waits.longest_pause)
    return {"failures": failures, "paused": PAUSED, "next_send_at": now + wait}


def exchange(attempt: Sending, answer: httpx2.Response | None, tokens: list[str]) -> Exchange:
    """Return the request and its answer for the person to read; no token is in it."""
    shown: Exchange = {"method": "POST", "url": attempt.endpoint, "body": attempt.body}
    if answer is not None:
        shown["status"] = answer.status_code
        shown["headers"] = {
            name: redacted(answer.headers[name], tokens)
            for name in HEADERS
            if name in answer.headers
        }
        text = answer.content.decode("utf-8", "replace").replace("\0", "")
        shown["text"] = redacted(text, tokens)[:SHOWN]
    return shown


def redacted(text: str, tokens: list[str]) -> str:
    """Return ``text`` without the tokens: a site may echo what it was sent, in any writing."""
    for token in tokens:
        for written in (token, quote(token, safe=""), token.replace("/", "\\/")):
            text = text.replace(written, "[our key]")
    return text
