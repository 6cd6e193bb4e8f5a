"""Posts of which nobody can tell whether they arrived: each is told of once, in a digest."""

from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.notices import Kind
from app.outbox import State, Unsure, Why
from app.store import notices
from app.tables import NoticeRow, PostRow, SiteRow
from app.waits import Waits


async def tell(session: AsyncSession, now: datetime, waits: Waits) -> None:
    """Open a notice for each person who has such posts that were not told of yet."""
    posts = select(PostRow).join(SiteRow, col(SiteRow.account_id) == col(PostRow.account_id))
    fresh = posts.where(*untold(now, waits)).with_only_columns(col(PostRow.account_id))
    sites = await session.scalars(
        select(col(SiteRow.account_id))
        .where(col(SiteRow.account_id).in_(fresh))
        .order_by(col(SiteRow.account_id))
        .with_for_update(skip_locked=True)
    )
    for account_id in sites.all():
        of_one = posts.where(col(PostRow.account_id) == account_id, *untold(now, waits))
        for post in await session.scalars(of_one):
            post.why = Why.TOLD
        number = await count(session, account_id)
        notice = await notices.open_one(session, account_id, Kind.UNSURE, said(number), now)
        if notice:
            # A digest that is open already is told once more: it has grown.
            notice.tell_at, notice.tries = now, 0


def untold(now: datetime, waits: Waits) -> list[ColumnElement[bool]]:
    """Return what makes a post of a site one to tell of: a day old, and no look will settle it.

    By the clock alone a person would be asked after each night without power, although the next
    look may tell. Of a site that cannot be read, looks end as well.
    """
    is_sent_again_later = (col(SiteRow.unsure_choice) == Unsure.AGAIN) & ~col(PostRow.is_resent)
    return [
        col(PostRow.state) == State.UNSURE,
        col(PostRow.why).is_(None),
        col(PostRow.sent_at) <= now - waits.unsure_told_after,
        col(SiteRow.unsure_choice) != Unsure.LEAVE,
        ~is_sent_again_later,
        col(PostRow.looks) >= len(waits.looks),
    ]


async def end(session: AsyncSession, now: datetime) -> None:
    """Close the notices of those who have no such post any more."""
    rows = await session.scalars(
        select(NoticeRow)
        .where(col(NoticeRow.kind) == Kind.UNSURE, col(NoticeRow.closed_at).is_(None))
        .with_for_update(skip_locked=True)
    )
    for row in rows.all():
        if not await count(session, row.account_id):
            row.closed_at, row.tell_at = now, None


async def count(session: AsyncSession, account_id: int) -> int:
    """Return of how many posts of an account only the person can tell whether they arrived."""
    rows = select(func.count(col(PostRow.id))).where(
        col(PostRow.account_id) == account_id,
        col(PostRow.state) == State.UNSURE,
        col(PostRow.why) == Why.TOLD,
    )
    return await session.scalar(rows) or 0


def said(number: int) -> str:
    """Return the digest in a sentence."""
    posts_are = "One post was sent" if number == 1 else f"{number} posts were sent"
    return (
        f"{posts_are} to your site and no clear answer came back; looking there did not settle it. "
        "Look on your site and say what you find."
    )
