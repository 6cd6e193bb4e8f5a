"""Put a post on the site: claim it, send it, judge the answer, write down what became of it."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
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
from app.outbox import (
    REMOVED,
    Post,
    State,
    failed,
    is_away,
    jittered,
    published,
    removed,
    ruled_out,
)
from app.posters import Fetching, Pictures
from app.rules import Decision, Then, decision_to_json
from app.store import found, grants, posts, rules, watches
from app.store import posters as posters_of
from app.store.posts import Due
from app.store.told import completed, source_of
from app.style import Posters, from_json
from app.tables import SiteRow, WatchRow
from app.together import Together
from app.vault import Vault
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
AWAY = (
    "Your site has taken no post for a day. The bridge tries again now and then, and at once if "
    "you press “Go on”; if your site works, sign in again, which renews its key and addresses."
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


@dataclass(slots=True)
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
    saving: Together[tuple[Sending, Outcome], bool] = field(init=False)

    def __post_init__(self) -> None:
        self.saving = Together(self.waits.together, self.settle_all)

    async def waiting(self, most: int) -> Sequence[int]:
        """Return up to ``most`` accounts whose site may be sent a post now."""
        now = self.now()
        async with self.database.writing() as session:
            await posts.move_on(session, now, self.waits)
            return (await session.scalars(posts.waiting(now, most))).all()

    async def claim(
        self, most: int = 1, only: Collection[int] | None = None
    ) -> list[Sending | Fetching]:
        """Return up to ``most`` attempts or errands, each for another site and noted as begun.

        ``only``: for the sites of these accounts.
        """
        now = self.now()
        attempts: list[Sending | Fetching] = []
        if most <= 0:
            return attempts
        async with self.database.writing() as session:
            await posts.move_on(session, now, self.waits)
            # A post that turns out not to be sent makes room for the next one of its site.
            while len(attempts) < most and (
                due := await posts.due(session, now, most - len(attempts), only)
            ):
                attempts += await self.begin(session, due, now)
        return attempts

    async def begin(
        self, session: AsyncSession, due: Sequence[Due], now: datetime
    ) -> list[Sending | Fetching]:
        """Return the attempts to send posts, or to get their posters before that.

        There is none for a post that cannot be told, or need not be any more.
        """
        for one in due:
            if one.watch.removed_at is not None:
                posts.write(one.row, removed(posts.value(one.row), now))
                await posts.tell(session, one.row.id or 0, REMOVED, now, None)
        # What the site shows may have become known in the very moment in which the watch did.
        await found.recognise(session, [one.watch for one in due if is_wanted(one)], now)
        tellings = await self.told_how(session, list(filter(is_wanted, due)), now)
        attempts: list[Sending | Fetching] = []
        for one in filter(is_wanted, due):
            try:
                if errand := await self.picture_for(session, one, now):
                    attempts.append(errand)
                    continue
                text, its_slug = told_as(one, tellings)
            except ValueError as error:
                await give_up(session, one, error, now)
                continue
            if is_without_poster(tellings.get(one.watch.id or 0)):
                await self.tell_missing(session, one)
            begun = posts.begin(one, now, text, its_slug, self.waits)
            attempts.append(sending(one, begun, text))
        await session.flush()
        return attempts

    async def told_how(
        self, session: AsyncSession, wanted: Sequence[Due], now: datetime
    ) -> dict[int, Telling]:
        """Return, by the id of each watch that is told for the first time, how it is told.

        What the people's rules decide is noted in the rows; what they skip is not sent.
        """
        new = [one for one in wanted if not is_told(one)]
        ruled = [one.watch for one in new if one.account.rules is not None]
        again = await watches.earlier(session, ruled) if ruled else {}
        bare: list[tuple[WatchRow, Telling]] = []
        for one in new:
            try:
                decision = decision_over(one, again=one.watch.id in again)
                if decision.then is Then.SKIP:
                    await rule_out(session, one, decision, now)
                else:
                    bare.append((one.watch, telling(one, decision)))
            except ValueError as error:
                await give_up(session, one, error, now)
        complete = await completed(session, bare, self.base_url) if bare else []
        return {row.id or 0: told for (row, _), told in zip(bare, complete, strict=True)}

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

    async def park(self, attempt: Sending | Fetching, session: AsyncSession) -> None:
        """Give up what was cut short; a poster is got again when its lease has run out."""
        if isinstance(attempt, Sending):
            key, sent = attempt.post_id, attempt.post
            await posts.park(session, key, attempt.account_id, sent, self.now(), self.waits)

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
        now = self.now()
        after = failed(attempt.post, error, now, self.waits)
        if isinstance(error, SiteBusy):
            # Sites of one host that was away do not come back at one moment.
            after = replace(after, due_at=now + jittered(after.due_at - now))
        return after, endpoint

    async def moved_to(self, attempt: Sending) -> str | None:
        """Return where the site says its Micropub endpoint is now, None if that is not news."""
        try:
            async with asyncio.timeout(self.waits.search_deadline.total_seconds()):
                found = await discover(self.http, attempt.me)
        except (SignInError, TimeoutError):
            return None
        return found.micropub if found.micropub != attempt.endpoint else None

    async def settle(self, attempt: Sending, outcome: Outcome) -> None:
        """Save the outcome of an attempt, unless the row has gone on without us.

        Attempts that end in the same moment share a transaction.
        """
        state, is_saved = outcome.post.state, await self.saving.do((attempt, outcome))
        if not is_saved:
            log.warning("outcome came too late", post=attempt.post_id, state=state)
            return
        log.info("sent", post=attempt.post_id, state=state, attempt=outcome.post.attempts)

    async def settle_all(self, done: Sequence[tuple[Sending, Outcome]]) -> Sequence[bool]:
        """Save the outcomes of attempts; return for each whether its row was still the same."""
        now, vault = self.now(), self.keys.refresher.vault
        async with self.database.writing() as session:
            sites = await posts.hold_sites(session, [sent.account_id for sent, _ in done])
            outcomes = [(sent.post_id, sent.post, told.post) for sent, told in done]
            settled = await posts.settle(session, outcomes, now, self.waits)
            saved = [one for one, is_ours in zip(done, settled, strict=True) if is_ours]
            lines = [(sent.post_id, line(told.post), told.shown) for sent, told in saved]
            await posts.tell_all(session, lines, now)
            for sent, told in saved:
                site = sites.get(sent.account_id)
                if site and is_about(site, sent.site, told.token, vault):
                    for name, value in site_after(site, told, now, self.waits).items():
                        setattr(site, name, value)
            await posts.tell_of_sites(session, list(sites.values()), now)
        return settled


def is_wanted(due: Due) -> bool:
    """Tell whether a post that is due is still to be sent."""
    return due.row.state == State.QUEUED


def is_told(due: Due) -> bool:
    """Tell whether a post was told before: every attempt sends the same."""
    return due.row.body is not None and due.row.slug is not None


def is_without_poster(telling: Telling | None) -> bool:
    """Tell whether a post that is told for the first time lacks the poster it shall show."""
    return telling is not None and telling.style.posters is not Posters.OFF and not telling.poster


def told_as(due: Due, tellings: Mapping[int, Telling]) -> tuple[str, str]:
    """Return the body and the slug of a post: as stored, or rendered for the first time.

    Raises ValueError where it cannot be told.
    """
    if due.row.body is not None and due.row.slug is not None:
        return due.row.body, due.row.slug
    watch = watches.watch_of(due.watch)
    if watch is None:
        raise ValueError("its watch could not be read")
    return body(watch, tellings[due.watch.id or 0])


def decision_over(due: Due, *, again: bool) -> Decision:
    """Return what the person's rules decide over a post, noted in its row.

    Raises ValueError where it cannot be decided, or the site cannot do it.
    """
    decision = rules.decided(due.account, due.watch, again=again, post=due.row)
    if decision.then in rules.impossible(due.site):
        # It might be shown to everybody.
        raise ValueError(f"{decision.said}; your site is known not to do that")
    due.row.decision = decision_to_json(decision)
    return decision


async def rule_out(session: AsyncSession, due: Due, decision: Decision, now: datetime) -> None:
    """Do not send a post that the person's rules skip."""
    after = ruled_out(posts.value(due.row), decision.said, now)
    posts.write(due.row, after)
    await posts.tell(session, due.row.id or 0, f"Not posted. {after.trouble}.", now, None)


async def give_up(session: AsyncSession, due: Due, error: ValueError, now: datetime) -> None:
    """Refuse a post that cannot be told: it must not keep all the others waiting."""
    trouble = SiteRefused(f"It cannot be told: {str(error).rstrip('.')}.")
    after = failed(posts.value(due.row), trouble, now)
    posts.write(due.row, after)
    await posts.tell(session, due.row.id or 0, line(after), now, None)


def is_about(site: SiteRow, before: SiteRow, access_token: str | None, vault: Vault) -> bool:
    """Tell whether an outcome says something of a site as it is now.

    ``before`` is the row as it was when the request left, ``access_token`` the one that was sent,
    if any: when the person has signed in anew since, it says nothing about the new key.
    """
    if access_token is None:
        return site.sealed_tokens == before.sealed_tokens
    pair = grants.pair_of(site, vault)
    return pair is None or pair.access == access_token


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
            told = {"paused": f"{AWAY} {after.trouble}"} if is_away(after, waits) else {}
            return {"trouble": after.trouble, "resume_at": after.due_at, **told}
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
