"""The tokens of a site or a connection, sealed in its row."""

from datetime import datetime

from sqlalchemy import Update, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.grants import Pair
from app.tables import ConnectionRow, Granted, SiteRow
from app.vault import Vault

Row = type[SiteRow | ConnectionRow]


def pair_of(row: Granted, vault: Vault) -> Pair | None:
    """Return the tokens in ``row``; None when there are none or no key opens them."""
    tokens = vault.open(row.sealed_tokens)
    if tokens is None or not tokens.get("access") or row.issued_at is None:
        return None
    return Pair(
        access=tokens["access"] or "",
        refresh=tokens.get("refresh"),
        issued_at=row.issued_at,
        expires_at=row.expires_at,
    )


def put(row: Granted, pair: Pair, vault: Vault) -> None:
    """Store ``pair`` in ``row`` as a fresh grant: whatever was wrong is mended."""
    row.sealed_tokens = vault.seal({"access": pair.access, "refresh": pair.refresh})
    row.issued_at, row.expires_at = pair.issued_at, pair.expires_at
    row.refreshing_until = row.locked = row.trouble = None


async def read(
    session: AsyncSession, row: Row, key: int, vault: Vault, *, lock: bool = False
) -> tuple[Pair | None, datetime | None]:
    """Return the tokens of a row and until when someone is refreshing them."""
    found = await session.get(row, key, with_for_update=True if lock else None)
    if found is None:
        return None, None
    return pair_of(found, vault), found.refreshing_until


async def is_sealed(session: AsyncSession, row: Row, key: int) -> bool:
    """Tell whether a row has tokens, also such as no key opens."""
    found = await session.get(row, key)
    return found is not None and found.sealed_tokens is not None


async def claim(session: AsyncSession, row: Row, key: int, until: datetime) -> None:
    """Note that a refresh is under way, before its request leaves."""
    found = await session.get(row, key)
    if found is not None:
        found.refreshing_until = until


async def release(session: AsyncSession, row: Row, key: int, until: datetime) -> None:
    """Note that the refresh token was not used after all."""
    await session.execute(of(row, key, until).values(refreshing_until=None))


async def save(
    session: AsyncSession, row: Row, key: int, until: datetime, pair: Pair, vault: Vault
) -> bool:
    """Store a new pair in place of the old one; return False when nobody wants it any more.

    Whoever disconnected or signed in anew meanwhile has cleared the lease.
    """
    found = await session.get(row, key, with_for_update=True, populate_existing=True)
    if found is None or found.refreshing_until != until:
        return False
    put(found, pair, vault)
    return True


async def lose(session: AsyncSession, row: Row, key: int, until: datetime, reason: str) -> None:
    """Note that only the person can grant a new token."""
    await session.execute(of(row, key, until).values(refreshing_until=None, locked=reason))


def of(row: Row, key: int, until: datetime | None) -> Update:
    """Return an update of one row, as long as its refresh is leased ``until`` then."""
    column = col(SiteRow.account_id) if row is SiteRow else col(ConnectionRow.id)
    leased = col(row.refreshing_until)
    return update(row).where(column == key, leased.is_(None) if until is None else leased == until)
