"""What is sealed in the rows, by which key, and what a lost key means for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped
from sqlmodel import col

from app.grants import UNREADABLE
from app.notices import Kind
from app.store import connections, notices
from app.store.grants import Row
from app.tables import AccountRow, ConnectionRow, HeartbeatRow, LeaseRow, SiteRow, WorkerRow
from app.vault import Vault

# A scheduler beats once a minute: one that was silent for longer is not running.
ALIVE = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Place:
    """A column of sealed texts, and what its person does when no key opens one."""

    column: Mapped[str | None]
    key: Mapped[int | None]
    account_id: Mapped[int | None]
    mend: str


# The annotations of SQLModel's fields are those of their values; `col` makes them columns.
PLACES: tuple[Place, ...] = (
    Place(
        col(SiteRow.sealed_tokens),
        col(SiteRow.account_id),
        col(SiteRow.account_id),
        "must sign in again",
    ),
    Place(
        col(ConnectionRow.sealed_tokens),
        col(ConnectionRow.id),
        col(ConnectionRow.account_id),
        "must connect Trakt again",
    ),
    Place(
        col(AccountRow.sealed_notify_urls),
        col(AccountRow.id),
        col(AccountRow.id),
        "must add where to be told again, in the settings",
    ),
)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed text: in which row, and whose."""

    key: int
    text: str
    me: str


async def some(session: AsyncSession, place: Place, after: int, most: int) -> list[Sealed]:
    """Return up to ``most`` sealed texts of a column, from rows whose key is past ``after``."""
    found = await session.execute(
        select(place.key, place.column, col(AccountRow.me))
        .where(col(AccountRow.id) == place.account_id, place.column.is_not(None), place.key > after)
        .order_by(place.key)
        .limit(most)
    )
    return [Sealed(key or 0, text or "", me) for key, text, me in found]


async def replace(session: AsyncSession, place: Place, old: Sealed, text: str) -> bool:
    """Put ``text`` in place of ``old``; return False when that has changed meanwhile.

    One statement decides, so a newer pair of tokens is never overwritten.
    """
    done = await session.execute(
        update(place.column.class_)  # type: ignore[attr-defined] # a column of a table has one
        .where(place.key == old.key, place.column == old.text)
        .values({place.column: text})
        .returning(place.key)
        .execution_options(synchronize_session=False)
    )
    return done.first() is not None


async def strangers(session: AsyncSession, vault: Vault, now: datetime) -> bool:
    """Tell whether a scheduler works on this database that does not seal with our newest key."""
    beat = await session.get(HeartbeatRow, 1)
    if beat is None or beat.at <= now - ALIVE or beat.key_name == vault.key_name:
        return False
    # Whoever ended in peace has given the lease back, and is no worker any more.
    left = or_(select(LeaseRow).exists(), select(WorkerRow).exists())
    return bool(await session.scalar(select(left)))


async def misjudged(session: AsyncSession, vault: Vault) -> dict[Row, list[int]]:
    """Return the rows whose tokens no key opens and that do not say so, or the other way round."""
    found: dict[Row, list[int]] = {}
    for row, key in ((SiteRow, SiteRow.account_id), (ConnectionRow, ConnectionRow.id)):
        told: Sequence[Any] = (
            await session.execute(
                select(col(key), col(row.sealed_tokens), col(row.locked)).where(
                    col(row.sealed_tokens).is_not(None)
                )
            )
        ).all()
        found[row] = [key for key, text, locked in told if is_wrong(text, locked, vault)]
    return found


def is_wrong(text: str | None, locked: str | None, vault: Vault) -> bool:
    """Tell whether a row that is ``locked`` so says the wrong thing about its sealed text."""
    if text is None:
        return False
    says_lost = (locked or "").startswith(UNREADABLE)
    return says_lost if vault.open(text) is not None else locked is None


async def judge(session: AsyncSession, row: Row, key: int, vault: Vault, now: datetime) -> None:
    """Write whether the tokens of a row can be opened, and tell its person once."""
    found: SiteRow | ConnectionRow | None = await session.get(row, key, with_for_update=True)
    if found is None or not is_wrong(found.sealed_tokens, found.locked, vault):
        return
    is_site = isinstance(found, SiteRow)
    kind = Kind.SITE if is_site else Kind.TRAKT
    if found.locked is None:
        found.locked = UNREADABLE
        do = "Sign in again with your website" if is_site else "Connect Trakt again"
        said = f"{UNREADABLE}. {do}; nothing is missed."
        await notices.open_one(session, found.account_id, kind, said, now)
        return
    found.locked = found.trouble = None
    if isinstance(found, ConnectionRow):
        connections.resume(found, now)
    await notices.close(session, found.account_id, kind, now)
