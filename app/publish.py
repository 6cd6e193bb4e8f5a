"""Put a post on the site: claim it, send it, judge the answer, write down what became of it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Database
from app.errors import (
    GrantBusy,
    GrantLost,
    SignInError,
    SiteBusy,
    SiteError,
    SiteLocked,
    SiteMoved,
    SiteRefused,
)
from app.grants import Pair, expiry
from app.hentry import Telling, hentry, slug, zone
from app.indieweb import indieauth, micropub
from app.indieweb.discovery import discover
from app.outbox import SEARCH_DEADLINE, Post, State, failed, published
from app.refresh import Refresher
from app.store import posts, watches
from app.store.posts import Due
from app.tables import SiteRow

log = structlog.get_logger()

Exchange = dict[str, Any]

# Of an answer's text, so much is kept for the person to look at.
SHOWN = 4096
HEADERS = ("Location", "Content-Type", "Retry-After")
# With these a token endpoint says that a refresh token is worth nothing.
DEAD = {"invalid_grant", "invalid_token", "invalid_client", "unauthorized"}


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

    ``token`` is the last one that was sent, None when none was.
    """

    post: Post
    changes: dict[str, Any]
    shown: Exchange | None = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Publisher:
    """Sends the posts of all accounts of one database."""

    database: Database
    http: httpx2.AsyncClient
    refresher: Refresher
    now: Callable[[], datetime]
    client_id: str

    async def claim(self) -> Sending | None:
        """Return the next attempt, already noted as begun; None when nothing is due."""
        now = self.now()
        async with self.database.reading() as session:
            if not await posts.is_work(session, now):
                return None
        async with self.database.writing() as session:
            await posts.move_on(session, now)
            while due := await posts.due(session, now):
                if attempt := await self.begin(session, due, now):
                    return attempt
        return None

    async def begin(self, session: AsyncSession, due: Due, now: datetime) -> Sending | None:
        """Return the attempt to send a post; None, and the post refused, if it cannot be told."""
        try:
            body, told = await self.told(session, due)
        except ValueError as error:
            # One watch that cannot be told must not keep all the others waiting.
            after = failed(posts.value(due.row), SiteRefused(f"It cannot be told: {error}."), now)
            posts.write(due.row, after)
            await posts.tell(session, due.row.id or 0, line(after), now, None)
            return None
        return sending(due, await posts.begin(session, due.row, now, body, told), body)

    async def told(self, session: AsyncSession, due: Due) -> tuple[str, str]:
        """Return the body and the slug of a post: as stored, or rendered for the first time."""
        if due.row.body is not None and due.row.slug is not None:
            return due.row.body, due.row.slug
        watch = watches.watch_of(due.watch)
        if watch is None:
            raise ValueError("its watch could not be read")
        again = await watches.is_again(session, due.watch)
        entry = hentry(watch, telling(due, again=again))
        return json.dumps(entry, ensure_ascii=False), slug(watch)

    async def deliver(self, attempt: Sending) -> None:
        """Send one post and write down what became of it."""
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
        after = replace(after, trouble=after.trouble and redacted(after.trouble, tokens))
        shown = exchange(attempt, answer, tokens) if tokens else None
        changes = site_after(after, trouble) | ({"micropub": endpoint} if endpoint else {})
        await self.settle(attempt, Outcome(after, changes, shown, tokens[-1] if tokens else None))

    async def send(self, attempt: Sending, tokens: list[str]) -> httpx2.Response:
        """Send the post, a second time where a renewed token may help; note the tokens used.

        A 401 says that nothing was written. Raises a leaf of `SiteError`.
        """
        tokens.append(await self.token(attempt, None))
        answer = await micropub.create(self.http, attempt.endpoint, tokens[-1], attempt.body)
        if answer.status_code != 401:
            return answer
        try:
            tokens.append(await self.token(attempt, tokens[-1]))
        except SiteLocked:
            return answer
        return await micropub.create(self.http, attempt.endpoint, tokens[-1], attempt.body)

    async def after(self, attempt: Sending, error: SiteError) -> tuple[Post, str | None]:
        """Return what becomes of a failed attempt, and the endpoint if it has moved."""
        endpoint = None
        if isinstance(error, SiteMoved) and not attempt.post.rediscovered:
            endpoint = await self.moved_to(attempt)
            if endpoint is None:
                known = replace(attempt.post, rediscovered=True)
                return failed(known, error, self.now()), None
        return failed(attempt.post, error, self.now()), endpoint

    async def moved_to(self, attempt: Sending) -> str | None:
        """Return where the site says its Micropub endpoint is now, None if that is not news."""
        try:
            async with asyncio.timeout(SEARCH_DEADLINE.total_seconds()):
                found = await discover(self.http, attempt.me)
        except (SignInError, TimeoutError):
            return None
        return found.micropub if found.micropub != attempt.endpoint else None

    async def settle(self, attempt: Sending, outcome: Outcome) -> None:
        """Save the outcome of an attempt, unless the row has gone on without us."""
        now, after = self.now(), outcome.post
        async with self.database.writing() as session:
            if not await posts.settle(session, attempt.post_id, attempt.post, after, now):
                log.warning("outcome came too late", post=attempt.post_id, state=after.state)
                return
            await posts.tell(session, attempt.post_id, line(after), now, outcome.shown)
            await posts.note_site(
                session, attempt.site, outcome.changes, outcome.token, self.refresher.vault
            )
        log.info("sent", post=attempt.post_id, state=after.state, attempt=after.attempts)

    async def token(self, attempt: Sending, refused: str | None) -> str:
        """Return an access token for the site. Raises `SiteBusy` or `SiteLocked`."""

        async def ask(refresh_token: str) -> Pair:
            return await renewed(self.http, attempt.site, refresh_token, self.client_id, self.now())

        try:
            return await self.refresher.access_token(SiteRow, attempt.account_id, ask, refused)
        except GrantLost as error:
            raise SiteLocked(f"{error}; sign in again to give the bridge a new key.") from error
        except GrantBusy as error:
            trouble = f"The key for the site could not be renewed: {error}."
            raise SiteBusy(trouble, error.retry_after) from error


async def renewed(
    http: httpx2.AsyncClient, site: SiteRow, refresh_token: str, client_id: str, now: datetime
) -> Pair:
    """Ask a site for a new pair (IndieAuth §5.5), in the words that `Refresher` understands."""
    try:
        token = await indieauth.refresh(
            http,
            site.token_endpoint,
            client_id=client_id,
            refresh_token=refresh_token,
            scope=site.scope,
        )
    except SignInError as error:
        # A refusal settles it; anything else may pass.
        if error.code in DEAD:
            raise GrantLost("The site no longer accepts our key") from error
        raise GrantBusy(str(error)) from error
    return Pair(
        access=token.access_token,
        # A server that names no new refresh token lets us keep the old one (RFC 6749 §6).
        refresh=token.refresh_token or refresh_token,
        issued_at=now,
        expires_at=expiry(token.expires_in, now),
    )


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


def telling(due: Due, *, again: bool) -> Telling:
    """Return how the posts of this account are told."""
    host = urlsplit(due.site.micropub).hostname or ""
    return Telling(
        zone=zone(due.account.timezone) or UTC,
        again=again,
        # It cross-posts everywhere unless told not to, and has no other way to be told.
        silent=host == "micro.blog" or host.endswith(".micro.blog"),
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


def site_after(after: Post, error: SiteError | None) -> dict[str, Any]:
    """Return what an outcome says about the site as a whole."""
    match error:
        case None:
            return {"trouble": None, "resume_at": None}
        case SiteLocked():
            return {"trouble": after.trouble, "locked": after.trouble}
        case SiteBusy():
            # The others would fare the same; they wait together.
            return {"trouble": after.trouble, "resume_at": after.due_at}
        case _:
            return {"trouble": after.trouble}


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
