"""Watches and what their sources said: kept as they come, listed, counted, looked into."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Select, func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.diff import Read, item_of, minute, show_of
from app.outbox import Post, Standing, State, Why, planned
from app.store import found
from app.tables import ConnectionRow, EventRow, PostRow, SightingRow, WatchRow
from app.watch import (
    Unreadable,
    Watch,
    about_from_json,
    about_to_json,
    caption,
    from_json,
    to_json,
    work_key,
)

PER_PAGE = 50
# Among so many watches the last film and the last episode are looked for.
LAST = 200
# When a post is due that waits for an answer and for nothing else.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
WAITS_FOR_ANSWER = "Many plays of this show became known at once; it waits for your answer."
# What a list may be narrowed to, beside states: watches that their source no longer shows.
REMOVED = "removed"

# Fewer than the values that SQLite takes in one statement.
AT_ONCE = 1000

T = TypeVar("T")
Listing = TypeVar("Listing", bound=Select[*tuple[Any, ...]])
Listed = tuple[WatchRow, PostRow | None]


@dataclass(frozen=True, slots=True)
class News:
    """What a connection told for the first time, see `unseen`.

    ``bunches`` are shows of which too much became known at once, with the notice that asks what
    to do.
    """

    connection: ConnectionRow
    fresh: Sequence[Read]
    bunches: Mapping[str, int]


async def keep(session: AsyncSession, news: Sequence[News], now: datetime) -> None:
    """Store what became known, each viewing once, with the posts that are to tell of them."""
    told = [(one, item, payload) for one in news for item, payload in one.fresh]
    made = [row_of(one.connection, item, now) for one, item, _ in told]
    for (one, item, _), (_, post) in zip(told, made, strict=True):
        if post and (notice_id := one.bunches.get(show_in(item) or "")):
            hold_back(post, notice_id)
    session.add_all([post for _, post in made if post])
    await session.flush()
    for watch, post in made:
        watch.post_id = post.id if post else None
        session.add(watch)
    await session.flush()
    sightings = []
    for (one, item, payload), (watch, _) in zip(told, made, strict=True):
        row = SightingRow(
            connection_id=one.connection.id or 0,
            watch_id=watch.id or 0,
            key=item.key,
            seen_at=now,
            payload=payload,
        )
        describe(row, item)
        sightings.append(row.model_dump(exclude={"id"}))
    if sightings:
        await session.execute(insert(SightingRow), sightings)
    await found.recognise(session, [watch for watch, _ in made], now)


def describe(row: SightingRow, item: Watch | Unreadable) -> None:
    """Write beside a payload what it is of and when, or why nobody can tell."""
    row.trouble = item.reason if isinstance(item, Unreadable) else None
    if isinstance(item, Watch):
        row.item, row.show, row.at = item_of(item.work), show_of(item.work), minute(item.watched_at)


def show_in(item: Watch | Unreadable) -> str | None:
    """Return the show that an item of the history is of."""
    return show_of(item.work) if isinstance(item, Watch) else None


def hold_back(post: PostRow, notice_id: int) -> None:
    """Let a post that would be sent wait for an answer; what the person asked for does not."""
    if post.state == State.QUEUED and post.why != Why.WANTED:
        post.state, post.due_at, post.why = State.HELD, NEVER, Why.BUNCH
        post.notice_id, post.trouble = notice_id, WAITS_FOR_ANSWER


async def unseen(
    session: AsyncSession, told: Mapping[int, Sequence[Read]]
) -> dict[int, list[Read]]:
    """Return, by the ids of connections, what each has not told before, each item once.

    What is kept of that makes it seen, so a poll can be repeated at will.
    """
    by_key = {
        (connection_id, item.key): (item, payload)
        for connection_id, read in told.items()
        for item, payload in read
    }
    name = tuple_(col(SightingRow.connection_id), col(SightingRow.key))
    seen: set[tuple[int, str]] = set()
    for part in portions(list(by_key)):
        found = await session.execute(
            select(col(SightingRow.connection_id), col(SightingRow.key)).where(name.in_(part))
        )
        seen |= {(row[0], row[1]) for row in found}
    fresh: dict[int, list[Read]] = {connection_id: [] for connection_id in told}
    for key, one in by_key.items():
        if key not in seen:
            fresh[key[0]].append(one)
    return fresh


def portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the values in parts that fit into one statement."""
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


def row_of(
    connection: ConnectionRow, item: Watch | Unreadable, now: datetime
) -> tuple[WatchRow, PostRow | None]:
    """Return the rows of a viewing that has just become known."""
    row = WatchRow(
        account_id=connection.account_id,
        source=item.source,
        key=item.key,
        standing=Standing.UNREADABLE,
        title="Something that could not be read",
    )
    if isinstance(item, Unreadable):
        return row, None
    return row, settle(row, item, connection.start_at, now)


def settle(row: WatchRow, watch: Watch, start_at: datetime, now: datetime) -> PostRow | None:
    """Write ``watch`` into its row and return the post that is to tell of it, if any."""
    row.source, row.key = watch.source, watch.key
    row.title, row.work_key = caption(watch.work), work_key(watch.work)
    row.work, row.watched_at = to_json(watch.work), watch.watched_at
    row.about = about_to_json(watch.about) if watch.about else None
    row.standing, post = planned(watch.watched_at, start_at, now)
    return post_row(row, post) if post else None


def post_row(watch: WatchRow, post: Post) -> PostRow:
    """Return a new row for the post of ``watch``."""
    return PostRow(
        account_id=watch.account_id,
        state=post.state,
        due_at=post.due_at,
        trouble=post.trouble,
        why=post.why,
        watched_at=watch.watched_at,
    )


def watch_of(row: WatchRow) -> Watch | None:
    """Return the watch in a row, None for one that could not be read.

    Raises ValueError for a row that is damaged.
    """
    if row.work is None:
        return None
    about = about_from_json(row.about)
    return Watch(row.source, row.key, row.watched_at, from_json(row.work), about)


# Made once, see `store.posts`.
BEFORE = aliased(WatchRow)


async def earlier(
    session: AsyncSession, rows: Collection[WatchRow]
) -> dict[int, list[datetime | None]]:
    """Return by the id of each watch when its work was watched before, as far as is known.

    Of two in one minute, the one that was told first is the first. Before a watch without a date
    nothing is known.
    """
    found = await session.execute(
        select(col(WatchRow.id), col(BEFORE.watched_at))
        .join(
            BEFORE,
            (col(BEFORE.account_id) == col(WatchRow.account_id))
            & (col(BEFORE.work_key) == col(WatchRow.work_key)),
        )
        .where(
            col(WatchRow.id).in_([row.id for row in rows]),
            col(WatchRow.watched_at).is_not(None),
            col(BEFORE.id) != col(WatchRow.id),
            col(BEFORE.removed_at).is_(None),
            col(BEFORE.watched_at).is_(None)
            | (col(BEFORE.watched_at) < col(WatchRow.watched_at))
            | (
                (col(BEFORE.watched_at) == col(WatchRow.watched_at))
                & (col(BEFORE.id) < col(WatchRow.id))
            ),
        )
    )
    times: dict[int, list[datetime | None]] = {}
    for key, watched_at in found:
        times.setdefault(key or 0, []).append(watched_at)
    return times


async def last_of_each(session: AsyncSession, account_id: int) -> dict[str, WatchRow]:
    """Return the newest film and the newest episode among an account's last watches."""
    found = await session.scalars(
        select(WatchRow)
        .where(
            col(WatchRow.account_id) == account_id,
            col(WatchRow.work).is_not(None),
            col(WatchRow.watched_at).is_not(None),
        )
        .order_by(col(WatchRow.watched_at).desc(), col(WatchRow.id).desc())
        .limit(LAST)
    )
    last: dict[str, WatchRow] = {}
    for row in found:
        last.setdefault((row.work or {}).get("kind", ""), row)
    return last


async def one(session: AsyncSession, account_id: int, key: int) -> Listed | None:
    """Return an account's watch with its post."""
    found = await session.execute(listing(account_id).where(col(WatchRow.id) == key))
    row = found.one_or_none()
    return (row[0], row[1]) if row else None


async def page(
    session: AsyncSession,
    account_id: int,
    number: int,
    *,
    text: str = "",
    state: str = "",
    most: int = PER_PAGE,
) -> list[Listed]:
    """Return one page of an account's watches, newest first, those without a date last."""
    order = (col(WatchRow.watched_at).desc().nulls_last(), col(WatchRow.id).desc())
    # The pages before are passed over in an index; only what is shown is read as a whole.
    shown = (
        narrowed(select(col(WatchRow.id)), account_id, text, state)
        .order_by(*order)
        .limit(most)
        .offset((number - 1) * most)
        .subquery()
    )
    found = await session.execute(
        listing(account_id).join(shown, shown.c.id == col(WatchRow.id)).order_by(*order)
    )
    return [(row[0], row[1]) for row in found]


async def count(session: AsyncSession, account_id: int, *, text: str = "", state: str = "") -> int:
    """Return how many watches such a list has in all."""
    matching = narrowed(select(func.count(col(WatchRow.id))), account_id, text, state)
    return await session.scalar(matching) or 0


def listing(account_id: int) -> Select[WatchRow, PostRow]:
    """Select an account's watches with their posts."""
    return (
        select(WatchRow, PostRow)
        .outerjoin(PostRow, col(PostRow.id) == col(WatchRow.post_id))
        .where(col(WatchRow.account_id) == account_id)
    )


def narrowed(query: Listing, account_id: int, text: str, state: str) -> Listing:
    """Narrow watches to an account's, titles with all words of ``text``, one state or `REMOVED`."""
    query = query.where(col(WatchRow.account_id) == account_id)
    for word in text.split():
        query = query.where(col(WatchRow.title).icontains(word, autoescape=True))
    if state == REMOVED:
        query = query.where(col(WatchRow.removed_at).is_not(None))
    elif state in set(Standing):
        query = query.where(col(WatchRow.standing) == state)
    elif state:
        query = query.join(PostRow, col(PostRow.id) == col(WatchRow.post_id)).where(
            col(WatchRow.standing) == Standing.POSTED, col(PostRow.state) == state
        )
    return query


async def states(session: AsyncSession, account_id: int) -> dict[str, int]:
    """Return how many watches an account has in each state.

    Each post tells of one watch, so both are counted apart, in an index each.
    """
    standing, state = col(WatchRow.standing), col(PostRow.state)
    watches = await session.execute(
        select(standing, func.count())
        .where(col(WatchRow.account_id) == account_id, standing != Standing.POSTED)
        .group_by(standing)
    )
    posts = await session.execute(
        select(state, func.count()).where(col(PostRow.account_id) == account_id).group_by(state)
    )
    return {row[0]: row[1] for row in (*watches, *posts)}


async def sightings(session: AsyncSession, watch_id: int) -> list[SightingRow]:
    """Return what sources said about a watch, in the order in which they said it."""
    found = await session.scalars(
        select(SightingRow)
        .where(col(SightingRow.watch_id) == watch_id)
        .order_by(col(SightingRow.seen_at))
    )
    return list(found)


async def events(session: AsyncSession, watch_id: int) -> list[EventRow]:
    """Return a watch's timeline, oldest first."""
    found = await session.scalars(
        select(EventRow)
        .where(col(EventRow.watch_id) == watch_id)
        .order_by(col(EventRow.at), col(EventRow.id))
    )
    return list(found)


async def tell(session: AsyncSession, watch_id: int, said: str, at: datetime) -> None:
    """Add a line to a watch's timeline."""
    session.add(EventRow(watch_id=watch_id, said=said, at=at))


async def read_again(
    session: AsyncSession, row: WatchRow, item: Watch | Unreadable, now: datetime
) -> bool:
    """Write what a newer version reads in an unreadable item; return whether it could."""
    sighting = await session.scalar(
        select(SightingRow).where(col(SightingRow.watch_id) == row.id).limit(1)
    )
    if isinstance(item, Unreadable) or sighting is None:
        return False
    twin = select(col(SightingRow.id)).where(
        col(SightingRow.connection_id) == sighting.connection_id,
        col(SightingRow.key) == item.key,
        col(SightingRow.id) != sighting.id,
    )
    if await session.scalar(twin.limit(1)) is not None:
        return False
    connection = await session.get(ConnectionRow, sighting.connection_id)
    post = settle(row, item, connection.start_at if connection else now, now)
    if post:
        session.add(post)
        await session.flush()
        row.post_id = post.id
    await session.flush()
    sighting.key = item.key
    describe(sighting, item)
    await found.recognise(session, [row], now)
    return True
