"""Connections: whose turn it is to be polled, and how far each has been read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.diff import Target
from app.grants import Pair
from app.notices import Kind
from app.store import grants, notices, sightings
from app.tables import AccountRow, ConnectionRow
from app.vault import Vault
from app.watch import Person, Stamps

# Trakt leaves open whether ``end_at`` includes its instant: the archive asks a little further.
MARGIN = timedelta(minutes=1)


@dataclass(slots=True)
class Turn:
    """One claimed turn; what it finds is saved only while the lease is still its own.

    ``connection`` is the row as it was when it was claimed, at ``at``. ``doubts`` are plays that
    the source did not show before, due to be asked for once more. ``is_reading``: it found the
    stamps changed and reads the rest.
    """

    connection: ConnectionRow
    at: datetime
    until: datetime
    doubts: frozenset[Target] = frozenset()
    is_reading: bool = False

    @property
    def id(self) -> int:
        """The connection's id."""
        return self.connection.id or 0


@dataclass(frozen=True, slots=True)
class Start:
    """From when on watches become posts, by the source's clock; ``now`` is our own.

    ``afresh``: also for a user who resumes, so that what lies before is archived.
    """

    at: datetime
    now: datetime
    afresh: bool = False


async def connect(
    session: AsyncSession,
    account_id: int,
    person: Person,
    pair: Pair,
    vault: Vault,
    start: Start,
) -> list[Pair] | None:
    """Link an account to a Trakt user; return the tokens this replaces, None: it is gone.

    The same user resumes: archive, cursor and start rule stay, unless the start is ``afresh``.
    Another user of the same account is disconnected.
    """
    # Before the account, as polls do that open a notice: otherwise each may wait for the other.
    await of_account(session, account_id, lock=True)
    # Locked, so that two connects follow each other; a poll may add watches meanwhile.
    account = await session.get(AccountRow, account_id, with_for_update={"key_share": True})
    if account is None:
        return None
    replaced, found = [], None
    rows = await of_account(session, account_id)
    if not rows:
        account.timezone = person.timezone
    for row in rows:
        if old := grants.pair_of(row, vault):
            replaced.append(old)
        if row.source_user == person.key:
            found = row
        else:
            unlink(row)
    if found is None:
        found = ConnectionRow(
            account_id=account_id,
            source=person.source,
            source_user=person.key,
            source_name=person.name,
            start_at=start.at,
            cursor=start.at,
            archive_page=1,
            archive_end_at=start.at + MARGIN,
            archive_due_at=start.now,
        )
        session.add(found)
    elif start.afresh:
        found.start_at = start.at
    found.source_name = person.name
    resume(found, start.now)
    grants.put(found, pair, vault)
    await notices.close(session, account_id, Kind.TRAKT, start.now)
    await notices.close(session, account_id, Kind.CLOSED, start.now)
    return replaced


def resume(row: ConnectionRow, now: datetime) -> None:
    """Let a connection be read from now on, whatever kept it waiting."""
    row.next_poll_at = now
    if row.archive_page is not None:
        row.archive_due_at = now
    row.failures, row.archive_failures = 0, 0
    row.polling_until = row.resume_at = None


async def lock(session: AsyncSession, row: ConnectionRow, reason: str, now: datetime) -> None:
    """Ask nothing more until the person has connected again, and tell them once."""
    row.locked = reason
    said = f"Nothing new is read from Trakt: {reason}. Connect Trakt again; nothing is missed."
    await notices.open_one(session, row.account_id, Kind.TRAKT, said, now)


async def disconnect(
    session: AsyncSession, account_id: int, vault: Vault, now: datetime
) -> list[Pair]:
    """Forget the tokens of an account's connections; return them, to be revoked.

    What is known of the history stays, so that connecting again resumes.
    """
    rows = await of_account(session, account_id)
    pairs = [pair for row in rows if (pair := grants.pair_of(row, vault))]
    for row in rows:
        unlink(row)
    for kind in (Kind.TRAKT, Kind.ABSENT, Kind.CLOSED):
        await notices.close(session, account_id, kind, now)
    return pairs


def unlink(row: ConnectionRow) -> None:
    """Take the tokens out of a connection; nothing is asked with it any more."""
    row.sealed_tokens = row.next_poll_at = row.archive_due_at = None
    row.locked = row.trouble = row.refreshing_until = row.polling_until = None


async def of_account(
    session: AsyncSession, account_id: int, *, lock: bool = False
) -> list[ConnectionRow]:
    """Return an account's connections, the linked one first."""
    rows = (
        select(ConnectionRow)
        .where(col(ConnectionRow.account_id) == account_id)
        .order_by(col(ConnectionRow.id))
    )
    found = await session.scalars(rows.with_for_update() if lock else rows)
    return sorted(found, key=lambda row: row.sealed_tokens is None)


async def poll_now(session: AsyncSession, account_id: int, now: datetime) -> datetime | None:
    """Make an account's connection due; return from when on it may be asked, None if never.

    A person's wish does not outweigh a wait that the source asked for.
    """
    row = await linked(session, account_id)
    return be_polled(row, now) if row else None


async def hasten(session: AsyncSession, now: datetime, until: datetime | None = None) -> None:
    """Make due what would be due by ``until``, except what the source asked us to wait with."""
    column = col(ConnectionRow.next_poll_at)
    await session.execute(
        update(ConnectionRow)
        .where(
            column > now,
            column <= until if until else true(),
            col(ConnectionRow.resume_at).is_(None) | (col(ConnectionRow.resume_at) <= now),
        )
        .values(next_poll_at=now)
    )


async def linked(session: AsyncSession, account_id: int) -> ConnectionRow | None:
    """Return an account's connection that may be asked, locked; None when there is none."""
    return await session.scalar(
        select(ConnectionRow)
        .where(
            col(ConnectionRow.account_id) == account_id,
            col(ConnectionRow.sealed_tokens).is_not(None),
            col(ConnectionRow.locked).is_(None),
        )
        .with_for_update()
    )


def be_polled(row: ConnectionRow, now: datetime) -> datetime:
    """Make a connection due, not before the source may be asked; return when."""
    row.next_poll_at = max(now, row.resume_at or now)
    return row.next_poll_at


def to_be_polled(now: datetime) -> list[ColumnElement[bool]]:
    """Return what makes a connection one whose poll is due, and that nobody polls."""
    return [
        col(ConnectionRow.next_poll_at) <= now,
        col(ConnectionRow.polling_until).is_(None) | (col(ConnectionRow.polling_until) <= now),
    ]


async def due(session: AsyncSession, now: datetime, most: int) -> Sequence[int]:
    """Return the ids of up to ``most`` connections to be polled, the longest overdue first."""
    found = await session.scalars(
        select(col(ConnectionRow.id))
        .where(*to_be_polled(now), col(ConnectionRow.locked).is_(None))
        .order_by(col(ConnectionRow.next_poll_at))
        .limit(most)
    )
    return [one or 0 for one in found]


async def claim_polls(
    session: AsyncSession,
    now: datetime,
    until: datetime,
    most: int,
    only: Collection[int] | None = None,
) -> list[Turn]:
    """Take up to ``most`` connections whose poll is due, the longest overdue first.

    ``only``: of those with these ids.
    """
    among = true() if only is None else col(ConnectionRow.id).in_(only)
    ours = select(ConnectionRow).where(*to_be_polled(now), among)
    rows = await claimable(session, ours.order_by(col(ConnectionRow.next_poll_at)).limit(most))
    for row in rows:
        row.polling_until = until
    await session.flush()
    doubts = await sightings.doubted(session, [row.id or 0 for row in rows], now)
    return [Turn(row, now, until, frozenset(doubts.get(row.id or 0, ()))) for row in rows]


async def claimable(session: AsyncSession, due: Select[ConnectionRow]) -> Sequence[ConnectionRow]:
    """Return the rows of ``due`` that no person is waited for, locked."""
    # Postgres: step over the rows other workers hold. SQLite has a single writer, and
    # SQLAlchemy leaves this clause out there.
    open_ones = due.where(col(ConnectionRow.locked).is_(None)).with_for_update(skip_locked=True)
    return (await session.scalars(open_ones)).all()


async def hold(session: AsyncSession, turn: Turn) -> ConnectionRow | None:
    """Return the row of a turn for saving, None when the turn is no longer ours."""
    return (await hold_all(session, [turn])).get(turn.id)


async def hold_all(session: AsyncSession, turns: Sequence[Turn]) -> dict[int, ConnectionRow]:
    """Return, by their ids, the rows of the turns that are still ours, for saving."""
    rows = await session.scalars(
        select(ConnectionRow)
        .where(
            col(ConnectionRow.id).in_([turn.id for turn in turns]),
            col(ConnectionRow.sealed_tokens).is_not(None),
        )
        .order_by(col(ConnectionRow.id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    until = {turn.id: turn.until for turn in turns}
    return {row.id or 0: row for row in rows if row.polling_until == until[row.id or 0]}


async def park(session: AsyncSession, turn: Turn) -> None:
    """Give back a turn that was cut short: it is due at once, for whoever comes next."""
    if row := await hold(session, turn):
        row.polling_until = None


async def park_archive(session: AsyncSession, turn: Turn, now: datetime) -> None:
    """Give back an archive turn that was cut short."""
    if row := await hold_archive(session, turn):
        row.archive_due_at = now


def polled(row: ConnectionRow, turn: Turn, now: datetime, next_poll_at: datetime) -> None:
    """Note a poll that went well and give the turn back."""
    row.polled_at = now
    row.polling_until = row.trouble = row.resume_at = None
    row.failures = 0
    # Someone asked to check now while we were checking: their wish stands.
    if row.next_poll_at == turn.connection.next_poll_at:
        row.next_poll_at = next_poll_at


def read_anew(row: ConnectionRow, now: datetime) -> None:
    """Let the archive be read once more from its first page; what is known changes nothing.

    Also one that is being read: the change may lie on a page that is done.
    """
    row.archive_page, row.archive_end_at, row.archive_due_at = 1, None, now


def is_read_anew(row: ConnectionRow) -> bool:
    """Tell whether the archive is being read once more; the first time it has an end."""
    return row.archive_page is not None and row.archive_end_at is None


def looked(row: ConnectionRow, stamps: Stamps, *, final: bool, now: datetime) -> None:
    """Note that the history was read up to ``stamps``; only final ones end the looking."""
    row.looked_at = now
    if final:
        row.movies_stamp, row.episodes_stamp = stamps.movies, stamps.episodes


async def unread(session: AsyncSession, account_ids: Collection[int]) -> set[int]:
    """Return those of these accounts whose whole history has not been read and compared yet."""
    found = await session.scalars(
        select(col(ConnectionRow.account_id)).where(
            col(ConnectionRow.account_id).in_(account_ids),
            col(ConnectionRow.archive_page).is_not(None) | col(ConnectionRow.checked_at).is_(None),
        )
    )
    return set(found)


def began(row: ConnectionRow, turn: Turn) -> None:
    """Note that a turn has begun to read; what becomes known from then on does so together."""
    if turn.is_reading and row.reading_since is None:
        row.reading_since = turn.at


async def check_all(session: AsyncSession, account_id: int, now: datetime) -> datetime | None:
    """Let everything be compared with the source, as `poll_now` makes a poll due."""
    row = await linked(session, account_id)
    if row is None:
        return None
    # What was odd is asked for again.
    row.oddities, row.diff_due_at = None, now
    return be_polled(row, now)


async def believe(session: AsyncSession, account_id: int, now: datetime) -> datetime | None:
    """Believe, as the person says, that what the source no longer shows is gone.

    Each play is asked for by id all the same, twice. Returns as `poll_now`.
    """
    row = await linked(session, account_id)
    if row is None:
        return None
    row.believes_absences, row.diff_due_at = True, now
    await notices.close(session, account_id, Kind.ABSENT, now)
    return be_polled(row, now)


async def claim_archives(
    session: AsyncSession, now: datetime, until: datetime, most: int
) -> list[Turn]:
    """Take up to ``most`` connections whose archive has a page to be read."""
    due = select(ConnectionRow).where(col(ConnectionRow.archive_due_at) <= now)
    rows = await claimable(session, due.order_by(col(ConnectionRow.archive_due_at)).limit(most))
    for row in rows:
        row.archive_due_at = until
    await session.flush()
    return [Turn(row, now, until) for row in rows]


async def hold_archive(session: AsyncSession, turn: Turn) -> ConnectionRow | None:
    """Return the row of an archive turn for saving, None when the turn is no longer ours."""
    return await session.scalar(
        select(ConnectionRow)
        .where(
            col(ConnectionRow.id) == turn.connection.id,
            col(ConnectionRow.archive_due_at) == turn.until,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
