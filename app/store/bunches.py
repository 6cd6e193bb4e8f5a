"""Bunches: many plays of one show that became known at once wait for one answer together."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.diff import Read
from app.notices import Kind
from app.outbox import Action, Post, State, Why, acted, planned
from app.store import notices, posts, rules, watches
from app.store.watches import Listed
from app.tables import AccountRow, ConnectionRow, NoticeRow, PostRow, SightingRow, WatchRow
from app.watch import Episode, Watch, show_name

# So many plays of one show are posted without a question: a long weekend, not a library.
MOST_UNASKED = 30

POSTED = "You decided to post it, with others of its show."
UNPOSTED = "You decided to keep it unposted, with others of its show."


async def gather(
    session: AsyncSession,
    connection: ConnectionRow,
    account: AccountRow | None,
    fresh: Sequence[Read],
    now: datetime,
) -> dict[str, int]:
    """Return the shows of which too much becomes known with ``fresh``, with their open notices.

    What became known since the connection began to read counts too, and waits with the others as
    far as it was not sent. Call it before ``fresh`` is kept.
    """
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for item, _ in fresh:
        if isinstance(item, Watch) and is_to_be_posted(item, connection, account, now):
            show = watches.show_in(item) or ""
            numbers[show] += 1
            names[show] = show_called(item)
    del numbers[""]
    gathered = {}
    for show, number in numbers.items():
        before = await known_since(session, connection, show)
        if number + len(before) > MOST_UNASKED:
            notice = await notices.open_one(
                session, connection.account_id, Kind.BUNCH, "", now, subject=show
            )
            if notice is None:
                break
            await hold_back(session, before, notice)
            notice.said = question(number + len(await members(session, notice)), names[show])
            gathered[show] = notice.id or 0
    await session.flush()
    return gathered


def question(number: int, show: str) -> str:
    """Return what the person is asked."""
    return (
        f"{number} plays of {show} became known at once. That is more than {MOST_UNASKED}, so the "
        "bridge asks before it fills your site: post them all, or keep them unposted?"
    )


def is_to_be_posted(
    item: Watch, connection: ConnectionRow, account: AccountRow | None, now: datetime
) -> bool:
    """Tell whether a watch that becomes known would be posted at once."""
    match planned(item.watched_at, connection.start_at, now):
        case (_, Post(state=State.QUEUED)):
            return account is None or not rules.skips(account, item)
        case _:
            return False


def show_called(item: Watch) -> str:
    """Return what the show of an episode is called."""
    return show_name(item.work.show) if isinstance(item.work, Episode) else ""


async def known_since(session: AsyncSession, connection: ConnectionRow, show: str) -> Sequence[int]:
    """Return the posts of a show that became known since the connection began to read."""
    if connection.reading_since is None:
        return []
    rows = await session.scalars(
        select(col(WatchRow.post_id))
        .join(SightingRow, col(SightingRow.watch_id) == col(WatchRow.id))
        .where(
            col(SightingRow.connection_id) == connection.id,
            col(SightingRow.show) == show,
            col(SightingRow.seen_at) >= connection.reading_since,
            col(WatchRow.post_id).is_not(None),
        )
        .distinct()
    )
    return [post_id for post_id in rows if post_id]


async def hold_back(session: AsyncSession, post_ids: Sequence[int], notice: NoticeRow) -> None:
    """Let those of the posts that have not left wait for the answer to a notice."""
    rows = await session.scalars(
        select(PostRow).where(col(PostRow.id).in_(post_ids), col(PostRow.state) == State.QUEUED)
    )
    for post in rows:
        watches.hold_back(post, notice.id or 0)
    await session.flush()


def waiting(notice: NoticeRow) -> Select[WatchRow, PostRow]:
    """Select the watches that wait for the answer to a notice, oldest first."""
    return (
        select(WatchRow, PostRow)
        .join(PostRow, col(PostRow.id) == col(WatchRow.post_id))
        .where(
            col(WatchRow.account_id) == notice.account_id,
            col(PostRow.notice_id) == notice.id,
            col(PostRow.state) == State.HELD,
            col(PostRow.why) == Why.BUNCH,
        )
        .order_by(col(WatchRow.watched_at), col(WatchRow.id))
    )


async def members(session: AsyncSession, notice: NoticeRow) -> list[Listed]:
    """Return the watches that wait for the answer to a notice, oldest first."""
    return [(row[0], row[1]) for row in await session.execute(waiting(notice))]


async def post_all(session: AsyncSession, notice: NoticeRow, now: datetime) -> int:
    """Post all that waits for the answer; return how many these are. Closes the notice."""
    every = [watch.id or 0 for watch, _ in await members(session, notice)]
    return await post_some(session, notice, every, now)


async def keep_all(session: AsyncSession, notice: NoticeRow, now: datetime) -> None:
    """Keep all that waits for the answer unposted. Closes the notice."""
    await post_some(session, notice, (), now)


async def post_some(
    session: AsyncSession, notice: NoticeRow, watch_ids: Collection[int], now: datetime
) -> int:
    """Post these of the waiting watches and keep the others unposted; return how many are posted.

    Closes the notice. Whoever calls holds the site, and then the notice, see `notices.one`.
    """
    wanted, posted = set(watch_ids), 0
    for watch, post in (await session.execute(waiting(notice))).all():
        post.notice_id = None
        if watch.id in wanted:
            posts.write(post, acted(posts.value(post), Action.PUBLISH, now))
            posted += 1
        else:
            # Kept as a decision, which a corrected date or another start does not undo.
            posts.write(post, acted(posts.value(post), Action.SKIP, now))
            post.trouble = None
        said = POSTED if watch.id in wanted else UNPOSTED
        await watches.tell(session, watch.id or 0, said, now)
    await notices.close(session, notice.account_id, Kind.BUNCH, now, notice.subject)
    await session.flush()
    return posted


async def close_empty(session: AsyncSession, account_id: int, now: datetime) -> None:
    """End the questions that are about nothing any more."""
    for notice in await notices.open_ones(session, account_id):
        if notice.kind == Kind.BUNCH and not await members(session, notice):
            await notices.close(session, account_id, Kind.BUNCH, now, notice.subject)
