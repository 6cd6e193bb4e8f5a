"""The scheduler's lease: of all processes on one database one at a time claims what is due.

Each row that is claimed carries a lease of its own, so two schedulers would do nothing twice;
but each would count Trakt's budget for itself, and they would take SQLite's one writer in turns.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Session, col

from app.tables import LeaseRow


def is_over(row: LeaseRow, now: datetime, length: timedelta) -> bool:
    """Tell whether a lease of this length has ended.

    One that would last longer than any can was written before the clock was set back; the
    double length leaves room for clocks of two machines that differ a little.
    """
    return not now < row.until <= now + 2 * length


async def holder(session: AsyncSession, now: datetime, length: timedelta) -> LeaseRow | None:
    """Return the lease that holds now, None when nobody has one."""
    row = await session.get(LeaseRow, 1)
    return None if row is None or is_over(row, now, length) else row


async def take(
    session: AsyncSession, owner: str, now: datetime, length: timedelta
) -> LeaseRow | None:
    """Take or renew the lease for ``owner``; return that of another one who holds it instead."""
    row = await session.scalar(select(LeaseRow).with_for_update())
    if row is None:
        try:
            async with session.begin_nested():
                session.add(LeaseRow(owner=owner, until=now + length))
        except IntegrityError:
            # Another process began at the same moment.
            return await session.get(LeaseRow, 1)
        return None
    if row.owner != owner and not is_over(row, now, length):
        return row
    row.owner, row.until = owner, now + length
    return None


async def release(session: AsyncSession, owner: str) -> None:
    """Give the lease back, if it is still ``owner``'s."""
    await session.execute(delete(LeaseRow).where(col(LeaseRow.owner) == owner))


def found(connection: Connection, now: datetime, length: timedelta) -> str | None:
    """Return the process that is the scheduler, for a command; also of an older schema."""
    if not inspect(connection).has_table(LeaseRow.__tablename__):
        return None
    row = Session(connection).get(LeaseRow, 1)
    return None if row is None or is_over(row, now, length) else row.owner
