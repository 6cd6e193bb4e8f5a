"""Posters of each account: where they come from, where they may be shown, and the pictures kept."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.picture import ENDINGS, Picture
from app.style import Posters
from app.tables import PictureRow, PosterRow, SiteRow

# So much is kept for one person; what was kept longest goes first, and comes back when it is asked
# for.
MOST_BYTES = 16 * 1024 * 1024
# After a picture that could not be had: doubling, up to the longest.
FIRST_RETRY = timedelta(hours=1)
MOST_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture to get, and until when its site is held for it."""

    id: int
    key: str
    account_id: int
    source: str
    uploads: bool
    until: datetime


async def known(session: AsyncSession, account_id: int, source: str) -> PosterRow | None:
    """Return what is known of a poster for an account."""
    found = select(PosterRow).where(
        col(PosterRow.account_id) == account_id, col(PosterRow.source) == source
    )
    row: PosterRow | None = await session.scalar(found)
    return row


def link(row: PosterRow | None, way: Posters, base_url: str) -> str | None:
    """Return where a post may show a poster in this way; None: nowhere yet."""
    match way:
        case Posters.UPLOAD if row:
            return row.site_url
        case Posters.LINK if row and row.media_type:
            return f"{base_url}/posters/{row.key}.{ENDINGS[row.media_type]}"
    return None


async def begin(
    session: AsyncSession, site: SiteRow, source: str, way: Posters, now: datetime, lease: timedelta
) -> Wanted | None:
    """Note that a poster is being fetched and hold its site; None if that is not to be tried now.

    It counts as failed until it has not: whatever ends us meanwhile, the post does not wait again.
    """
    row = await known(session, site.account_id, source)
    if row is None:
        row = PosterRow(account_id=site.account_id, source=source, key=secrets.token_hex(8))
        session.add(row)
    if not is_due(row, now):
        return None
    put_off(row, now)
    row.trouble = "the bridge was stopped meanwhile"
    site.next_send_at = until = now + lease
    await session.flush()
    return Wanted(row.id or 0, row.key, site.account_id, source, way is Posters.UPLOAD, until)


def is_due(row: PosterRow, now: datetime) -> bool:
    """Tell whether a poster may be tried now."""
    return row.retry_at is None or row.retry_at <= now


def put_off(row: PosterRow, now: datetime) -> None:
    """Let a poster not be tried again too soon."""
    row.failures = (row.failures or 0) + 1
    row.retry_at = now + FIRST_RETRY * 2 ** min(row.failures - 1, MOST_DOUBLINGS)


async def settle(
    session: AsyncSession,
    wanted: Wanted,
    now: datetime,
    picture: Picture | None,
    url: str | None,
    trouble: str | None,
) -> None:
    """Keep what was got, or why nothing was, and let the site send again."""
    await session.execute(
        update(SiteRow)
        .where(
            col(SiteRow.account_id) == wanted.account_id,
            # Whatever else has been decided meanwhile stands.
            col(SiteRow.next_send_at) == wanted.until,
        )
        .values(next_send_at=now)
    )
    # SQLite gives the id of a deleted account's poster to somebody else's; a key is given once.
    row = await session.get(PosterRow, wanted.id, with_for_update=True)
    if row is None or row.key != wanted.key:
        return
    row.trouble = trouble
    if picture is None or trouble:
        return
    row.failures, row.retry_at, row.media_type = 0, None, picture.media_type
    if wanted.uploads:
        row.site_url = url
    else:
        await keep(session, row, picture, now)


async def keep(
    session: AsyncSession,
    row: PosterRow,
    picture: Picture,
    now: datetime,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Keep a picture, in place of those that were kept longest."""
    await session.execute(delete(PictureRow).where(col(PictureRow.poster_id) == row.id))
    session.add(
        PictureRow(
            poster_id=row.id or 0,
            account_id=row.account_id,
            kept_at=now,
            size=len(picture.data),
            data=picture.data,
        )
    )
    await session.flush()
    kept = await session.execute(
        select(col(PictureRow.poster_id), col(PictureRow.size))
        .where(col(PictureRow.account_id) == row.account_id)
        .order_by(col(PictureRow.kept_at).desc(), col(PictureRow.poster_id).desc())
    )
    total, gone = 0, []
    for poster_id, size in kept:
        total += size
        if total > most_bytes:
            gone.append(poster_id)
    if gone:
        await session.execute(delete(PictureRow).where(col(PictureRow.poster_id).in_(gone)))


async def by_key(session: AsyncSession, key: str) -> tuple[PosterRow, bytes | None] | None:
    """Return the poster that a post links to, and its picture if it is still kept."""
    found = await session.execute(
        select(PosterRow, col(PictureRow.data))
        .outerjoin(PictureRow, col(PictureRow.poster_id) == col(PosterRow.id))
        .where(col(PosterRow.key) == key, col(PosterRow.media_type).is_not(None))
    )
    row = found.one_or_none()
    return (row[0], row[1]) if row else None


async def again(session: AsyncSession, key: str, now: datetime) -> bool:
    """Note that somebody looks at a picture that is not kept any more; tell whether to fetch it.

    Once an hour at most, whoever asks.
    """
    row = await session.scalar(select(PosterRow).where(col(PosterRow.key) == key).with_for_update())
    if row is None or not is_due(row, now):
        return False
    row.retry_at = now + FIRST_RETRY
    return True
