"""Posts: whose turn it is to be sent, and what became of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, case, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.lookup import is_second
from app.notices import Kind
from app.outbox import Post, State, Unsure, abandoned, begun, next_look, released
from app.store import kept, notices
from app.tables import AccountRow, EventRow, PostRow, SiteRow, WatchRow
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


# Made once: to make an alias takes longer than all the rest of a statement.
OTHER = aliased(PostRow)


def waiting(now: datetime, most: int) -> Select[int]:
    """Return up to ``most`` sites that may be sent a post, those first that waited longest."""
    return (
        select(col(SiteRow.account_id))
        .where(
            # Found by the posts that are due: of all sites there are many.
            col(SiteRow.account_id).in_(
                select(col(PostRow.account_id)).where(*queued(PostRow, now))
            ),
            *open_to_posts(now),
            ~is_sent_to(),
            exists().where(*sendable(PostRow, now)),
        )
        .order_by(col(SiteRow.next_send_at).nulls_first(), col(SiteRow.account_id))
        .limit(most)
    )


async def due(
    session: AsyncSession, now: datetime, most: int, only: Collection[int] | None = None
) -> list[Due]:
    """Return the posts to send next: the oldest watch of each site that nothing is being sent to.

    Of up to ``most`` sites, of these accounts if ``only`` names them. The sites' rows are locked
    first and the posts looked up again after that: on PostgreSQL the first statement may have seen
    the rows as they were before another worker's commit.
    """
    open_ones = waiting(now, most).with_for_update(of=SiteRow, skip_locked=True)
    if only is not None:
        open_ones = open_ones.where(col(SiteRow.account_id).in_(only))
    sites = await session.scalars(open_ones)
    if not (account_ids := sites.all()):
        return []
    first = (
        select(col(OTHER.id))
        .where(*sendable(OTHER, now))
        .order_by(col(OTHER.watched_at).nulls_first(), col(OTHER.id))
        .limit(1)
        .correlate(SiteRow)
        .scalar_subquery()
    )
    found = await session.execute(
        select(PostRow, WatchRow, SiteRow, AccountRow)
        .join(WatchRow, col(WatchRow.post_id) == col(PostRow.id))
        .join(SiteRow, col(SiteRow.account_id) == col(PostRow.account_id))
        .join(AccountRow, col(AccountRow.id) == col(PostRow.account_id))
        .where(
            col(SiteRow.account_id).in_(account_ids),
            *open_to_posts(now),
            ~is_sent_to(),
            col(PostRow.id) == first,
        )
        .order_by(col(PostRow.watched_at).nulls_first(), col(PostRow.id))
        .execution_options(populate_existing=True)
    )
    # A post tells of one watch; were there two, it would be sent for the first.
    by_post = {row[0].id: Due(row[0], row[1], row[2], row[3]) for row in reversed(found.all())}
    return list(reversed(by_post.values()))


def open_to_posts(now: datetime) -> list[ColumnElement[bool]]:
    """Return what makes a site one that may be sent something."""
    return [
        col(SiteRow.locked).is_(None),
        col(SiteRow.resume_at).is_(None) | (col(SiteRow.resume_at) <= now),
        col(SiteRow.next_send_at).is_(None) | (col(SiteRow.next_send_at) <= now),
    ]


def is_sent_to() -> ColumnElement[bool]:
    """Return whether a post of a site is being sent."""
    return exists().where(
        col(OTHER.account_id) == col(SiteRow.account_id), col(OTHER.state) == State.SENDING
    )


def sendable(post: type[PostRow], now: datetime) -> list[ColumnElement[bool]]:
    """Return what makes a post one that its site may be sent next."""
    return [
        *queued(post, now),
        col(post.account_id) == col(SiteRow.account_id),
        # Behind a gate only what is surely not on the site yet may leave, see `store.kept`.
        col(SiteRow.gate_at).is_(None) | (col(post.watched_at) > col(SiteRow.gate_reached)),
    ]


def queued(post: type[PostRow], now: datetime) -> list[ColumnElement[bool]]:
    """Return what makes a post one that waits for nothing but its site."""
    return [col(post.state) == State.QUEUED, col(post.due_at) <= now]


def begin(due: Due, now: datetime, body: str, slug: str, waits: Waits) -> Post:
    """Note, before the request leaves, that a post is being sent; return it as noted."""
    row = due.row
    if row.body is None:
        row.body, row.slug = body, slug
    post = begun(value(row), now, waits)
    write(row, post)
    due.site.next_send_at = now + waits.between_posts
    return post


async def hold_sites(session: AsyncSession, account_ids: Collection[int]) -> dict[int, SiteRow]:
    """Return the sites of these accounts, locked: their posts and watches may now be changed.

    See `app.store` for the order in which rows are locked.
    """
    rows = await session.scalars(
        select(SiteRow)
        .where(col(SiteRow.account_id).in_(account_ids))
        .order_by(col(SiteRow.account_id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.account_id: row for row in rows}


async def settle(
    session: AsyncSession, done: Sequence[tuple[int, Post, Post]], now: datetime, waits: Waits
) -> list[bool]:
    """Save what became of attempts: of a post's id, as it was sent, and as it is after that.

    Return for each whether the row was still this attempt's. The sites are locked before, see
    `hold_sites`.
    """
    found = await session.scalars(
        select(PostRow)
        .where(col(PostRow.id).in_([key for key, _, _ in done]))
        .execution_options(populate_existing=True)
    )
    rows = {row.id: row for row in found}
    settled = []
    for key, sent, after in done:
        row = rows.get(key)
        # Given up by its lease, and yet here is the answer: the truth, if late.
        is_ours = (
            row is not None
            and row.state in {State.SENDING, State.UNSURE}
            and row.attempts == sent.attempts
            # SQLite gives the id of a deleted account's post to somebody else's.
            and row.sent_at == sent.sent_at
        )
        settled.append(is_ours)
        if row is not None and is_ours:
            write(row, after)
            if after.state is State.PUBLISHED:
                row.published_at = now
            await look_later(session, row, waits)
    return settled


async def park(
    session: AsyncSession, key: int, account_id: int, sent: Post, now: datetime, waits: Waits
) -> None:
    """Give up an attempt that was cut short: nobody knows whether it arrived."""
    await hold_sites(session, [account_id])
    after = abandoned(sent, now)
    (is_ours,) = await settle(session, [(key, sent, after)], now, waits)
    if is_ours:
        await tell(session, key, after.trouble or "", now, None)


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


async def tell_of_sites(session: AsyncSession, sites: Sequence[SiteRow], now: datetime) -> None:
    """Tell people, once, that their site needs them or is paused, and that it is over."""
    ids = [site.account_id for site in sites]
    told = await notices.accounts_with(session, ids, (Kind.SITE, Kind.PAUSED))
    for site in sites:
        if site.locked or site.paused or site.account_id in told:
            await tell_of_site(session, site, now)


async def tell_of_site(session: AsyncSession, site: SiteRow, now: datetime) -> None:
    """Tell the person of one site."""
    for kind, said in ((Kind.SITE, site.locked), (Kind.PAUSED, site.paused)):
        if said:
            await notices.open_one(session, site.account_id, kind, said, now)
        else:
            await notices.close(session, site.account_id, kind, now)


async def tell(
    session: AsyncSession, post_id: int, said: str, at: datetime, exchange: dict[str, Any] | None
) -> None:
    """Add a line to the timeline of the watch that a post tells of."""
    await tell_all(session, [(post_id, said, exchange)], at)


async def tell_all(
    session: AsyncSession, lines: Sequence[tuple[int, str, dict[str, Any] | None]], at: datetime
) -> None:
    """Add lines to the timelines of the watches that posts tell of."""
    found = await session.execute(
        select(col(WatchRow.post_id), col(WatchRow.id)).where(
            col(WatchRow.post_id).in_([post_id for post_id, _, _ in lines])
        )
    )
    told: dict[int | None, list[int]] = {}
    for post_id, watch_id in found:
        told.setdefault(post_id, []).append(watch_id or 0)
    events = [
        {"watch_id": watch_id, "said": said, "at": at, "exchange": exchange}
        for post_id, said, exchange in lines
        for watch_id in told.get(post_id, [])
    ]
    if events:
        # Nobody asks for their ids, for which SQLite would be told one after the other.
        await session.execute(insert(EventRow), events)


async def hasten(session: AsyncSession, account_id: int, now: datetime) -> None:
    """Let what waits for another try be sent at once; its site is locked."""
    await session.execute(
        update(PostRow)
        .where(
            col(PostRow.account_id) == account_id,
            col(PostRow.state) == State.QUEUED,
            col(PostRow.due_at) > now,
        )
        .values(due_at=now)
        .execution_options(synchronize_session="fetch")
    )


async def move_on(session: AsyncSession, now: datetime, waits: Waits) -> None:
    """Release the held posts whose time has come; give up those whose worker has died.

    What belongs to a site that somebody holds is left for the next time.
    """
    over = [col(PostRow.state).in_([State.HELD, State.SENDING]), col(PostRow.due_at) <= now]
    found = await session.scalars(
        select(SiteRow)
        .where(col(SiteRow.account_id).in_(select(col(PostRow.account_id)).where(*over)))
        .order_by(col(SiteRow.account_id))
        .with_for_update(skip_locked=True)
    )
    if not (sites := {site.account_id: site for site in found}):
        return
    rows = await session.scalars(select(PostRow).where(col(PostRow.account_id).in_(sites), *over))
    for row in rows.all():
        post = value(row)
        if post.state is State.HELD:
            kept.stay(sites[row.account_id], row)
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
