"""What there is to tell with a watch beside the watch itself."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from app.hentry import Note, Telling, rewatch
from app.opinion import said
from app.store import connections, opinions, watches
from app.tables import WatchRow


async def completed(
    session: AsyncSession, bare: Sequence[tuple[WatchRow, Telling]]
) -> list[Telling]:
    """Return how each watch is told, with what its person's style wants told beside it.

    How often a work was watched is said only where the whole history is known.
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
            )
        )
    return complete
