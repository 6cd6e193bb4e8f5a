"""Posts: whose turn it is to be sent, and what became of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.lookup import is_second
from app.notices import Kind
from app.outbox import Post, State, Unsure, abandoned, begun, next_look, released
from app.store import grants, notices
from app.tables import AccountRow, EventRow, PostRow, SiteRow, WatchRow
from app.vault import Vault
from app.waits import Waits


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
        col(SiteRow.next_send_at).is_(None) | (col(SiteRow.next_send_at) <= now),
        # Behind a gate only what is surely not on the site yet may leave, see `store.gates`.
        col(SiteRow.gate_at).is_(None) | (col(PostRow.watched_at) > col(SiteRow.gate_reached)),
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


async def begin(
    session: AsyncSession, due: Due, now: datetime, body: str, slug: str, waits: Waits
) -> Post:
    """Note, before the request leaves, that a post is being sent; return it as noted."""
    row = due.row
    if row.body is None:
        row.body, row.slug = body, slug
    post = begun(value(row), now, waits)
    write(row, post)
    due.site.next_send_at = now + waits.between_posts
    await session.flush()
    return post


async def settle(
    session: AsyncSession, post_id: int, sent: Post, after: Post, now: datetime, waits: Waits
) -> bool:
    """Save what became of an attempt; return False when the row is no longer this attempt's.

    The site's row is locked first, as everywhere: two that lock in turn never wait for each other.
    """
    await session.scalar(
        select(col(SiteRow.account_id))
        .join(PostRow, col(PostRow.account_id) == col(SiteRow.account_id))
        .where(col(PostRow.id) == post_id)
        .with_for_update(of=SiteRow)
    )
    row = await session.scalar(
        select(PostRow)
        .where(
            col(PostRow.id) == post_id,
            # Given up by its lease, and yet here is the answer: the truth, if late.
            col(PostRow.state).in_([State.SENDING, State.UNSURE]),
            col(PostRow.attempts) == sent.attempts,
            # SQLite gives the id of a deleted account's post to somebody else's.
            col(PostRow.sent_at) == sent.sent_at,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        return False
    write(row, after)
    if after.state is State.PUBLISHED:
        row.published_at = now
    await look_later(session, row, waits)
    return True


async def look_later(session: AsyncSession, row: PostRow, waits: Waits) -> None:
    """Let the site be looked at when that can tell more about a post."""
    post = value(row)
    site = await session.get(SiteRow, row.account_id)
    when = next_look(post, choice(site), waits) if site else None
    is_first = site is not None and site.shows is None and site.looked_at is not None
    if post.state is State.PUBLISHED and is_first:
        # So far the site was empty; now it can show whether it lists its posts.
        when = post.due_at + waits.looks[0]
    if post.second_url is None and post.url and row.slug and is_second(post.url, row.slug):
        # An earlier attempt had arrived: the first one is to be found.
        when = (post.sent_at or post.due_at) + waits.looks[0]
    if when:
        await look_by(session, row.account_id, when)


async def look_by(session: AsyncSession, account_id: int, when: datetime) -> None:
    """Let a site be looked at no later than ``when``."""
    due = col(SiteRow.look_due_at)
    sooner = case((due.is_(None) | (due > when), when), else_=due)
    await session.execute(
        update(SiteRow)
        .where(col(SiteRow.account_id) == account_id)
        .values(look_due_at=sooner)
        .execution_options(synchronize_session="fetch")
    )


def choice(site: SiteRow) -> tuple[Unsure, timedelta]:
    """Return what this person wants done with a post of which nobody can tell."""
    return Unsure(site.unsure_choice), timedelta(hours=site.unsure_hours)


async def has_sent(session: AsyncSession, account_id: int) -> bool:
    """Tell whether this database knows of a post that was ever sent to the site."""
    sent = select(col(PostRow.id)).where(
        col(PostRow.account_id) == account_id, col(PostRow.attempts) > 0
    )
    return await session.scalar(sent.limit(1)) is not None


async def note_site(
    session: AsyncSession,
    site: SiteRow,
    judge: Callable[[SiteRow], Mapping[str, Any]],
    access_token: str | None,
    vault: Vault,
    now: datetime,
) -> None:
    """Write how a site is doing, unless the person has signed in anew since the request left.

    ``judge`` returns what changes. ``site`` is the row as it was then, and ``access_token`` the
    one that was sent, if any: what is said of them says nothing about their successors.
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
    for name, value in judge(row).items():
        setattr(row, name, value)
    await tell_of_site(session, row, now)


async def tell_of_site(session: AsyncSession, site: SiteRow, now: datetime) -> None:
    """Tell the person, once, that a site needs them or is paused, and that it is over."""
    for kind, said in ((Kind.SITE, site.locked), (Kind.PAUSED, site.paused)):
        if said:
            await notices.open_one(session, site.account_id, kind, said, now)
        else:
            await notices.close(session, site.account_id, kind, now)


async def tell(
    session: AsyncSession, post_id: int, said: str, at: datetime, exchange: dict[str, Any] | None
) -> None:
    """Add a line to the timeline of the watch that a post tells of."""
    watches = await session.scalars(
        select(col(WatchRow.id)).where(col(WatchRow.post_id) == post_id)
    )
    for watch_id in watches:
        session.add(EventRow(watch_id=watch_id or 0, said=said, at=at, exchange=exchange))


async def move_on(session: AsyncSession, now: datetime, waits: Waits) -> None:
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
        await look_later(session, row, waits)


async def is_under_way(session: AsyncSession, site: SiteRow, now: datetime) -> bool:
    """Tell whether a post of this site is being sent, or will be at once."""
    waits = any((site.locked, site.paused, site.gate_at)) or (
        site.resume_at is not None and site.resume_at > now
    )
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
    sites = [
        select(func.min(column)).where(column > now)
        for column in (col(SiteRow.resume_at), col(SiteRow.next_send_at))
    ]
    times = [await session.scalar(query) for query in (posts, *sites)]
    return min((when for when in times if when), default=None)
