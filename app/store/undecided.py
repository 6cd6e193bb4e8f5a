"""Posts of which nobody can tell whether they arrived: each is told of once, in a digest."""

from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.notices import Kind
from app.outbox import State, Unsure, Why
from app.store import notices
from app.tables import NoticeRow, PostRow, SiteRow


async def tell(session: AsyncSession, now: datetime, older_than: timedelta) -> None:
    """Open a notice for each person who has such posts, older than that and not told of yet."""
    untold = select(col(PostRow.account_id)).where(
        col(PostRow.state) == State.UNSURE,
        col(PostRow.sent_at) <= now - older_than,
        col(PostRow.why).is_(None),
    )
    fresh = await session.scalars(
        select(col(SiteRow.account_id))
        .where(col(SiteRow.account_id).in_(untold), col(SiteRow.unsure_choice) != Unsure.LEAVE)
        .order_by(col(SiteRow.account_id))
        .with_for_update(skip_locked=True)
    )
    for account_id in fresh.all():
        notice = await notices.open_one(
            session, account_id, Kind.UNSURE, said(await count(session, account_id)), now
        )
        if notice is None:
            continue
        # A digest that is open already is told once more: it has grown.
        notice.tell_at, notice.tries = now, 0
        await session.execute(
            update(PostRow)
            .where(
                col(PostRow.account_id) == account_id,
                col(PostRow.state) == State.UNSURE,
                col(PostRow.sent_at) <= now - older_than,
            )
            .values(why=Why.TOLD)
        )


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
    """Return of how many posts of an account nobody knows whether they arrived."""
    rows = select(func.count(col(PostRow.id))).where(
        col(PostRow.account_id) == account_id, col(PostRow.state) == State.UNSURE
    )
    return await session.scalar(rows) or 0


def said(number: int) -> str:
    """Return the digest in a sentence."""
    posts_are = "One post was sent" if number == 1 else f"{number} posts were sent"
    return (
        f"{posts_are} to your site and no clear answer came back; looking there did not settle it. "
        "Look on your site and say what you find."
    )
