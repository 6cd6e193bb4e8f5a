"""The instance as a whole: is it alive, how much waits, and how its accounts are doing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, case, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped
from sqlmodel import col

from app.outbox import State
from app.tables import AccountRow, ConnectionRow, HeartbeatRow, NoticeRow, PostRow, SiteRow

# How connections and sites are, in one word; what stops the most comes first.
CONNECTION_WORDS = ("locked", "troubled", "well", "disconnected")
SITE_WORDS = ("locked", "paused", "gated", "troubled", "well")


@dataclass(frozen=True, slots=True)
class Pulse:
    """Signs of life: the step of the schema, the scheduler's last beat, the oldest overdue poll."""

    revision: str | None
    beat_at: datetime | None
    overdue_since: datetime | None


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
