"""After the clock was set back, what the wrong clock put off is not waited for."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.outbox import State
from app.tables import ConnectionRow, HeartbeatRow, NoticeRow, PostRow, SiteRow

# Clocks of two machines may differ a little.
SLACK = timedelta(minutes=1)
# The lease on a refresh token is judged where it is read, see `app.grants`.
OF_CONNECTION = ("next_poll_at", "polling_until", "archive_due_at", "diff_due_at", "resume_at")
OF_POST = ("due_at", "sent_at")
OF_SITE = ("next_send_at", "look_due_at", "looking_until", "resume_at")


async def mend(session: AsyncSession, now: datetime) -> timedelta | None:
    """Bring forward what is to be done later, by as much as the clock was set back.

    Return by how much; None where the last heartbeat is not in the future. Whoever works at this
    moment loses their lease, as they would by its end.
    """
    last = await session.scalar(select(col(HeartbeatRow.at)))
    ahead = last - now if last else timedelta()
    if ahead <= SLACK:
        return None
    connections = select(ConnectionRow).order_by(col(ConnectionRow.id))
    for connection in (await session.scalars(connections.with_for_update())).all():
        bring_forward(connection, OF_CONNECTION, now, ahead)
    sites = select(SiteRow).order_by(col(SiteRow.account_id))
    for site in (await session.scalars(sites.with_for_update())).all():
        bring_forward(site, OF_SITE, now, ahead)
    # A held post waits for the date of its watch, which no clock of ours has told.
    open_ones = col(PostRow.state).in_([State.QUEUED, State.SENDING, State.UNSURE])
    is_later = (col(PostRow.due_at) > now) | (col(PostRow.sent_at) > now)
    for post in (await session.scalars(select(PostRow).where(open_ones, is_later))).all():
        bring_forward(post, OF_POST, now, ahead)
    untold = select(NoticeRow).where(col(NoticeRow.tell_at) > now).order_by(col(NoticeRow.id))
    for notice in (await session.scalars(untold.with_for_update())).all():
        bring_forward(notice, ["tell_at"], now, ahead)
    return ahead


def bring_forward(row: object, names: Iterable[str], now: datetime, ahead: timedelta) -> None:
    """Let what lies after ``now`` come by ``ahead`` sooner, but not before now."""
    for name in names:
        when = getattr(row, name)
        if when is not None and when > now:
            setattr(row, name, max(now, when - ahead))
