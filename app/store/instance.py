"""The instance as a whole: is it alive, how much waits, and how its accounts are doing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, case, func, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped
from sqlmodel import col

from app.outbox import State
from app.tables import (
    AccountRow,
    ConnectionRow,
    HeartbeatRow,
    LeaseRow,
    NoticeRow,
    PostRow,
    SiteRow,
)

# How connections and sites are, in one word; what stops the most comes first.
CONNECTION_WORDS = ("locked", "troubled", "well", "disconnected")
SITE_WORDS = ("locked", "paused", "gated", "troubled", "well")


@dataclass(frozen=True, slots=True)
class Pulse:
    """Signs of life: the step of the schema, the scheduler's last beat, the oldest overdue poll.

    ``stretched``: seconds between two polls of one connection, where it is longer than wished.
    """

    revision: str | None
    beat_at: datetime | None
    overdue_since: datetime | None
    stretched: int | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is of everything, and for how long the oldest has been waiting."""

    accounts: int
    posts: Mapping[str, int]
    connections: Mapping[str, int]
    sites: Mapping[str, int]
    notices: Mapping[str, int]
    overdue: int
    due_post_since: datetime | None


@dataclass(frozen=True, slots=True)
class Doing:
    """One account, and how it is doing; ``connection`` is the one that is linked, if any is."""

    account: AccountRow
    site: SiteRow
    connection: ConnectionRow | None
    posts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Engine:
    """The database itself."""

    kind: str
    version: str
    size: int  # bytes


async def pulse(session: AsyncSession, now: datetime) -> Pulse:
    """Return the signs of life, in one statement: a platform asks for them every few seconds."""
    step: Select[str] = select(literal_column("version_num")).select_from(text("alembic_version"))
    oldest = select(func.min(col(ConnectionRow.next_poll_at))).where(*overdue(now))
    row = (
        await session.execute(
            select(
                step.scalar_subquery(),
                select(col(HeartbeatRow.at)).scalar_subquery(),
                oldest.scalar_subquery(),
                select(col(HeartbeatRow.stretched)).scalar_subquery(),
            )
        )
    ).one()
    return Pulse(*row)


def overdue(now: datetime) -> list[ColumnElement[bool]]:
    """Return what makes a poll one that should have begun: due, not under way, and allowed."""
    until = col(ConnectionRow.polling_until)
    return [
        col(ConnectionRow.next_poll_at) <= now,
        col(ConnectionRow.locked).is_(None),
        until.is_(None) | (until <= now),
    ]


async def counts(session: AsyncSession, now: datetime) -> Counts:
    """Return how much there is of everything: a look at whole tables, so not for every request."""
    connection = case(
        (col(ConnectionRow.sealed_tokens).is_(None), "disconnected"),
        (col(ConnectionRow.locked).is_not(None), "locked"),
        (col(ConnectionRow.trouble).is_not(None), "troubled"),
        else_="well",
    )
    site = case(
        (col(SiteRow.locked).is_not(None), "locked"),
        (col(SiteRow.paused).is_not(None), "paused"),
        (col(SiteRow.gate_at).is_not(None), "gated"),
        (col(SiteRow.trouble).is_not(None), "troubled"),
        else_="well",
    )
    is_open = col(NoticeRow.closed_at).is_(None)
    late = select(func.count()).select_from(ConnectionRow).where(*overdue(now))
    return Counts(
        accounts=await session.scalar(select(func.count()).select_from(AccountRow)) or 0,
        posts=await grouped(session, col(PostRow.state)),
        connections=await grouped(session, connection),
        sites=await grouped(session, site),
        notices=await grouped(session, col(NoticeRow.kind), is_open),
        overdue=await session.scalar(late) or 0,
        due_post_since=await due_post_since(session, now),
    )


async def grouped(
    session: AsyncSession, word: ColumnElement[str] | Mapped[str], *which: ColumnElement[bool]
) -> dict[str, int]:
    """Return how many rows there are for each ``word``."""
    named = word.label("word")
    rows = await session.execute(
        select(named, func.count()).where(*which).group_by(literal_column("word"))
    )
    return {row[0]: row[1] for row in rows}


async def due_post_since(session: AsyncSession, now: datetime) -> datetime | None:
    """Return since when the oldest post waits that nothing keeps back but the ones before it."""
    resume_at = col(SiteRow.resume_at)
    return await session.scalar(
        select(func.min(col(PostRow.due_at)))
        .join(SiteRow, col(SiteRow.account_id) == col(PostRow.account_id))
        .where(
            col(PostRow.state) == State.QUEUED,
            col(PostRow.due_at) <= now,
            col(SiteRow.locked).is_(None),
            col(SiteRow.paused).is_(None),
            col(SiteRow.gate_at).is_(None),
            resume_at.is_(None) | (resume_at <= now),
        )
    )


def age(since: datetime | None, now: datetime) -> timedelta:
    """Return how long ago something was; nothing was never, and a clock set back counts as now."""
    return max(now - since, timedelta()) if since else timedelta()


async def doing(
    session: AsyncSession, page: int, *, troubled: bool, most: int
) -> tuple[int, list[Doing]]:
    """Return how many accounts there are, and how those of one page, counted from 1, are doing.

    ``troubled``: only those that somebody or something keeps from going on.
    """
    linked = (col(ConnectionRow.account_id) == col(AccountRow.id)) & col(
        ConnectionRow.sealed_tokens
    ).is_not(None)
    found = (
        select(AccountRow, SiteRow, ConnectionRow)
        .join(SiteRow, col(SiteRow.account_id) == col(AccountRow.id))
        .outerjoin(ConnectionRow, linked)
        .where(*([is_troubled()] if troubled else []))
    )
    total = await session.scalar(select(func.count()).select_from(found.subquery())) or 0
    shown = found.order_by(col(AccountRow.id)).limit(most).offset((page - 1) * most)
    rows = (await session.execute(shown)).all()
    states = await posts_of(session, [account.id or 0 for account, _, _ in rows])
    return total, [
        Doing(account, site, connection, states.get(account.id or 0, {}))
        for account, site, connection in rows
    ]


def is_troubled() -> ColumnElement[bool]:
    """Return what makes an account one with trouble."""
    reasons = [
        *(SiteRow.locked, SiteRow.paused, SiteRow.gate_at, SiteRow.trouble),
        *(ConnectionRow.locked, ConnectionRow.trouble),
    ]
    return or_(*(col(reason).is_not(None) for reason in reasons))


async def posts_of(session: AsyncSession, accounts: list[int]) -> dict[int, dict[str, int]]:
    """Return how many posts of each state each of some accounts has."""
    states: dict[int, dict[str, int]] = {}
    rows = await session.execute(
        select(col(PostRow.account_id), col(PostRow.state), func.count())
        .where(col(PostRow.account_id).in_(accounts))
        .group_by(col(PostRow.account_id), col(PostRow.state))
    )
    for account_id, state, number in rows:
        states.setdefault(account_id, {})[state] = number
    return states


async def engine(session: AsyncSession) -> Engine:
    """Return what kind of database this is, and how large it has become."""
    if session.get_bind().dialect.name == "sqlite":
        pages = "(SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size())"
        asked = f"SELECT 'SQLite', sqlite_version(), {pages}"
    else:
        asked = (
            "SELECT 'PostgreSQL', current_setting('server_version'), "
            "pg_database_size(current_database())"
        )
    return Engine(*(await session.execute(text(asked))).one())


async def holder(session: AsyncSession) -> str | None:
    """Return who took the scheduler's lease last, None when it was given back."""
    return await session.scalar(select(col(LeaseRow.owner)))
