"""What wants to be done now, and when something will next: one statement for all of it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, exists, func, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped
from sqlmodel import col

from app.outbox import State
from app.store import looks
from app.tables import ConnectionRow, NoticeRow, PostRow, SiteRow

# The states in which a post's time means something.
WAITING = (State.HELD, State.QUEUED, State.SENDING)


@dataclass(frozen=True, slots=True)
class Agenda:
    """What may want to be done now, and the first time after now at which something does."""

    polls: bool
    archives: bool
    looks: bool
    posts: bool
    notices: bool
    next_at: datetime | None


async def read(session: AsyncSession, now: datetime) -> Agenda:
    """Return what the rows say, without a lock: whoever claims finds out whether it is so."""
    found = (await session.execute(EVERYTHING, {"now": now})).one()
    polls, archives, looks_, posts, notices, *times = found
    return Agenda(
        polls=polls,
        archives=archives,
        looks=looks_,
        posts=posts,
        notices=notices,
        next_at=min((when for when in times if when), default=None),
    )


Time = Mapped[datetime] | Mapped[datetime | None]


def due(column: Time, *only: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether the time in a column has come for some row."""
    return exists().where(column <= NOW, *only)


def following(column: Time, *only: ColumnElement[bool]) -> ColumnElement[datetime | None]:
    """Return the first time in a column that has not come yet."""
    return select(func.min(column)).where(column > NOW, *only).scalar_subquery()


NOW: ColumnElement[datetime] = bindparam("now", type_=inspect(PostRow).c.due_at.type)
OPEN = col(ConnectionRow.locked).is_(None)
UNTOLD = col(NoticeRow.closed_at).is_(None)
# Made once: to put a statement together costs more than to execute it.
EVERYTHING = select(
    due(
        col(ConnectionRow.next_poll_at),
        OPEN,
        col(ConnectionRow.polling_until).is_(None) | (col(ConnectionRow.polling_until) <= NOW),
    ),
    due(col(ConnectionRow.archive_due_at), OPEN),
    exists().where(*looks.due(NOW)),
    exists().where(col(PostRow.state).in_(WAITING), col(PostRow.due_at) <= NOW),
    due(col(NoticeRow.tell_at), UNTOLD),
    following(col(ConnectionRow.next_poll_at), OPEN),
    following(col(ConnectionRow.archive_due_at), OPEN),
    following(col(SiteRow.look_due_at)),
    following(col(SiteRow.looking_until), col(SiteRow.look_due_at).is_not(None)),
    # One by one: each is then a single look into the index.
    *(following(col(PostRow.due_at), col(PostRow.state) == state) for state in WAITING),
    following(col(SiteRow.resume_at)),
    following(col(SiteRow.next_send_at)),
    following(col(NoticeRow.tell_at), UNTOLD),
)
