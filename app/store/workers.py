"""The processes that share the work: each says that it is there, so that all know how many.

Nothing is handed out by this: each row that is claimed carries a lease of its own. It tells how
many addresses ask Trakt, and shows the operator who works.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.tables import ConnectionRow, HeartbeatRow, WorkerRow


async def announce(session: AsyncSession, name: str, until: datetime) -> None:
    """Note that a process works, and until when that is believed."""
    await session.merge(WorkerRow(name=name, until=until))


async def leave(session: AsyncSession, name: str, now: datetime) -> None:
    """Forget a process that ends, and all that ended without a word."""
    worker = (col(WorkerRow.name) == name) | (col(WorkerRow.until) <= now)
    await session.execute(delete(WorkerRow).where(worker))


async def count(session: AsyncSession, now: datetime) -> int:
    """Return how many processes work now."""
    found = select(func.count()).select_from(WorkerRow).where(col(WorkerRow.until) > now)
    return await session.scalar(found) or 0


async def connections(session: AsyncSession) -> int:
    """Return how many connections are asked again and again."""
    found = select(func.count()).where(
        col(ConnectionRow.next_poll_at).is_not(None), col(ConnectionRow.locked).is_(None)
    )
    return await session.scalar(found) or 0


async def stretch(session: AsyncSession, interval: timedelta | None) -> None:
    """Note how often each connection is asked; None: as wished."""
    row = await session.get(HeartbeatRow, 1)
    if row is not None:
        row.stretched = None if interval is None else int(interval.total_seconds())


async def stretched(session: AsyncSession) -> timedelta | None:
    """Return how often each connection is asked, None: as wished."""
    seconds = await session.scalar(select(col(HeartbeatRow.stretched)))
    return None if seconds is None else timedelta(seconds=seconds)
