"""Gates: a database that may be an old copy does not know what was posted since.

Until its site has been read, a gate keeps back what may be there already. ``gate_at`` is the
copy's age; what it keeps back until then says `app.store.kept`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.lookup import Progress, Way
from app.notices import Kind
from app.outbox import State, Unsure, said_there
from app.store import kept, notices, posts
from app.store.watches import Listed
from app.tables import AccountRow, ConnectionRow, HeartbeatRow, PostRow, SiteRow, WatchRow
from app.waits import Waits


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which no scheduler worked, longer than it should ever be."""

    start: datetime
    end: datetime


# The age of a copy whose last heartbeat tells nothing.
UNKNOWN = datetime.fromtimestamp(0, UTC)


async def beat(
    session: AsyncSession, key_name: str, now: datetime, longest: timedelta
) -> datetime | None:
    """Note that the scheduler works, and with which key it seals.

    Return when it last did, if that is longer ago than ``longest``; such a silence is kept, to be
    shown.
    """
    row = await session.get(HeartbeatRow, 1, with_for_update=True)
    if row is None:
        session.add(HeartbeatRow(at=now, key_name=key_name))
        return None
    last, row.at, row.key_name = row.at, now, key_name
    if now - last <= longest:
        return None
    row.silent_from, row.silent_until = last, now
    return last


async def silence(session: AsyncSession, account: AccountRow, since: datetime) -> Silence | None:
    """Return the last long silence, if it ended after ``since`` and the person has not seen it."""
    row = await session.get(HeartbeatRow, 1)
    if row is None or row.silent_from is None or row.silent_until is None:
        return None
    unseen = max(since, account.silence_seen_at or since, account.created_at)
    return Silence(row.silent_from, row.silent_until) if row.silent_until > unseen else None


async def see_silence(session: AsyncSession, account_id: int, now: datetime) -> None:
    """Note that a person has seen that nothing was done for a while."""
    account = await session.get(AccountRow, account_id)
    if account is not None:
        account.silence_seen_at = now


async def shut(session: AsyncSession, since: datetime, now: datetime) -> None:
    """Shut the gates of all sites: this database may be a copy as old as ``since``."""
    rows = await session.scalars(
        select(SiteRow).order_by(col(SiteRow.account_id)).with_for_update()
    )
    for site in rows.all():
        site.gate_at = min(since, site.gate_at or since)
        site.gate_reached, site.gate_shut_at = None, now
        # What was asked before was not about all that may wait now.
        await notices.close(session, site.account_id, Kind.GATE, now)
        site.wants_all, site.look_due_at = True, now
        site.look_progress, site.looking_until = None, None


def opened_by(site: SiteRow, progress: Progress, *, knows_posts: bool) -> bool:
    """Tell whether a look has shown all that an old copy may not know of.

    ``knows_posts``: this database knows of posts on the site; a list that shows none of them
    with its marker shows nothing.
    """
    if site.gate_at is None or progress.way is not Way.LIST or not progress.read:
        return False
    return progress.is_whole and (progress.ours > 0 or not knows_posts)


def awaits_list(site: SiteRow, progress: Progress, now: datetime, waits: Waits) -> bool:
    """Tell whether a list that this site once had, and now lacks, is worth waiting for.

    Only it opens the gate without a question.
    """
    if site.gate_shut_at is None or site.shows != Way.LIST or progress.way is Way.LIST:
        return False
    return now - site.gate_shut_at < waits.unsure_told_after


def reach(site: SiteRow, progress: Progress) -> None:
    """Let watches leave that are younger than what was read so far."""
    if site.gate_at is None or progress.way is not Way.LIST or not progress.ours:
        return
    proven = progress.proven
    if proven and (site.gate_reached is None or proven < site.gate_reached):
        site.gate_reached = proven


def lift(site: SiteRow) -> None:
    """Open the gate of a site."""
    site.gate_at = site.gate_reached = site.gate_shut_at = None


async def knows_posts(session: AsyncSession, account_id: int) -> bool:
    """Tell whether this database knows of a post on the site."""
    known = select(col(PostRow.id)).where(
        col(PostRow.account_id) == account_id, col(PostRow.state) == State.PUBLISHED
    )
    return await session.scalar(known.limit(1)) is not None


async def kept_back(session: AsyncSession, site: SiteRow) -> list[PostRow]:
    """Return the posts that a gate keeps from leaving, the oldest watch first."""
    if site.gate_at is None:
        return []
    rows = await session.scalars(
        select(PostRow).where(*kept.behind(site)).order_by(col(PostRow.watched_at), col(PostRow.id))
    )
    return list(rows)


async def waiting(session: AsyncSession, site: SiteRow) -> list[Listed]:
    """Return the watches whose posts a gate keeps from leaving, the oldest first, to be shown."""
    if site.gate_at is None:
        return []
    rows = await session.execute(
        select(WatchRow, PostRow)
        .join(PostRow, col(PostRow.id) == col(WatchRow.post_id))
        .where(*kept.behind(site))
        .order_by(col(PostRow.watched_at), col(PostRow.id))
    )
    return [(row[0], row[1]) for row in rows]


async def ask(session: AsyncSession, now: datetime) -> None:
    """Ask, once for each site that cannot be read, about all that its gate keeps back.

    Trakt is read before: what it tells belongs to the question, and what is watched after that
    is surely new. Where nothing is kept back, the gate opens by itself, and where the person chose
    to post again after a while, after that.
    """
    rows = await session.scalars(
        select(SiteRow)
        .where(col(SiteRow.gate_at).is_not(None))
        .order_by(col(SiteRow.account_id))
        .with_for_update(skip_locked=True)
    )
    for site in rows.all():
        if site.gate_shut_at is None:
            continue
        read_at = await read_since(session, site, site.gate_shut_at)
        if read_at is None:
            continue
        site.gate_reached = site.gate_reached or read_at
        if site.wants_all or site.look_progress is not None:
            continue
        count = len(await kept_back(session, site))
        wants, wait = posts.choice(site)
        if count == 0 or (wants is Unsure.AGAIN and now - site.gate_shut_at >= wait):
            lift(site)
            await notices.close(session, site.account_id, Kind.GATE, now)
        else:
            await notices.open_one(session, site.account_id, Kind.GATE, question(count), now)


def question(count: int) -> str:
    """Return what the person is asked about the posts that a gate keeps back."""
    is_one = count == 1
    return (
        f"{'One post waits' if is_one else f'{count} posts wait'}: the bridge was away for a "
        "while, or its database is an older copy, and your site cannot be searched for what was "
        f"posted meanwhile. Look there: {'is it' if is_one else 'are they'} on your site already?"
    )


async def read_since(session: AsyncSession, site: SiteRow, shut_at: datetime) -> datetime | None:
    """Return when all of Trakt had been read since the gate of a site was shut; None: not yet.

    A turn that left something for the next one, or an archive under way, may tell of more.
    Without a connection there is nothing to be read.
    """
    found = await session.scalars(
        select(ConnectionRow).where(
            col(ConnectionRow.account_id) == site.account_id,
            col(ConnectionRow.sealed_tokens).is_not(None),
        )
    )
    read_at = shut_at
    for row in found:
        if row.reading_since is not None or row.archive_page is not None:
            return None
        if row.polled_at is None or row.polled_at < shut_at:
            return None
        read_at = max(read_at, row.polled_at)
    return read_at


async def answer(session: AsyncSession, account_id: int, now: datetime, *, there: bool) -> int:
    """Do with all that a gate keeps back what the person says; return how many posts these are.

    ``there``: they are on the site already; otherwise they are sent now.
    """
    site = await session.get(SiteRow, account_id, with_for_update=True)
    if site is None:
        return 0
    rows = await kept_back(session, site)
    for row in rows if there else []:
        posts.write(row, said_there(posts.value(row), now))
        await posts.tell(session, row.id or 0, "You said that it is on your site.", now, None)
    lift(site)
    await notices.close(session, account_id, Kind.GATE, now)
    return len(rows)
