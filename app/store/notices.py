"""Notices: what a person is told or asked, once, until it is over."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.notices import Kind
from app.tables import AccountRow, ConnectionRow, NoticeRow, SiteRow
from app.vault import Vault


@dataclass(frozen=True, slots=True)
class Claim:
    """One account's notices that are ours to tell, as long as they carry our lease."""

    account_id: int
    keys: tuple[int, ...]
    until: datetime


async def open_one(
    session: AsyncSession,
    account_id: int,
    kind: Kind,
    said: str,
    now: datetime,
    subject: str = "",
) -> NoticeRow | None:
    """Return the open notice of this kind and subject, made and due to be told if there is none.

    None: the account is gone. Opening it again while it is open changes what it says, and tells
    nobody a second time.
    """
    # Locked, so that of two that open it at once the second one finds it.
    account = await session.get(AccountRow, account_id, with_for_update={"key_share": True})
    if account is None:
        return None
    found = await session.scalar(
        select(NoticeRow).where(*identity(account_id, kind, subject)).with_for_update()
    )
    if found is None:
        found = NoticeRow(
            account_id=account_id,
            kind=kind,
            subject=subject,
            said=said,
            opened_at=now,
            tell_at=now,
        )
        session.add(found)
    elif found.closed_at is not None:
        found.opened_at = found.tell_at = now
        found.closed_at, found.tries = None, 0
    found.said = said
    await session.flush()
    return found


async def tell_of_lock(
    session: AsyncSession, row: type[SiteRow | ConnectionRow], key: int, now: datetime
) -> None:
    """Tell a person, once, that a key of theirs is lost, if it is."""
    found: SiteRow | ConnectionRow | None = await session.get(row, key, populate_existing=True)
    if found is None or found.locked is None:
        return
    kind, do = Kind.SITE, "Sign in again with your website; what waits is sent then."
    if isinstance(found, ConnectionRow):
        kind, do = Kind.TRAKT, "Connect Trakt again; nothing is missed."
    await open_one(session, found.account_id, kind, f"{found.locked}. {do}", now)


async def close(
    session: AsyncSession, account_id: int, kind: Kind, now: datetime, subject: str = ""
) -> None:
    """End a notice, if it is open; what was not told yet need not be told any more."""
    found = await session.scalar(
        select(NoticeRow)
        .where(*identity(account_id, kind, subject), col(NoticeRow.closed_at).is_(None))
        .with_for_update()
    )
    if found is not None:
        found.closed_at, found.tell_at = now, None
        await session.flush()


async def open_ones(session: AsyncSession, account_id: int) -> list[NoticeRow]:
    """Return what an account is being told or asked, oldest first."""
    found = await session.scalars(
        select(NoticeRow)
        .where(col(NoticeRow.account_id) == account_id, col(NoticeRow.closed_at).is_(None))
        .order_by(col(NoticeRow.opened_at), col(NoticeRow.id))
    )
    return list(found)


async def accounts_with(
    session: AsyncSession, account_ids: Collection[int], kinds: Collection[Kind]
) -> set[int]:
    """Return those of the accounts that have an open notice of one of these kinds."""
    found = await session.scalars(
        select(col(NoticeRow.account_id)).where(
            col(NoticeRow.account_id).in_(account_ids),
            col(NoticeRow.kind).in_(kinds),
            col(NoticeRow.closed_at).is_(None),
        )
    )
    return set(found)


async def one(session: AsyncSession, account_id: int, key: int) -> NoticeRow | None:
    """Return an account's open notice by its id, locked until the transaction ends."""
    return await session.scalar(
        select(NoticeRow)
        .where(
            col(NoticeRow.id) == key,
            col(NoticeRow.account_id) == account_id,
            col(NoticeRow.closed_at).is_(None),
        )
        .with_for_update()
    )


async def seen(session: AsyncSession, account_id: int, key: int) -> NoticeRow | None:
    """Return an account's notice by its id, to be shown; one that is over, too."""
    found = await session.get(NoticeRow, key)
    return found if found is not None and found.account_id == account_id else None


async def claim(session: AsyncSession, now: datetime, until: datetime, most: int) -> list[Claim]:
    """Lease what is due to be told, of ``most`` accounts, longest due first.

    What is for the operator, too, is a claim of its own. Whoever does not tell it until the lease
    ends leaves it to be told again.
    """
    due = [col(NoticeRow.tell_at) <= now, col(NoticeRow.closed_at).is_(None)]
    accounts = await session.scalars(
        select(col(NoticeRow.account_id))
        .where(*due)
        .group_by(col(NoticeRow.account_id))
        .order_by(func.min(col(NoticeRow.tell_at)), col(NoticeRow.account_id))
        .limit(most)
    )
    rows = await session.scalars(
        select(NoticeRow)
        .where(col(NoticeRow.account_id).in_(accounts.all()), *due)
        .order_by(col(NoticeRow.account_id), col(NoticeRow.id))
        .with_for_update(skip_locked=True)
    )
    claims = []
    found = sorted(rows, key=to_whom)
    for (account_id, _), group in groupby(found, key=to_whom):
        ours = list(group)
        for row in ours:
            row.tell_at, row.tries = until, row.tries + 1
        claims.append(Claim(account_id, tuple(row.id or 0 for row in ours), until))
    return claims


def to_whom(row: NoticeRow) -> tuple[int, bool]:
    """Return whose a notice is, and whether it is for the operator, too."""
    return row.account_id, row.kind == Kind.CLOSED


async def is_first_closed(session: AsyncSession, keys: Collection[int]) -> bool:
    """Tell whether one of these notices is the first open one that says Trakt refuses the app."""
    first = await session.scalar(
        select(col(NoticeRow.id))
        .where(col(NoticeRow.kind) == Kind.CLOSED, col(NoticeRow.closed_at).is_(None))
        .order_by(col(NoticeRow.opened_at), col(NoticeRow.id))
        .limit(1)
    )
    return first in keys


async def claimed(session: AsyncSession, ours: Claim, *, lock: bool = False) -> list[NoticeRow]:
    """Return what is still ours to tell; what was closed or opened anew meanwhile is not."""
    still = (
        select(NoticeRow)
        .where(
            col(NoticeRow.id).in_(ours.keys),
            col(NoticeRow.tell_at) == ours.until,
            col(NoticeRow.closed_at).is_(None),
        )
        .order_by(col(NoticeRow.id))
    )
    found = await session.scalars(still.with_for_update() if lock else still)
    return list(found)


async def addresses(
    session: AsyncSession, account_id: int, vault: Vault, *, lock: bool = False
) -> list[str] | None:
    """Return where an account wants to be told; None when no key opens it any more."""
    row = await session.get(
        AccountRow, account_id, with_for_update={"key_share": True} if lock else None
    )
    if row is None or row.sealed_notify_urls is None:
        return []
    found = vault.open(row.sealed_notify_urls)
    return None if found is None else (found.get("urls") or "").split()


async def set_addresses(
    session: AsyncSession, account_id: int, urls: Sequence[str], vault: Vault
) -> None:
    """Store where an account wants to be told: Apprise URLs, sealed."""
    row = await session.get(AccountRow, account_id)
    if row is not None:
        row.sealed_notify_urls = vault.seal({"urls": " ".join(urls)}) if urls else None


def identity(account_id: int, kind: Kind, subject: str) -> list[ColumnElement[bool]]:
    """Return what sets one notice apart from all others."""
    return [
        col(NoticeRow.account_id) == account_id,
        col(NoticeRow.kind) == kind,
        col(NoticeRow.subject) == subject,
    ]
