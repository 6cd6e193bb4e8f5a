"""What is new? One turn of polling a connection, and one page of reading its archive.

A turn in which nothing changed costs one request. Otherwise the newest pages of the history are
read, from a week before the newest minute known; what is new is kept together with its posts.
The stamps were read before the pages, so nothing can slip in between.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from app.database import Database
from app.errors import (
    BridgeError,
    GrantBusy,
    GrantLost,
    SourceBusy,
    SourceClosed,
    SourceError,
    SourceLocked,
    TokenRefused,
)
from app.grants import Pair
from app.outbox import backoff, jittered
from app.refresh import Refresher
from app.sources.trakt import Page, Trakt
from app.store import connections, watches
from app.store.connections import Turn
from app.store.watches import Read
from app.tables import ConnectionRow
from app.watch import Stamps, Watch

log = structlog.get_logger()

# A turn ends well before its lease, so that nobody else begins while we still ask.
TURN = timedelta(minutes=12)
LEASE = timedelta(minutes=15)
# Players that were offline report late; reading a week again costs no further request.
LOOK_BACK = timedelta(days=7)
# Stamps may have minute precision: a play of the same minute would hide behind a younger one.
FINAL_AFTER = timedelta(minutes=2)
# Once a day the stamps are not believed.
DAILY = timedelta(days=1)
# What only the operator can mend is asked for no more often than this.
CLOSED_WAIT = timedelta(hours=1)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Poller:
    """Reads Trakt for all connections of one database."""

    database: Database
    trakt: Trakt
    refresher: Refresher
    now: Callable[[], datetime]
    interval: timedelta

    async def poll(self, turn: Turn) -> None:
        """Look once whether a connection has something new, and keep it."""
        try:
            async with asyncio.timeout(TURN.total_seconds()):
                await self.look(turn)
        except (SourceError, GrantBusy, GrantLost, TimeoutError) as error:
            await self.note_trouble(turn, error)

    async def look(self, turn: Turn) -> None:
        """Ask for the stamps, and for the history only where they have moved."""
        row = turn.connection
        stamps = await self.asking(turn, self.trakt.stamps)
        pages: list[Page] = []
        if has_moved(row, stamps, self.now()):
            # Known from the first connect on; its start rule may move, this does not.
            since = (row.cursor or row.start_at) - LOOK_BACK
            pages = await self.asking(turn, lambda token: self.pages(token, since))
        await self.keep(turn, stamps, pages)

    async def pages(self, token: str, since: datetime) -> list[Page]:
        """Return the pages of the history since then, newest first."""
        found = [await self.trakt.history(token, 1, start_at=since)]
        while not found[-1].is_last:
            found.append(await self.trakt.history(token, found[-1].number + 1, start_at=since))
        return found

    async def keep(self, turn: Turn, stamps: Stamps, pages: list[Page]) -> None:
        """Save what was read, oldest page first, and then how far we have come."""
        now, kept = self.now(), 0
        for page in reversed(pages):
            async with self.database.writing() as session:
                if row := await connections.hold(session, turn):
                    kept += (await watches.keep(session, row, page.read, now)).new
        async with self.database.writing() as session:
            if row := await connections.hold(session, turn):
                if pages:
                    read = [item for page in pages for item in page.read]
                    row.cursor = newest(row.cursor, read, stamps.now)
                    if not kept and is_unexplained(row, stamps):
                        connections.read_anew(row, now)
                    connections.looked(row, stamps, final=is_final(stamps), now=now)
                connections.polled(row, turn, now, now + jittered(self.interval))
        log.info("polled", connection=turn.id, pages=len(pages), new=kept)

    async def archive(self, turn: Turn) -> None:
        """Read one page of the older history into the archive."""
        row = turn.connection
        try:
            async with asyncio.timeout(TURN.total_seconds()):
                page = await self.asking(
                    turn,
                    lambda token: self.trakt.history(
                        token, row.archive_page or 1, end_at=row.archive_end_at, patient=True
                    ),
                )
        except (SourceError, GrantBusy, GrantLost, TimeoutError) as error:
            await self.note_archive_trouble(turn, error)
            return
        async with self.database.writing() as session:
            if held := await connections.hold_archive(session, turn):
                await watches.keep(session, held, page.read, self.now())
                archived(held, page, self.now())

    async def asking(self, turn: Turn, ask: Callable[[str], Awaitable[T]]) -> T:
        """Return what ``ask`` gets with an access token, renewed once where Trakt refuses it."""
        token = await self.token(turn, None)
        try:
            return await ask(token)
        except TokenRefused:
            return await ask(await self.token(turn, token))

    async def token(self, turn: Turn, refused: str | None) -> str:
        """Return an access token that is good to use now."""
        return await self.refresher.access_token(ConnectionRow, turn.id, self.renewed, refused)

    async def renewed(self, refresh_token: str) -> Pair:
        """Ask Trakt for a new pair, in the words that `Refresher` understands."""
        try:
            return await self.trakt.refresh(refresh_token, self.now())
        except SourceLocked as error:
            raise GrantLost(str(error)) from error
        except SourceError as error:
            raise GrantBusy(str(error), asked_wait(error)) from error

    async def note_trouble(self, turn: Turn, error: Exception) -> None:
        """Write down why a turn failed and when, or whether, to try again."""
        now = self.now()
        log.warning("poll failed", connection=turn.id, trouble=said(error))
        async with self.database.writing() as session:
            if row := await connections.hold(session, turn):
                row.polling_until, row.trouble = None, said(error)
                row.failures += 1
                row.next_poll_at = now + wait_after(error, row.failures, self.interval)
                row.resume_at = row.next_poll_at if asked_wait(error) else None
                if needs_person(error):
                    row.locked = row.trouble

    async def note_archive_trouble(self, turn: Turn, error: Exception) -> None:
        """Write down when to go on with the archive."""
        log.warning("archive page failed", connection=turn.id, trouble=said(error))
        async with self.database.writing() as session:
            if row := await connections.hold_archive(session, turn):
                row.archive_failures += 1
                wait = wait_after(error, row.archive_failures, self.interval)
                row.archive_due_at = self.now() + wait
                if needs_person(error):
                    row.locked = said(error)


def has_moved(row: ConnectionRow, stamps: Stamps, now: datetime) -> bool:
    """Tell whether the history must be read: it changed, or a day has passed."""
    same = (row.movies_stamp, row.episodes_stamp) == (stamps.movies, stamps.episodes)
    return not same or row.looked_at is None or now - row.looked_at >= DAILY


def is_unexplained(row: ConnectionRow, stamps: Stamps) -> bool:
    """Tell whether the history changed since the last look, whatever the pages read showed.

    With nothing new in them, an older play was added, or one was removed.
    """
    return row.seen_stamps not in {None, f"{stamps.movies} {stamps.episodes}"}


def is_final(stamps: Stamps) -> bool:
    """Tell whether no further change can still get these very stamps."""
    times = [moment(stamps.movies), moment(stamps.episodes)]
    if stamps.now is None or not all(times):
        return False
    return all(when <= stamps.now - FINAL_AFTER for when in times if when)


def moment(stamp: str) -> datetime | None:
    """Return the instant of a stamp, None where it is none."""
    try:
        when = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return when if when.tzinfo else None


def newest(
    cursor: datetime | None, read: list[Read], trakt_now: datetime | None
) -> datetime | None:
    """Return the newest minute known, never later than Trakt's own clock.

    A play dated in the future would otherwise hide all that come before it.
    """
    times = [item.watched_at for item, _ in read if isinstance(item, Watch) and item.watched_at]
    known = [when for when in times if trakt_now and when <= trakt_now]
    return max([*known, *([cursor] if cursor else [])], default=None)


def archived(row: ConnectionRow, page: Page, now: datetime) -> None:
    """Note that a page of the archive was read."""
    row.archive_failures = 0
    row.archive_total = page.total if page.total is not None else row.archive_total
    if page.is_last:
        row.archive_page = row.archive_due_at = None
    else:
        row.archive_page, row.archive_due_at = page.number + 1, now


def needs_person(error: Exception) -> bool:
    """Tell whether asking again is in vain until the person has acted."""
    return isinstance(error, GrantLost | SourceLocked | TokenRefused)


def asked_wait(error: Exception) -> timedelta | None:
    """Return how long we were asked to wait, None when nobody asked."""
    if isinstance(error, SourceClosed):
        return CLOSED_WAIT
    return error.retry_after if isinstance(error, SourceBusy | GrantBusy) else None


def wait_after(error: Exception, failures: int, interval: timedelta) -> timedelta:
    """Return when to ask again after a failure, counted from now."""
    own = min(backoff(failures), max(interval, timedelta(minutes=1)))
    return jittered(max(asked_wait(error) or timedelta(), own))


def said(error: Exception) -> str:
    """Return an error as a sentence for the dashboard."""
    match error:
        case TimeoutError():
            return "Trakt took too long to answer"
        case BridgeError():
            return str(error)
        case _:
            return "The bridge itself is at fault here; its log says more. It tries again"
