"""Looks at sites: whose turn it is, how far one has come, and what it settles."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.lookup import Progress, predicted
from app.outbox import Evidence, State, next_look, not_found
from app.store import posts
from app.tables import AccountRow, FoundRow, PostRow, SiteRow
from app.waits import Waits


@dataclass(frozen=True, slots=True)
class Turn:
    """One claimed look; what it finds is saved only while the lease is still its own."""

    site: SiteRow
    me: str
    until: datetime


async def ask_for(session: AsyncSession, account_id: int, now: datetime, *, whole: bool) -> bool:
    """Let a site be looked at now, as a person wishes; return False when it cannot be.

    ``whole``: all that it holds is read.
    """
    site = await session.get(SiteRow, account_id, with_for_update=True)
    if site is None or site.locked is not None:
        return False
    site.look_due_at, site.look_failures = now, 0
    if whole:
        site.wants_all = True
        site.look_progress = None
    return True


async def claim(session: AsyncSession, now: datetime, until: datetime, most: int) -> list[Turn]:
    """Take up to ``most`` sites that are to be looked at, the longest overdue first."""
    found = await session.execute(
        select(SiteRow, col(AccountRow.me))
        .join(AccountRow, col(AccountRow.id) == col(SiteRow.account_id))
        .where(*due(now))
        .order_by(col(SiteRow.look_due_at))
        .limit(most)
        .with_for_update(of=SiteRow, skip_locked=True)
    )
    rows = found.all()
    for site, _ in rows:
        site.looking_until = until
    await session.flush()
    return [Turn(site, me, until) for site, me in rows]


def due(now: datetime | ColumnElement[datetime]) -> list[ColumnElement[bool]]:
    """Return what makes a site one to be looked at."""
    return [
        col(SiteRow.look_due_at) <= now,
        col(SiteRow.locked).is_(None),
        col(SiteRow.looking_until).is_(None) | (col(SiteRow.looking_until) <= now),
        col(SiteRow.resume_at).is_(None) | (col(SiteRow.resume_at) <= now),
    ]


async def hold(session: AsyncSession, turn: Turn) -> SiteRow | None:
    """Return the site of a look for saving, None when the turn is no longer ours."""
    return await session.scalar(
        select(SiteRow)
        .where(
            col(SiteRow.account_id) == turn.site.account_id,
            col(SiteRow.looking_until) == turn.until,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def park(session: AsyncSession, turn: Turn) -> None:
    """Give back a look that was cut short: it goes on at once, by whoever comes next."""
    if site := await hold(session, turn):
        site.looking_until = None


async def wanting(session: AsyncSession, account_id: int, waits: Waits) -> list[PostRow]:
    """Return the posts about which a look could tell more."""
    found = await session.scalars(
        select(PostRow)
        .where(
            col(PostRow.account_id) == account_id,
            (col(PostRow.state) == State.UNSURE)
            | (
                (col(PostRow.state) == State.PUBLISHED)
                & col(PostRow.url).is_(None)
                & col(PostRow.sent_at).is_not(None)
                & (col(PostRow.looks) < len(waits.looks))
            ),
        )
        .order_by(col(PostRow.id))
    )
    return list(found)


async def depth(session: AsyncSession, account_id: int, waits: Waits) -> datetime | None:
    """Return the date down to which a site must be read for what is asked; None: all of it."""
    rows = await wanting(session, account_id, waits)
    dates = [row.watched_at for row in rows]
    if not dates or None in dates:
        return None
    return min(date for date in dates if date) - timedelta(minutes=1)


def count_ours(rows: list[FoundRow]) -> int:
    """Return how many of the posts read are known as ours and kept their marker."""
    return sum(row.marker is not None and row.post_id is not None for row in rows)


async def settle_wanting(
    session: AsyncSession, site: SiteRow, evidence: Evidence, now: datetime, waits: Waits
) -> None:
    """Judge the posts that a look did not find, and say in their timelines what it proved."""
    choice = posts.choice(site)
    for row in await wanting(session, site.account_id, waits):
        # What was sent after the look began, it cannot have seen.
        if row.sent_at is None or row.sent_at > evidence.began_at:
            continue
        post = posts.value(row)
        after = not_found(post, row.watched_at, evidence, now, choice, waits)
        posts.write(row, after)
        if post.state is State.UNSURE:
            said = after.trouble if after.state is State.QUEUED else "It stays undecided."
            await posts.tell(session, row.id or 0, f"{evidence.said} {said}", now, None)


async def next_time(session: AsyncSession, site: SiteRow, waits: Waits) -> datetime | None:
    """Return when a site is to be looked at next, None when nothing is left to learn there."""
    rows = await wanting(session, site.account_id, waits)
    times = [next_look(posts.value(row), posts.choice(site), waits) for row in rows]
    return min((when for when in times if when), default=None)


def progressed(site: SiteRow, progress: Progress | None) -> None:
    """Write how far a look has come."""
    site.look_progress = progress.to_json() if progress else None


async def predicted_places(session: AsyncSession, account_id: int, most: int) -> list[str]:
    """Return where the site would have put the posts that nobody knows about, by its other URLs."""
    known = await session.execute(
        select(col(PostRow.url), col(PostRow.slug))
        .where(
            col(PostRow.account_id) == account_id,
            col(PostRow.state) == State.PUBLISHED,
            col(PostRow.url).is_not(None),
            col(PostRow.slug).is_not(None),
        )
        .order_by(col(PostRow.id).desc())
        .limit(most)
    )
    others = [(url or "", slug) for url, slug in known]
    lost = await session.scalars(
        select(col(PostRow.slug))
        .where(col(PostRow.account_id) == account_id, col(PostRow.state) == State.UNSURE)
        .order_by(col(PostRow.id).desc())
        .limit(most)
    )
    places = (predicted(slug, others) for slug in lost if slug)
    return [place for place in places if place]
