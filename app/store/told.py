"""What there is to tell with a watch beside the watch itself."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from app import languages
from app.hentry import Note, Poster, Telling, rewatch
from app.opinion import said
from app.store import connections, opinions, posters, watches
from app.style import Posters
from app.tables import WatchRow
from app.watch import about_from_json, from_json


async def completed(
    session: AsyncSession, bare: Sequence[tuple[WatchRow, Telling]], base_url: str
) -> list[Telling]:
    """Return how each watch is told, with what its person's style wants told beside it.

    How often a work was watched is said only where the whole history is known. Posters that this
    bridge keeps are shown below ``base_url``.
    """
    earlier = await watches.earlier(session, [row for row, _ in bare])
    counted = {row.account_id for row, telling in bare if telling.style.tells_rewatch}
    known = counted - await connections.unread(session, counted) if counted else set()
    judged = [row for row, one in bare if one.style.tells_rating or one.style.tells_note]
    about = await opinions.about(session, judged) if judged else {}
    complete = []
    for row, telling in bare:
        times, when = earlier.get(row.id or 0, []), row.watched_at
        opinion = said(about.get(row.id or 0, []), when)
        is_known = row.account_id in known
        complete.append(
            replace(
                telling,
                again=bool(times),
                rewatch=rewatch(when, times, telling.zone) if when and is_known else None,
                rating=opinion.rating,
                note=Note(opinion.words, opinion.is_spoiler) if opinion.words else None,
                poster=await poster(session, row, telling, base_url),
            )
        )
    return complete


async def poster(
    session: AsyncSession, row: WatchRow, telling: Telling, base_url: str
) -> Poster | None:
    """Return the poster of a watch, if its post shall show one and it is there to be shown."""
    source, way = source_of(row), telling.style.posters
    if way is Posters.OFF or source is None or row.work is None:
        return None
    url = posters.link(await posters.known(session, row.account_id, source), way, base_url)
    alt = languages.poster(from_json(row.work), telling.style.language)
    return Poster(url, alt) if url else None


def source_of(row: WatchRow) -> str | None:
    """Return where Trakt keeps the poster of a watch."""
    about = about_from_json(row.about)
    return about.poster if about else None
