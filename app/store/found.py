"""What sites hold: posts that were read there, and which of our watches they tell of."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app import lookup, outbox
from app.hentry import Mf2, Telling, hentry, properties_of, url, zone
from app.lookup import Clue, Entry, Told
from app.outbox import Standing, State
from app.store import posts
from app.style import Style, kept
from app.tables import AccountRow, FoundRow, PostRow, WatchRow
from app.watch import Watch, Work
from app.watch import from_json as work_of

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Known:
    """A watch of ours with its post, if it has one."""

    watch: WatchRow
    post: PostRow | None


async def keep(
    session: AsyncSession, account_id: int, entries: Iterable[Entry], now: datetime
) -> list[FoundRow]:
    """Store the posts that a site shows and return their rows; reading them again changes none."""
    by_place = {entry.place: entry for entry in entries if entry.may_be_ours}
    known = await session.scalars(
        select(FoundRow).where(
            col(FoundRow.account_id) == account_id, col(FoundRow.place).in_(by_place)
        )
    )
    rows = {row.place: row for row in known}
    for place, entry in by_place.items():
        row = rows.get(place)
        if row is None:
            row = rows[place] = FoundRow(account_id=account_id, place=place, read_at=now)
            session.add(row)
        row.url, row.marker, row.work_url = entry.url, entry.marker, entry.work_url
        row.published_at, row.content_digest = entry.published, entry.content_digest
        row.read_at = now
    await session.flush()
    await owned(session, account_id, list(rows.values()))
    return list(rows.values())


async def owned(session: AsyncSession, account_id: int, rows: Sequence[FoundRow]) -> None:
    """Note which of the rows are posts whose URL we know already."""
    urls = {row.url: row for row in rows if row.url and row.post_id is None}
    if not urls:
        return
    found = await session.execute(
        select(col(PostRow.id), col(PostRow.url)).where(
            col(PostRow.account_id) == account_id, col(PostRow.url).in_(urls)
        )
    )
    for post_id, its_url in found:
        urls[its_url or ""].post_id = post_id


async def settle(
    session: AsyncSession, account_id: int, rows: Sequence[FoundRow], now: datetime
) -> int:
    """Give what a site shows to the watches it tells of; return how many posts that settled."""
    free = [row for row in rows if row.post_id is None]
    if not free:
        return 0
    return await give(session, await candidates(session, account_id, free), free, now)


async def recognise(session: AsyncSession, watches: Sequence[WatchRow], now: datetime) -> int:
    """Give each of ``watches`` that its site already shows its post; return how many had one.

    Such a post becomes published, with its URL, whatever it was going to be.
    """
    watches = [watch for watch in watches if watch.work is not None]
    if not watches:
        return 0
    # Most sites show nothing that was not posted here, and then nothing is to be compared.
    shows = exists().where(col(FoundRow.account_id) == col(AccountRow.id))
    found = await session.scalars(
        select(AccountRow).where(
            col(AccountRow.id).in_({watch.account_id for watch in watches}), shows
        )
    )
    accounts = {account.id: account for account in found}
    known = await with_posts(session, [one for one in watches if one.account_id in accounts])
    if not known:
        return 0
    told = [told_of(one, accounts.get(one.watch.account_id)) for one in known]
    rows = await session.scalars(
        select(FoundRow).where(
            col(FoundRow.account_id).in_(accounts),
            col(FoundRow.post_id).is_(None),
            col(FoundRow.marker).in_([one.key for one in told])
            | col(FoundRow.work_url).in_(
                {lookup.bare(one.work_url) for one in told if one.work_url}
            )
            | col(FoundRow.content_digest).in_({text for one in told for text in one.contents}),
        )
    )
    shown: dict[int, list[FoundRow]] = {}
    for row in rows:
        shown.setdefault(row.account_id, []).append(row)
    given = 0
    for account_id, free in shown.items():
        ours = [one for one in known if one.watch.account_id == account_id]
        given += await give(session, ours, free, now)
    return given


async def with_posts(session: AsyncSession, watches: Sequence[WatchRow]) -> list[Known]:
    """Return watches with their posts."""
    ids = [watch.post_id for watch in watches if watch.post_id]
    found = await session.scalars(select(PostRow).where(col(PostRow.id).in_(ids)))
    by_id = {post.id: post for post in found}
    return [Known(watch, by_id.get(watch.post_id)) for watch in watches]


async def candidates(
    session: AsyncSession, account_id: int, rows: Sequence[FoundRow]
) -> list[Known]:
    """Return the watches that one of the rows may tell of."""
    dates = {row.published_at for row in rows if row.published_at and row.work_url}
    minutes = {lookup.minute_of(at) for at in dates}
    near = [
        (col(WatchRow.watched_at) >= at) & (col(WatchRow.watched_at) < at + MINUTE)
        for at in sorted(minutes)
    ]
    ways = [
        col(WatchRow.key).in_([row.marker for row in rows if row.marker]),
        col(PostRow.state) == State.UNSURE,
        *near,
    ]
    found: dict[int, Known] = {}
    for way in ways:
        listed = await session.execute(
            select(WatchRow, PostRow)
            .outerjoin(PostRow, col(PostRow.id) == col(WatchRow.post_id))
            .where(col(WatchRow.account_id) == account_id, col(WatchRow.work).is_not(None), way)
        )
        found |= {watch.id or 0: Known(watch, post) for watch, post in listed}
    return [found[key] for key in sorted(found)]


async def give(
    session: AsyncSession, known: Sequence[Known], rows: Sequence[FoundRow], now: datetime
) -> int:
    """Join watches with the posts that tell of them, each post once; return how many."""
    if not known:
        return 0
    # A post may have been seen before the answer to it said where it is.
    await owned(session, known[0].watch.account_id, rows)
    free: dict[Clue, dict[Entry, FoundRow]] = {}
    for row in [one for one in rows if one.post_id is None]:
        entry = entry_in(row)
        free.setdefault(lookup.clue(entry), {})[entry] = row
    account = await session.get(AccountRow, known[0].watch.account_id)
    by_text = any(lookup.is_by_text(entry) for entries in free.values() for entry in entries)
    rivals = await unplaced(session, known, account) if by_text else []
    given = 0
    for one in known:
        told = told_of(one, account)
        near = (entry for clue in lookup.clues(told) for entry in free.get(clue, {}))
        match = lookup.match(told, near)
        if match and not lookup.may_be_of_another(told, match, rivals):
            row = free[lookup.clue(match)].pop(match)
            given += await join(session, one, row, now)
    return given


async def unplaced(
    session: AsyncSession, known: Sequence[Known], account: AccountRow | None
) -> list[Told]:
    """Return how the posts may look of all viewings of the same works whose place nobody knows.

    Also of those that a person decided over, or that were not sent: their post, sent by a
    database of which this one is a copy, may be the very one on the site.
    """
    if account is None:
        return []
    works = {one.watch.work_key for one in known if one.watch.work_key}
    rows = await session.scalars(
        select(WatchRow).where(
            col(WatchRow.account_id) == account.id,
            col(WatchRow.work_key).in_(works),
            col(WatchRow.post_id).is_not(None),
        )
    )
    ids = {one.watch.id for one in known}
    others = await with_posts(session, [row for row in rows if row.id not in ids])
    return [
        told_of(one, account)
        for one in (*known, *others)
        if one.post is None or one.post.url is None
    ]


async def join(session: AsyncSession, known: Known, row: FoundRow, now: datetime) -> bool:
    """Note that a post on the site is the one of this watch; return whether that was news."""
    watch, post = known.watch, known.post
    if post is not None and post.state == State.SENDING:
        # Its own answer is on its way, or its lease runs out.
        return False
    if post is None:
        post = PostRow(
            account_id=watch.account_id,
            state=State.PUBLISHED,
            due_at=now,
            watched_at=watch.watched_at,
        )
        session.add(post)
        await session.flush()
        watch.post_id, watch.standing = post.id, Standing.POSTED
    row.post_id = post.id
    if post.url is not None:
        return note_second(post, row)
    posts.write(post, outbox.found(posts.value(post), row.url, now))
    post.published_at = post.published_at or row.published_at or now
    post.notice_id = None
    await session.flush()
    where = f": {row.url}" if row.url else ", which does not say where"
    by = "by its marker" if row.marker == watch.key else "by what it says"
    await posts.tell(session, post.id or 0, f"Found on your site, {by}{where}.", now, None)
    return True


def note_second(post: PostRow, row: FoundRow) -> bool:
    """Note a further post of the same watch; the first one is kept as the one."""
    if row.url is None or row.url == post.url or row.marker is None:
        return False
    post.second_url = row.url
    if post.slug and post.url and lookup.is_second(post.url, post.slug):
        post.url, post.second_url = row.url, post.url
    return True


def told_of(known: Known, account: AccountRow | None) -> Told:
    """Return how the post of a watch may be recognised; of a damaged row only the marker counts."""
    watch, post = known.watch, known.post
    since = watch.watched_at
    if post is not None and post.attempts == 1:
        since = post.sent_at
    try:
        work = work_of(watch.work or {})
    except ValueError:
        return Told(watch.key, None, watch.watched_at, since=since)
    return Told(
        key=watch.key,
        work_url=url(work),
        watched_at=watch.watched_at,
        contents=frozenset(
            lookup.digest(text)
            for properties in tellings(known, work, account)
            if (text := lookup.plain(lookup.first(properties.get("content"))))
        ),
        since=since,
    )


def tellings(known: Known, work: Work, account: AccountRow | None) -> Iterable[Mf2]:
    """Yield the properties that a post of ours has: those that were sent, or that it might have.

    A database that lost what was sent may have lost the person's style, too: so the first one
    counts beside today's.
    """
    if known.post is not None and known.post.body is not None:
        yield properties_of(known.post.body)
        return
    there = (zone(account.timezone) if account else None) or UTC
    watch = Watch(known.watch.source, known.watch.key, known.watch.watched_at, work)
    for style in styles(account):
        for again in (False, True):
            # What cannot be told that way was not.
            with suppress(ValueError):
                yield hentry(watch, Telling(there, again=again, style=style))["properties"]


def styles(account: AccountRow | None) -> set[Style]:
    """Return how the posts of an account may have been told."""
    return {Style(), kept(account.style if account else None)}


def entry_in(row: FoundRow) -> Entry:
    """Return the entry that a row was made of."""
    return Entry(row.url, row.marker, row.work_url, row.published_at, row.content_digest)


async def newest(session: AsyncSession, account_id: int, now: datetime) -> datetime | None:
    """Return the date of the newest watch that the site tells of; None when it tells of none."""
    return await session.scalar(
        select(func.max(col(FoundRow.published_at))).where(
            col(FoundRow.account_id) == account_id, col(FoundRow.published_at) <= now
        )
    )


async def is_unknown_since(session: AsyncSession, account_id: int, since: datetime | None) -> bool:
    """Tell whether the site shows a post, not dated before, that may be ours without a marker."""
    if since is None:
        return False
    free = select(col(FoundRow.id)).where(
        col(FoundRow.account_id) == account_id,
        col(FoundRow.post_id).is_(None),
        col(FoundRow.marker).is_(None),
        col(FoundRow.published_at).is_(None) | (col(FoundRow.published_at) > since),
    )
    return await session.scalar(free.limit(1)) is not None


async def count(session: AsyncSession, account_id: int) -> int:
    """Return how many posts that may tell of a watch a site was seen to hold."""
    rows = select(func.count(col(FoundRow.id))).where(col(FoundRow.account_id) == account_id)
    return await session.scalar(rows) or 0
