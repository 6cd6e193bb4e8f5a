"""The browsers that are signed in: whose, since when, last used when, and how that ends.

A session ends some time after it was last used, and in any case some time after its sign-in:
``expires_at`` is the sooner of the two, and moves on while the browser is used.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.tables import AccountRow, SessionRow

# The bridge is looked at now and then, and works by itself in between.
LIFE = timedelta(days=180)
IDLE = timedelta(days=30)
# Each use is noted no more often than this: reading pages shall write nothing.
NOTED = timedelta(hours=1)
# Nobody has more browsers; beyond it the one that was used longest ago is signed out.
MOST = 50


async def begin(
    session: AsyncSession, digest: str, account_id: int, browser: str, now: datetime
) -> None:
    """Note a signed-in browser."""
    beyond = await session.scalars(
        select(col(SessionRow.digest))
        .where(col(SessionRow.account_id) == account_id)
        .order_by(col(SessionRow.seen_at).desc())
        .offset(MOST - 1)
    )
    await session.execute(delete(SessionRow).where(col(SessionRow.digest).in_(beyond.all())))
    session.add(
        SessionRow(
            digest=digest,
            account_id=account_id,
            expires_at=now + IDLE,
            signed_in_at=now,
            seen_at=now,
            browser=browser,
        )
    )


async def find(
    session: AsyncSession, digest: str, now: datetime
) -> tuple[SessionRow, AccountRow] | None:
    """Return the session with this digest, and whose browser it is."""
    found = await session.execute(
        select(SessionRow, AccountRow)
        .join(AccountRow, col(AccountRow.id) == col(SessionRow.account_id))
        .where(col(SessionRow.digest) == digest, col(SessionRow.expires_at) > now)
    )
    row = found.one_or_none()
    return (row[0], row[1]) if row else None


async def note(session: AsyncSession, found: SessionRow, now: datetime) -> None:
    """Note that a browser is used, so that its session goes on; one that has ended stays so."""
    until = min(found.signed_in_at + LIFE, now + IDLE)
    await session.execute(
        update(SessionRow)
        .where(col(SessionRow.digest) == found.digest)
        .values(seen_at=now, expires_at=until)
    )


async def of_account(session: AsyncSession, account_id: int, now: datetime) -> Sequence[SessionRow]:
    """Return the browsers of an account, the one that was used last first."""
    found = await session.scalars(
        select(SessionRow)
        .where(col(SessionRow.account_id) == account_id, col(SessionRow.expires_at) > now)
        .order_by(col(SessionRow.seen_at).desc(), col(SessionRow.signed_in_at).desc())
    )
    return found.all()


async def end(session: AsyncSession, digest: str) -> None:
    """Sign one browser out."""
    await session.execute(delete(SessionRow).where(col(SessionRow.digest) == digest))


async def end_of_account(session: AsyncSession, account_id: int, digest: str) -> None:
    """Sign one browser of an account out; that of somebody else is left alone."""
    await session.execute(
        delete(SessionRow).where(
            col(SessionRow.digest) == digest, col(SessionRow.account_id) == account_id
        )
    )


async def end_all(session: AsyncSession, account_id: int | None = None) -> None:
    """Sign all browsers of an account out; without one, those of everybody."""
    whose = true() if account_id is None else col(SessionRow.account_id) == account_id
    await session.execute(delete(SessionRow).where(whose))
