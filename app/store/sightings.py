"""What sources said, for comparing with what they say today, and what follows for the watches."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.diff import PREFIXES, Findings, Kind, Known, Minute, Play, Read, Target, target_of
from app.outbox import REMOVED, Post, Standing, State, Why, planned, removed
from app.store import posts, watches
from app.tables import ConnectionRow, PostRow, SightingRow
from app.watch import Unreadable, Watch


async def plays(
    session: AsyncSession, connection_id: int, kinds: Iterable[Kind]
) -> tuple[Counter[Play], dict[str, str]]:
    """Return the plays that are known and not doubted, and which show an episode is of."""
    found: Counter[Play] = Counter()
    shows: dict[str, str] = {}
    for kind in kinds:
        rows = await session.stream(
            select(col(SightingRow.item), col(SightingRow.show), col(SightingRow.at)).where(
                *of_kind(connection_id, kind), col(SightingRow.confirm_at).is_(None)
            )
        )
        # In parts: whoever else has something to do comes in between.
        async for part in rows.partitions(watches.AT_ONCE):
            for item, show, at in part:
                named: str = item or ""
                found[named, at] += 1
                if show:
                    shows[named] = show
    return found, shows


def of_kind(connection_id: int, kind: Kind) -> list[ColumnElement[bool]]:
    """Return what makes a sighting one of a film, or of an episode, that is not gone."""
    return [
        col(SightingRow.connection_id) == connection_id,
        col(SightingRow.item).startswith(PREFIXES[kind]),
        col(SightingRow.gone_at).is_(None),
    ]


async def count(session: AsyncSession, connection_id: int, kind: Kind) -> int:
    """Return how many plays of films, or of episodes, are known."""
    rows = select(func.count(col(SightingRow.id))).where(*of_kind(connection_id, kind))
    return await session.scalar(rows) or 0


async def known(
    session: AsyncSession,
    connection_id: int,
    keys: Collection[str],
    targets: Collection[Target] = (),
) -> list[Known]:
    """Return the sightings with these keys, and all of what was asked for by id."""
    found: dict[int, Known] = {}
    ways: list[ColumnElement[bool]] = [
        col(SightingRow.key).in_(part) for part in watches.portions(sorted(keys))
    ]
    if targets:
        ways.append(or_(*asked_for(targets)))
    for way in ways:
        rows = await session.scalars(
            select(SightingRow).where(col(SightingRow.connection_id) == connection_id, way)
        )
        found |= {row.id or 0: known_as(row) for row in rows}
    return [found[key] for key in sorted(found)]


def asked_for(targets: Collection[Target]) -> list[ColumnElement[bool]]:
    """Return what makes a sighting one of what was asked for by id."""
    shows = [target.id for target in targets if target.kind == "shows"]
    singular = {"movies": "movie", "episodes": "episode"}
    items = [f"{singular[t.kind]}:{t.id}" for t in targets if t.kind in singular]
    return [col(SightingRow.show).in_(shows), col(SightingRow.item).in_(items)]


def known_as(row: SightingRow) -> Known:
    """Return a row as the comparison knows it."""
    return Known(
        id=row.id or 0,
        watch_id=row.watch_id,
        key=row.key,
        item=row.item,
        show=row.show,
        at=row.at,
        confirm_at=row.confirm_at,
        is_gone=row.gone_at is not None,
        is_readable=row.trouble is None,
    )


async def doubted(
    session: AsyncSession, connection_ids: Collection[int], now: datetime
) -> dict[int, set[Target]]:
    """Return what is to be asked for by id once more, because it was not shown before."""
    rows = await session.execute(
        select(col(SightingRow.connection_id), col(SightingRow.item), col(SightingRow.show))
        .where(
            col(SightingRow.connection_id).in_(connection_ids),
            col(SightingRow.confirm_at) <= now,
            col(SightingRow.item).is_not(None),
        )
        .distinct()
    )
    found: dict[int, set[Target]] = {}
    for connection_id, item, show in rows:
        found.setdefault(connection_id, set()).add(target_of(item or "", show))
    return found


async def in_doubt(session: AsyncSession, connection_id: int) -> set[str]:
    """Return the items of all plays that were not shown when they were last asked for."""
    items = await session.scalars(
        select(col(SightingRow.item)).where(
            col(SightingRow.connection_id) == connection_id,
            col(SightingRow.confirm_at).is_not(None),
        )
    )
    return {item for item in items if item}


async def next_doubts(
    session: AsyncSession, connection_ids: Collection[int]
) -> dict[int, datetime]:
    """Return when something that was not shown is to be asked for again, where there is such."""
    rows = await session.execute(
        select(col(SightingRow.connection_id), func.min(col(SightingRow.confirm_at)))
        .where(
            col(SightingRow.connection_id).in_(connection_ids),
            col(SightingRow.confirm_at).is_not(None),
            col(SightingRow.item).is_not(None),
        )
        .group_by(col(SightingRow.connection_id))
    )
    return {connection_id: when for connection_id, when in rows if when}


async def settle(
    session: AsyncSession,
    connection: ConnectionRow,
    findings: Findings,
    now: datetime,
    confirm_at: datetime,
) -> None:
    """Write what was found out about known sightings, and what follows for their watches.

    What is absent is asked for again at ``confirm_at``.
    """
    if replace(findings, added=()) == Findings():
        return
    for one in findings.back:
        await bring_back(session, connection, one, now)
    for one, read in findings.moved:
        await move(session, connection, one, read, now)
    for one, read in findings.corrected:
        await correct(session, connection, one, read, now)
    for one in findings.absent:
        row = await row_of(session, one)
        row.missing_at, row.confirm_at = now, confirm_at
    for one in findings.gone:
        await let_go(session, connection, one, now)
    await session.flush()


async def row_of(session: AsyncSession, one: Known) -> SightingRow:
    """Return the row of a sighting."""
    return (await session.scalars(select(SightingRow).where(col(SightingRow.id) == one.id))).one()


async def bring_back(
    session: AsyncSession, connection: ConnectionRow, one: Known, now: datetime
) -> None:
    """Note that a source shows a viewing again."""
    row = await row_of(session, one)
    row.missing_at = row.confirm_at = row.gone_at = None
    held = await watches.one(session, connection.account_id, one.watch_id)
    if held is None or held[0].removed_at is None:
        return
    watch, post = held
    watch.removed_at = None
    if post and post.state == State.SKIPPED and post.why == Why.REMOVED:
        post.why = None
        plan = replanned(watch.watched_at, connection.start_at, now)
        post.state, post.due_at, post.trouble = plan.state, plan.due_at, plan.trouble
    await watches.tell(session, one.watch_id, "Trakt shows this viewing again.", now)


async def move(
    session: AsyncSession, connection: ConnectionRow, one: Known, read: Read, now: datetime
) -> None:
    """Let a new play stand for the one that vanished: the watch and its post stay."""
    item, payload = read
    old = await row_of(session, one)
    old.missing_at, old.confirm_at, old.gone_at = old.missing_at or now, None, now
    fresh = SightingRow(
        connection_id=connection.id or 0,
        watch_id=one.watch_id,
        key=item.key,
        seen_at=now,
        payload=payload,
    )
    watches.describe(fresh, item)
    session.add(fresh)
    await redate(session, connection, one, item, now)


async def correct(
    session: AsyncSession, connection: ConnectionRow, one: Known, read: Read, now: datetime
) -> None:
    """Write what a source now says of a known play: another time, or another title's id.

    Or what it says of one that could not be read before.
    """
    item, payload = read
    row = await row_of(session, one)
    row.payload = payload
    if not one.is_readable:
        if held := await watches.one(session, connection.account_id, one.watch_id):
            await watches.read_again(session, held[0], item, now)
        return
    watches.describe(row, item)
    if row.at != one.at:
        await redate(session, connection, one, item, now)


async def redate(
    session: AsyncSession,
    connection: ConnectionRow,
    one: Known,
    item: Watch | Unreadable,
    now: datetime,
) -> None:
    """Give a watch its corrected date; what was sent stays as it is."""
    held = await watches.one(session, connection.account_id, one.watch_id)
    if held is None or not isinstance(item, Watch):
        return
    watch, post = held
    said = f"Trakt now dates it {dated(item.watched_at)}; before, {dated(watch.watched_at)}."
    watch.watched_at = item.watched_at
    await watches.tell(session, one.watch_id, said, now)
    if post is None and watch.standing in {Standing.ARCHIVED, Standing.UNDATED}:
        watch.standing, plan = planned(watch.watched_at, connection.start_at, now)
        if plan:
            fresh = watches.post_row(watch, plan)
            session.add(fresh)
            await session.flush()
            watch.post_id = fresh.id
    elif post is not None and post.attempts == 0:
        reorder(post, item.watched_at, connection.start_at, now)


def reorder(post: PostRow, watched_at: datetime | None, start_at: datetime, now: datetime) -> None:
    """Let a post that was never tried take its place by its corrected date."""
    post.watched_at = watched_at
    if post.why == Why.RULE and (plan := planned(watched_at, start_at, now)[1]):
        # A rule may say otherwise of another hour; its turn comes once more.
        post.state, post.due_at = plan.state, plan.due_at
        post.trouble, post.why = plan.trouble, None
        return
    # Others wait for an answer, or were decided over by a person.
    if post.why is None and post.state in {State.HELD, State.QUEUED}:
        plan = replanned(watched_at, start_at, now)
        post.state, post.due_at, post.trouble = plan.state, plan.due_at, plan.trouble


def replanned(watched_at: datetime | None, start_at: datetime, now: datetime) -> Post:
    """Return where a post stands that was decided on before: it waits for its date, or for none."""
    return planned(watched_at, start_at, now)[1] or Post(State.QUEUED, due_at=now)


def dated(when: Minute) -> str:
    """Return a date as one would say it."""
    return f"{when:%d %B %Y %H:%M} UTC" if when else "at an unknown time"


async def let_go(
    session: AsyncSession, connection: ConnectionRow, one: Known, now: datetime
) -> None:
    """Believe that a play is no more; without another sighting its watch is removed."""
    row = await row_of(session, one)
    row.gone_at, row.confirm_at = now, None
    await session.flush()
    others = select(col(SightingRow.id)).where(
        col(SightingRow.watch_id) == one.watch_id, col(SightingRow.gone_at).is_(None)
    )
    if await session.scalar(others.limit(1)) is not None:
        return
    held = await watches.one(session, connection.account_id, one.watch_id)
    if held is None:
        return
    watch, post = held
    watch.removed_at = now
    said = "Trakt no longer shows this viewing; it was asked twice."
    if post is not None and post.state in {State.HELD, State.QUEUED}:
        unpost(post, now)
        said = REMOVED
    await watches.tell(session, one.watch_id, said, now)


def unpost(post: PostRow, now: datetime) -> None:
    """Let a post that is not on the site stay away from it."""
    post.notice_id = None
    posts.write(post, removed(posts.value(post), now))
