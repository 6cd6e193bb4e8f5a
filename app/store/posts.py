"""Posts: whose turn it is to be sent, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.outbox import Post, State, abandoned, begun, released
from app.store import grants
from app.tables import AccountRow, EventRow, PostRow, SiteRow, WatchRow
from app.vault import Vault


@dataclass(frozen=True, slots=True)
class Due:
    """A post whose turn it is, with all that is needed to send it."""

    row: PostRow
    watch: WatchRow
    site: SiteRow
    account: AccountRow


def value(row: PostRow) -> Post:
    """Return the post in a row."""
    return Post(
        state=State(row.state), **{name: getattr(row, name) for name in FIELDS if name != "state"}
    )


def write(row: PostRow, post: Post) -> None:
    """Write ``post`` into its row."""
    for name in FIELDS:
        setattr(row, name, getattr(post, name))


FIELDS = [field.name for field in fields(Post)]


async def due(session: AsyncSession, now: datetime) -> Due | None:
    """Return the post to send next: the oldest watch of a site that nothing is being sent to.

    The site's row is locked first and the post looked up again after that: on PostgreSQL the
    first statement may have seen the rows as they were before another worker's commit.
    """
    account_id = await session.scalar(
        select(col(SiteRow.account_id))
        .join(PostRow, col(PostRow.account_id) == col(SiteRow.account_id))
        .where(*sendable(now))
        .order_by(col(PostRow.watched_at).nulls_first(), col(PostRow.id))
        .limit(1)
        .with_for_update(of=SiteRow, skip_locked=True)
    )
    found = await session.execute(
        select(PostRow, WatchRow, SiteRow, AccountRow)
        .join(WatchRow, col(WatchRow.post_id) == col(PostRow.id))
        .join(SiteRow, col(SiteRow.account_id) == col(PostRow.account_id))
        .join(AccountRow, col(AccountRow.id) == col(PostRow.account_id))
        .where(col(PostRow.account_id) == account_id, *sendable(now))
        .order_by(col(PostRow.watched_at).nulls_first(), col(PostRow.id))
        .limit(1)
        .with_for_update(of=PostRow)
        .execution_options(populate_existing=True)
    )
    row = found.one_or_none()
    return Due(row[0], row[1], row[2], row[3]) if row else None


def sendable(now: datetime) -> list[ColumnElement[bool]]:
    """Return what makes a post of a site ready to be sent."""
    other = aliased(PostRow)
    return [
        col(PostRow.state) == State.QUEUED,
        col(PostRow.due_at) <= now,
        col(SiteRow.locked).is_(None),
        col(SiteRow.resume_at).is_(None) | (col(SiteRow.resume_at) <= now),
        ~exists().where(
            col(other.account_id) == col(SiteRow.account_id), col(other.state) == State.SENDING
        ),
    ]


async def is_work(session: AsyncSession, now: datetime) -> bool:
    """Tell, without a lock, whether a post wants anything now."""
    states = [State.HELD, State.SENDING, State.QUEUED]
    found = select(col(PostRow.id)).where(
        col(PostRow.state).in_(states), col(PostRow.due_at) <= now
    )
    return await session.scalar(found.limit(1)) is not None


async def begin(session: AsyncSession, row: PostRow, now: datetime, body: str, slug: str) -> Post:
    """Note, before the request leaves, that a post is being sent; return it as noted."""
    if row.body is None:
        row.body, row.slug = body, slug
    post = begun(value(row), now)
    write(row, post)
    await session.flush()
    return post


async def settle(
    session: AsyncSession, post_id: int, sent: Post, after: Post, now: datetime
) -> bool:
    """Save what became of an attempt; return False when the row is no longer this attempt's."""
    row = await session.scalar(
        select(PostRow)
        .where(
            col(PostRow.id) == post_id,
            # Given up by its lease, and yet here is the answer: the truth, if late.
            col(PostRow.state).in_([State.SENDING, State.UNSURE]),
            col(PostRow.attempts) == sent.attempts,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        return False
    write(row, after)
    if after.state is State.PUBLISHED:
        row.published_at = now
    return True


async def note_site(
    session: AsyncSession,
    site: SiteRow,
    changes: Mapping[str, Any],
    access_token: str | None,
    vault: Vault,
) -> None:
    """Write how a site is doing, unless the person has signed in anew since the request left.

    ``site`` is the row as it was then, and ``access_token`` the one that was sent, if any: what
    is said of them says nothing about their successors.
    """
    row = await session.scalar(
        select(SiteRow)
        .where(col(SiteRow.account_id) == site.account_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        return
    pair = grants.pair_of(row, vault)
    if access_token is None and row.sealed_tokens != site.sealed_tokens:
        return
    if access_token is not None and pair is not None and pair.access != access_token:
        return
    for name, value in changes.items():
        setattr(row, name, value)


async def tell(
    session: AsyncSession, post_id: int, said: str, at: datetime, exchange: dict[str, Any] | None
) -> None:
    """Add a line to the timeline of the watch that a post tells of."""
    watches = await session.scalars(
        select(col(WatchRow.id)).where(col(WatchRow.post_id) == post_id)
    )
    for watch_id in watches:
        session.add(EventRow(watch_id=watch_id or 0, said=said, at=at, exchange=exchange))


async def move_on(session: AsyncSession, now: datetime) -> None:
    """Release the held posts whose time has come; give up those whose worker has died."""
    rows = await session.scalars(
        select(PostRow)
        .where(col(PostRow.state).in_([State.HELD, State.SENDING]), col(PostRow.due_at) <= now)
        .with_for_update(skip_locked=True)
    )
    for row in rows.all():
        post = value(row)
        if post.state is State.HELD:
            write(row, released(post, now))
            continue
        after = abandoned(post, now)
        write(row, after)
        await tell(session, row.id or 0, after.trouble or "", now, None)


async def is_under_way(session: AsyncSession, site: SiteRow, now: datetime) -> bool:
    """Tell whether a post of this site is being sent, or will be at once."""
    waits = site.locked is not None or (site.resume_at is not None and site.resume_at > now)
    states = [State.SENDING] if waits else [State.SENDING, State.QUEUED]
    found = select(col(PostRow.id)).where(
        col(PostRow.account_id) == site.account_id,
        col(PostRow.state).in_(states),
        (col(PostRow.state) == State.SENDING) | (col(PostRow.due_at) <= now),
    )
    return await session.scalar(found.limit(1)) is not None


async def next_due(session: AsyncSession, now: datetime) -> datetime | None:
    """Return the next time after ``now`` at which a post or a site wants something."""
    posts = select(func.min(col(PostRow.due_at))).where(
        col(PostRow.due_at) > now,
        col(PostRow.state).in_([State.HELD, State.QUEUED, State.SENDING]),
    )
    sites = select(func.min(col(SiteRow.resume_at))).where(col(SiteRow.resume_at) > now)
    times = [await session.scalar(posts), await session.scalar(sites)]
    return min((when for when in times if when), default=None)
