"""Ratings, comments and notes are read where a person wants them told, before posts are made.

Nothing of the main job depends on it: what fails here is tried again at the next turn.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from app.database import Database
from app.errors import GrantBusy, SourceError
from app.opinion import Kind, Opinion
from app.sources.trakt import Opinions, SourceUnaware, Trakt
from app.store import connections, opinions
from app.store.connections import Turn
from app.watch import Stamps

log = structlog.get_logger()

# So many pages of a list at most, of 250 each; Trakt was seen to give ratings all at once.
MOST_PAGES = 20
# Stamps may have minute precision: what is said in the same minute would hide behind a younger.
FINAL_AFTER = timedelta(minutes=2)
# So much of a turn at most; the rest is for the history.
PATIENCE = timedelta(minutes=3)

Asking = Callable[[Callable[[str], Awaitable[Opinions]]], Awaitable[Opinions]]


@dataclass(frozen=True, slots=True)
class Told:
    """A list as it was read: all of it if it is ``whole``."""

    said: Sequence[Opinion]
    whole: bool


async def read(
    database: Database, trakt: Trakt, turn: Turn, stamps: Stamps, asking: Asking, *, anew: bool
) -> None:
    """Read the lists that have changed, or all ``anew``, as far as this person wants them told."""
    before = turn.connection.opinion_stamps or {}
    moved = [kind for kind in Kind if anew or stamps.opinions.get(kind) != before.get(kind)]
    if not moved:
        return
    async with database.reading() as session:
        wanted = await opinions.wanted(session, turn.connection.account_id)
    told: dict[Kind, Told] = {}
    missed = {kind for kind in moved if kind in wanted}
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            for kind in sorted(missed):
                told[kind] = await whole(trakt, kind, asking)
                missed.discard(kind)
    except (SourceError, GrantBusy, TimeoutError) as error:
        log.info("ratings were not read", connection=turn.id, trouble=str(error))
    now = {k: s for k, s in stamps.opinions.items() if is_final(s, stamps.now) and k not in missed}
    after = {**before, **now}
    if told or after != before:
        await save(database, turn, wanted, told, after)


async def whole(trakt: Trakt, kind: Kind, asking: Asking) -> Told:
    """Return a list, page by page; of one that this person does not have, nothing is known."""
    said: list[Opinion] = []
    for number in range(1, MOST_PAGES + 1):
        try:
            page = await asking(partial(trakt.opinions, kind, number))
        except SourceUnaware:
            break
        said += page.said
        if page.is_last:
            return Told(said, whole=True)
    return Told(said, whole=False)


async def save(
    database: Database,
    turn: Turn,
    wanted: AbstractSet[Kind],
    told: Mapping[Kind, Told],
    stamps: Mapping[str, str],
) -> None:
    """Keep what was read, if the turn is still ours, and the person still wants just that."""
    async with database.writing() as session:
        row = await connections.hold(session, turn)
        if row is None or await opinions.wanted(session, row.account_id) != wanted:
            return
        for kind, one in told.items():
            number = await opinions.keep(session, turn.id, kind, one.said, whole=one.whole)
            log.info("ratings read", connection=turn.id, kind=str(kind), changed=number)
        row.opinion_stamps = dict(stamps)


def is_final(stamps: str, now: datetime | None) -> bool:
    """Tell whether nothing that is said from now on can still get these very stamps."""
    try:
        times = [datetime.fromisoformat(stamp) for stamp in stamps.split()]
        return now is not None and all(when <= now - FINAL_AFTER for when in times)
    except (TypeError, ValueError):
        return False
