"""Where posting starts: on a new database, perhaps where an older one left off."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.notices import Kind
from app.outbox import Standing, planned
from app.store import connections, found, notices, posts, watches
from app.tables import WatchRow


async def answer(session: AsyncSession, account_id: int, now: datetime, *, since: bool) -> int:
    """Start posting from the newest post that the site shows, or leave the start as it is.

    Return how many watches, archived until now, are to be posted. What the archive still brings
    follows the new start by itself.
    """
    rows = await connections.of_account(session, account_id, lock=True)
    await posts.hold_sites(session, [account_id])
    newest = await found.newest(session, account_id, now)
    await notices.close(session, account_id, Kind.START, now)
    if not since or newest is None:
        return 0
    start = newest.replace(second=0, microsecond=0)
    for row in rows:
        row.start_at = min(row.start_at, start)
    return await post_archived(session, account_id, start, now)


async def post_archived(
    session: AsyncSession, account_id: int, start: datetime, now: datetime
) -> int:
    """Queue the watches since ``start`` that have no post; return how many."""
    rows = await session.scalars(
        select(WatchRow).where(
            col(WatchRow.account_id) == account_id,
            col(WatchRow.standing) == Standing.ARCHIVED,
            col(WatchRow.post_id).is_(None),
            col(WatchRow.removed_at).is_(None),
            col(WatchRow.watched_at) >= start,
        )
    )
    count = 0
    for watch in rows.all():
        watch.standing, post = planned(watch.watched_at, start, now)
        if post:
            made = watches.post_row(watch, post)
            session.add(made)
            await session.flush()
            watch.post_id = made.id
            count += 1
    return count
