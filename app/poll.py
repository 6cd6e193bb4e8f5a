"""What is new? One turn of polling a connection, and one page of reading its archive.

A turn in which nothing changed costs one request. Otherwise the newest pages of the history are
read, from a week before the newest minute known, and once the archive is complete the maps of all
plays are compared with what is known, see `app.diff`. What was found is kept with its posts. The
stamps were read before the rest, so nothing can slip in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app import opinions
from app.database import Database
from app.diff import (
    KINDS,
    MOST_BY_ID,
    Findings,
    Kind,
    Plan,
    Read,
    Scope,
    Sides,
    Target,
    Watched,
    by_key,
    judge,
    oddities,
    others,
    reconcile,
    scope,
    to_post,
    unasked,
)
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
from app.metrics import Metrics
from app.notices import Kind as Notice
from app.outbox import backoff, jittered
from app.refresh import Neighbour, Refresher
from app.sources.trakt import Page, Totals, Trakt
from app.store import accounts, bunches, connections, notices, posts, sightings, watches
from app.store.connections import Turn
from app.store.watches import News
from app.tables import AccountRow, ConnectionRow
from app.together import Together
from app.waits import Waits
from app.watch import Stamps, Watch

log = structlog.get_logger()

# Players that were offline report late; reading a week again costs no further request.
LOOK_BACK = timedelta(days=7)
# Stamps may have minute precision: a play of the same minute would hide behind a younger one.
FINAL_AFTER = timedelta(minutes=2)
# So many watches are stored in one transaction: others want to write too.
PORTION = 250
# So few new plays are stored together with those of other turns.
FEW = 10
# So little is compared at once; more in a thread.
LITTLE = 1000
# After so many failures in a row new plays are kept without the comparison.
MOST_FAILURES = 5
# What a person, and the operator, are told when Trakt refuses the app.
CLOSED = (
    "Trakt refuses the app of this bridge, so nothing new is read. Whoever runs the bridge checks "
    "it at https://trakt.tv/oauth/applications; such an app needs Trakt VIP. Nothing is missed."
)
# The part of a turn that the comparison may take; the rest is for keeping what was read.
COMPARING = 0.75
LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a turn has read, and what follows from it."""

    stamps: Stamps
    scope: Scope
    newest: Mapping[str, Read] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    findings: Findings = field(default_factory=Findings)
    oddities: Mapping[str, Any] = field(default_factory=dict)
    totals: Totals | None = None


# A turn, what it read, and of the new plays those that are not stored yet.
Finished = tuple[Turn, Reading, Sequence[Read]]


@dataclass(slots=True)
class Poller:
    """Reads Trakt for all connections of one database."""

    database: Database
    trakt: Trakt
    refresher: Refresher
    now: Callable[[], datetime]
    interval: timedelta
    waits: Waits
    metrics: Metrics
    # How often a connection is asked, where the budget does not allow it as often as wished.
    stretched: timedelta | None = None
    saving: Together[Finished, int] = field(init=False)

    def __post_init__(self) -> None:
        self.saving = Together(self.waits.together, self.save_all)

    async def poll(self, turn: Turn) -> None:
        """Look once whether a connection has something new, and keep it."""
        try:
            async with asyncio.timeout(self.waits.poll_turn.total_seconds()):
                await self.look(turn)
        except (SourceError, GrantBusy, GrantLost, TimeoutError) as error:
            self.metrics.ended("poll", error)
            await self.note_trouble(turn, error)
        else:
            self.metrics.ended("poll")

    async def look(self, turn: Turn) -> None:
        """Ask for the stamps, and for the history only where it may differ from what we know."""
        stamps = await self.asking(turn, self.trakt.stamps)
        todo = scope(turn.connection, stamps, self.now(), self.waits.daily)
        asking = partial(self.asking, turn)
        await opinions.read(self.database, self.trakt, turn, stamps, asking, anew=todo.is_check)
        if not todo.pages and not turn.doubts:
            await self.save(turn, Reading(stamps, todo))
            return
        turn.is_reading = True
        reading = Reading(stamps, todo, by_key(await self.newest(turn) if todo.pages else []))
        try:
            async with asyncio.timeout(COMPARING * self.waits.poll_turn.total_seconds()):
                reading = await self.compared(turn, reading)
        except (SourceError, GrantBusy, TimeoutError):
            # A new play may be a corrected date, which only the comparison tells. But nobody's
            # new plays wait for it for ever.
            if turn.connection.failures + 1 >= MOST_FAILURES:
                found = await self.uncompared(turn, reading.newest)
                await self.keep(turn, sorted(found.added, key=oldest_first))
            raise
        await self.save(turn, reading)

    async def newest(self, turn: Turn) -> list[Read]:
        """Return the history from a week before the newest minute known."""
        row = turn.connection
        # Known from the first connect on; its start rule may move, this does not.
        since = (row.cursor or row.start_at) - LOOK_BACK
        pages = await self.asking(turn, lambda token: self.pages(token, since))
        return [read for page in pages for read in page.read]

    async def pages(self, token: str, since: datetime) -> list[Page]:
        """Return the pages of the history since then, newest first."""
        found = [await self.trakt.history(token, 1, start_at=since)]
        while not found[-1].is_last:
            found.append(await self.trakt.history(token, found[-1].number + 1, start_at=since))
        return found

    async def compared(self, turn: Turn, reading: Reading) -> Reading:
        """Compare the maps with what is known, ask by id where they differ, and judge."""
        row, kinds, now = turn.connection, reading.scope.kinds, self.now()
        sides = await self.sides(turn, reading)
        size = len(sides.ours) + len(sides.theirs.plays)
        judged = await thought(size, judge, sides, row, now, self.waits.daily)
        asked = judged.plan.targets.union(sorted(turn.doubts)[:MOST_BY_ID])
        if row.archive_page is not None:
            asked |= await self.maybe_moved(turn, reading.newest)
        plan = replace(judged.plan, targets=asked)
        told, known = unasked(reading.newest, asked), sides.known
        if asked:
            told |= await self.told(turn, asked)
            async with self.database.reading() as session:
                known = await sightings.known(session, turn.id, told, asked)
        findings = await thought(size + len(told), reconcile, told, known, plan, now)
        odd = oddities(row.oddities or {}, sides, judged, told, now)
        is_check = reading.scope.is_check
        return replace(
            reading,
            plan=plan,
            findings=findings,
            oddities=others(row.oddities, kinds) | odd,
            totals=await self.asking(turn, self.trakt.totals) if is_check else None,
        )

    async def sides(self, turn: Turn, reading: Reading) -> Sides:
        """Return what Trakt's maps say, and what we know."""
        theirs = await self.maps(turn, reading.scope.kinds)
        async with self.database.reading() as session:
            known = await sightings.known(session, turn.id, reading.newest)
            ours, shows = await sightings.plays(session, turn.id, reading.scope.kinds)
            doubted = await sightings.in_doubt(session, turn.id)
        return Sides(theirs, ours, {**theirs.shows, **shows}, reading.newest, known, doubted)

    async def maps(self, turn: Turn, kinds: Sequence[Kind]) -> Watched:
        """Return the maps of these kinds as one."""
        found = Watched({}, {})
        for kind in kinds:
            one = await self.map(turn, kind)
            skipped = found.skipped + one.skipped
            found = Watched({**found.plays, **one.plays}, {**found.shows, **one.shows}, skipped)
        if found.skipped:
            log.info("parts of a map were not read", connection=turn.id, number=found.skipped)
        return found

    async def map(self, turn: Turn, kind: Kind) -> Watched:
        """Return the map of one kind."""
        return await self.asking(turn, lambda token: self.trakt.watched(token, kind))

    async def told(self, turn: Turn, targets: AbstractSet[Target]) -> dict[str, Read]:
        """Return what the history says of all that is asked for by id."""
        told: dict[str, Read] = {}
        for target in sorted(targets):
            told |= by_key(await self.history_of(turn, target))
        return told

    async def history_of(self, turn: Turn, target: Target) -> list[Read]:
        """Return what the history says of one film, show or episode."""
        return await self.asking(turn, lambda token: self.trakt.history_of(token, target))

    async def uncompared(self, turn: Turn, newest: Mapping[str, Read]) -> Findings:
        """Return what follows from the newest pages alone."""
        async with self.database.reading() as session:
            known = await sightings.known(session, turn.id, newest)
        return reconcile(newest, known, Plan(), self.now())

    async def save(self, turn: Turn, reading: Reading) -> None:
        """Keep what is new, then all that follows from the turn, and how far we have come.

        Turns that end in the same moment share a transaction.
        """
        added = sorted(reading.findings.added, key=oldest_first)
        # One with many new plays makes nobody wait for it.
        rest = len(added) if len(added) <= FEW else 0
        new = await self.keep(turn, added[rest:])
        new += await self.saving.do((turn, reading, added[:rest]))
        log.info("polled", connection=turn.id, read=len(reading.newest), new=new)

    async def save_all(self, finished: Sequence[Finished]) -> Sequence[int]:
        """Save the turns that are still ours; return how much was new in each."""
        now = self.now()
        async with self.database.writing() as session:
            rows = await connections.hold_all(session, [turn for turn, *_ in finished])
            ours = [(rows[one[0].id], one) for one in finished if one[0].id in rows]
            ours.sort(key=lambda one: one[0].account_id)
            asked = await hold_people(session, [(row, reading) for row, (_, reading, _) in ours])
            new = await keep_new(session, [(row, one[0], one[2]) for row, one in ours], now)
            for row, one in ours:
                await self.conclude(session, row, one, now)
            doubts = await sightings.next_doubts(session, rows)
            for row, (turn, reading, _) in ours:
                if reading.findings.unbelieved or row.account_id in asked:
                    await tell_absences(session, row, reading, now)
                    await bunches.close_empty(session, row.account_id, now)
                if row.failures or reading.scope.is_check:
                    await notices.close(session, row.account_id, Notice.CLOSED, now)
                later = [now + jittered(self.stretched or self.interval), doubts.get(turn.id)]
                later += [] if row.archive_page else [row.diff_due_at]
                next_poll_at = max(now, min(when for when in later if when))
                connections.polled(row, turn, now, next_poll_at)
        return [new.get(turn.id, 0) for turn, *_ in finished]

    async def conclude(
        self, session: AsyncSession, row: ConnectionRow, finished: Finished, now: datetime
    ) -> None:
        """Write all that follows from a turn, but for its time and what was new."""
        turn, reading, _ = finished
        if reading.findings != Findings():
            confirm_at = now + self.waits.second_opinion
            await sightings.settle(session, row, reading.findings, now, confirm_at)
        row.check_found = await check_found(session, row, reading)
        concluded(row, turn.connection, reading, now, self.waits)

    async def keep(self, turn: Turn, added: Sequence[Read]) -> int:
        """Store what is new, which comes the oldest first; return how much it was."""
        now, new = self.now(), 0
        together: dict[str, int] = {}
        for start in range(0, len(added), PORTION):
            async with self.database.writing() as session:
                row = await connections.hold(session, turn)
                if row is None:
                    break
                await posts.hold_sites(session, [row.account_id])
                connections.began(row, turn)
                if start == 0:
                    fresh = (await watches.unseen(session, {turn.id: added}))[turn.id]
                    account = await session.get(AccountRow, row.account_id)
                    together = await bunches.gather(session, row, account, fresh, now)
                portion = added[start : start + PORTION]
                fresh = (await watches.unseen(session, {turn.id: portion}))[turn.id]
                await watches.keep(session, [News(row, fresh, together)], now)
                new += len(fresh)
        return new

    async def archive(self, turn: Turn) -> None:
        """Read one page of the older history into the archive."""
        row = turn.connection
        try:
            async with asyncio.timeout(self.waits.poll_turn.total_seconds()):
                page = await self.asking(
                    turn,
                    lambda token: self.trakt.history(
                        token, row.archive_page or 1, end_at=row.archive_end_at, patient=True
                    ),
                )
                told = by_key(page.read)
                plan = Plan(await self.maybe_moved(turn, told))
                told = unasked(told, plan.targets) | await self.told(turn, plan.targets)
        except (SourceError, GrantBusy, GrantLost, TimeoutError) as error:
            self.metrics.ended("archive", error)
            await self.note_archive_trouble(turn, error)
            return
        now = self.now()
        async with self.database.writing() as session:
            if held := await connections.hold_archive(session, turn):
                await posts.hold_sites(session, [held.account_id])
                known = await sightings.known(session, turn.id, told, plan.targets)
                findings = reconcile(told, known, plan, now)
                fresh = (await watches.unseen(session, {turn.id: findings.added}))[turn.id]
                account = await session.get(AccountRow, held.account_id)
                together = await bunches.gather(session, held, account, fresh, now)
                await watches.keep(session, [News(held, fresh, together)], now)
                await sightings.settle(session, held, findings, now, now)
                archived(held, page, now, len(fresh))
        self.metrics.ended("archive")

    async def maybe_moved(self, turn: Turn, told: Mapping[str, Read]) -> frozenset[Target]:
        """Return what to ask for by id, because a new play may be a known one with another date.

        While pages are read nothing else would tell, and both would be posted.
        """
        async with self.database.reading() as session:
            known = await sightings.known(session, turn.id, told)
            new = to_post(told, known, turn.connection.start_at)
            if not new:
                return frozenset()
            others = await sightings.known(session, turn.id, (), set(new.values()))
        older = {one.item for one in others if not one.is_gone and one.key not in told}
        return frozenset(sorted({new[item] for item in new if item in older})[:MOST_BY_ID])

    async def asking(self, turn: Turn, ask: Callable[[str], Awaitable[T]]) -> T:
        """Return what ``ask`` gets with an access token, renewed once where Trakt refuses it."""
        token = await self.token(turn, None)
        try:
            return await ask(token)
        except TokenRefused:
            return await ask(await self.token(turn, token))

    async def token(self, turn: Turn, refused: str | None) -> str:
        """Return an access token that is good to use now."""
        return await self.refresher.access_token(
            ConnectionRow, turn.id, self.source, refused, read=turn.connection
        )

    @property
    def source(self) -> Neighbour:
        """Return whom a pair of tokens is renewed by."""
        return Neighbour(self.renewed, lambda pair: self.trakt.revoke(pair.access))

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
                connections.began(row, turn)
                row.polling_until, row.trouble = None, said(error)
                row.failures += 1
                row.next_poll_at = now + self.wait_after(error, row.failures)
                row.resume_at = row.next_poll_at if self.asked(error) else None
                if needs_person(error):
                    await connections.lock(session, row, row.trouble, now)
                if is_closed(error):
                    await notices.open_one(session, row.account_id, Notice.CLOSED, CLOSED, now)

    async def note_archive_trouble(self, turn: Turn, error: Exception) -> None:
        """Write down when to go on with the archive."""
        log.warning("archive page failed", connection=turn.id, trouble=said(error))
        async with self.database.writing() as session:
            if row := await connections.hold_archive(session, turn):
                row.archive_failures += 1
                wait = self.wait_after(error, row.archive_failures)
                row.archive_due_at = self.now() + wait
                if needs_person(error):
                    await connections.lock(session, row, said(error), self.now())

    def wait_after(self, error: Exception, failures: int) -> timedelta:
        """Return when to ask again after a failure, counted from now."""
        own = min(backoff(failures, self.waits), max(self.interval, self.waits.first_retry))
        return jittered(max(self.asked(error) or timedelta(), own))

    def asked(self, error: Exception) -> timedelta | None:
        """Return how long we were asked to wait, None when nobody asked."""
        return self.waits.closed if is_closed(error) else asked_wait(error)


async def thought(size: int, think: Callable[..., T], *words: Any) -> T:  # noqa: ANN401 - its own
    """Return what ``think`` comes to; where it has much to think about, in a thread."""
    return think(*words) if size <= LITTLE else await asyncio.to_thread(think, *words)


async def hold_people(
    session: AsyncSession, ours: Sequence[tuple[ConnectionRow, Reading]]
) -> set[int]:
    """Hold the sites of all for whom turns change something; return who of them is asked something.

    That may be over now.
    """
    changed = [
        row.account_id
        for row, reading in ours
        if reading.scope.is_check or reading.findings != Findings()
    ]
    if not changed:
        return set()
    await posts.hold_sites(session, changed)
    return await notices.accounts_with(session, changed, (Notice.BUNCH, Notice.ABSENT))


async def keep_new(
    session: AsyncSession,
    ended: Sequence[tuple[ConnectionRow, Turn, Sequence[Read]]],
    now: datetime,
) -> dict[int, int]:
    """Keep what was new in turns that ended together; return how much by the connections' ids."""
    for row, turn, _ in ended:
        connections.began(row, turn)
    fresh = await watches.unseen(session, {turn.id: added for _, turn, added in ended if added})
    told = [(row, fresh[turn.id]) for row, turn, _ in ended if fresh.get(turn.id)]
    if told:
        people = await accounts.several(session, [row.account_id for row, _ in told])
        together = [
            await bunches.gather(session, row, people.get(row.account_id), one, now)
            for row, one in told
        ]
        news = [News(row, one, shows) for (row, one), shows in zip(told, together, strict=True)]
        await watches.keep(session, news, now)
    return {connection_id: len(one) for connection_id, one in fresh.items()}


async def tell_absences(
    session: AsyncSession, row: ConnectionRow, reading: Reading, now: datetime
) -> None:
    """Tell the person, once, of more absences than anyone would believe, and that it is over."""
    if number := reading.findings.unbelieved:
        said = (
            f"Trakt no longer shows {number} plays that it showed before. Nothing was changed "
            "here, and the bridge looks again every hour. If you removed them, say so."
        )
        await notices.open_one(session, row.account_id, Notice.ABSENT, said, now)
    elif reading.scope.is_check and not reading.plan.many and not reading.plan.left:
        await notices.close(session, row.account_id, Notice.ABSENT, now)


async def check_found(
    session: AsyncSession, row: ConnectionRow, reading: Reading
) -> dict[str, Any] | None:
    """Return what the last check of everything has found, for the page.

    One that takes several turns adds up; what it doubted is judged later.
    """
    before, found = row.check_found or {}, reading.findings
    if not reading.scope.is_check:
        late = {"removed": len(found.gone), "missing": -len(found.gone) - len(found.back)}
        return {**before, **added_up(before, late)} if before else None
    counted = {
        "added": len(found.added),
        "removed": len(found.gone),
        "moved": len(found.moved) + len(found.corrected),
        "missing": len(found.absent) + found.unbelieved,
    }
    totals = reading.totals
    return {
        **(added_up(before, counted) if before.get("goes_on") else counted),
        "trakt": {"movies": totals.movies, "episodes": totals.episodes} if totals else None,
        "ours": {
            name: await sightings.count(session, row.id or 0, kind)
            for kind, name in zip(KINDS, ("movies", "episodes"), strict=True)
        },
        "goes_on": reading.plan.left or reading.plan.anew,
    }


def added_up(before: Mapping[str, Any], more: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of ``before`` with ``more`` added, none of them below zero."""
    return {name: max(0, before.get(name, 0) + number) for name, number in more.items()}


def concluded(
    row: ConnectionRow, before: ConnectionRow, reading: Reading, now: datetime, waits: Waits
) -> None:
    """Write how far a turn has come; ``before`` is the row as it was when the turn began."""
    plan, todo = reading.plan, reading.scope
    # Whoever asked for a check meanwhile still waits for it.
    if todo.kinds and row.diff_due_at == before.diff_due_at:
        row.oddities = dict(reading.oddities) or None
        row.diff_due_at = None if todo.is_check else row.diff_due_at
    if todo.is_check:
        row.checked_at = now
        # All that the person spoke of was asked for.
        row.believes_absences &= plan.left or not plan.believes
    if plan.many or reading.findings.unbelieved:
        row.diff_due_at = now + waits.second_opinion
    if plan.left:
        row.diff_due_at = now
    else:
        looked(row, reading, now)


def looked(row: ConnectionRow, reading: Reading, now: datetime) -> None:
    """Write that a turn has read all that it wanted, or that all pages are to be read."""
    if reading.plan.anew:
        connections.read_anew(row, now)
    if reading.scope.pages:
        row.cursor = newest(row.cursor, reading.newest.values(), reading.stamps.now)
        connections.looked(row, reading.stamps, final=is_final(reading.stamps), now=now)
    if not connections.is_read_anew(row):
        row.reading_since = None


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
    cursor: datetime | None, read: Iterable[Read], trakt_now: datetime | None
) -> datetime | None:
    """Return the newest minute known, never later than Trakt's own clock.

    A play dated in the future would otherwise hide all that come before it.
    """
    times = [item.watched_at for item, _ in read if isinstance(item, Watch) and item.watched_at]
    known = [when for when in times if trakt_now and when <= trakt_now]
    return max([*known, *([cursor] if cursor else [])], default=None)


def oldest_first(read: Read) -> tuple[datetime, int, str]:
    """Return the place of an item in the order in which items are kept."""
    item = read[0]
    watched_at = item.watched_at if isinstance(item, Watch) else None
    return watched_at or LONG_AGO, len(item.key), item.key


def archived(row: ConnectionRow, page: Page, now: datetime, new: int) -> None:
    """Note that a page of the archive was read; after the last one all of it is compared."""
    row.archive_failures = 0
    row.archive_total = page.total if page.total is not None else row.archive_total
    if row.check_found and connections.is_read_anew(row):
        row.check_found = {**row.check_found, **added_up(row.check_found, {"added": new})}
    if page.is_last:
        row.archive_page = row.archive_due_at = None
        # What was removed meanwhile has shifted the pages.
        row.diff_due_at = now
        connections.be_polled(row, now)
    else:
        row.archive_page, row.archive_due_at = page.number + 1, now


def needs_person(error: Exception) -> bool:
    """Tell whether asking again is in vain until the person has acted."""
    return isinstance(error, GrantLost | SourceLocked | TokenRefused)


def is_closed(error: BaseException | None) -> bool:
    """Tell whether Trakt refuses the app, also where it did so while a key was renewed."""
    return isinstance(error, SourceClosed) or (error is not None and is_closed(error.__cause__))


def asked_wait(error: Exception) -> timedelta | None:
    """Return how long we were asked to wait, None when nobody asked."""
    return error.retry_after if isinstance(error, SourceBusy | GrantBusy) else None


def said(error: Exception) -> str:
    """Return an error as a sentence for the dashboard."""
    match error:
        case TimeoutError():
            return "Trakt took too long to answer"
        case BridgeError():
            return str(error)
        case _:
            return "The bridge itself is at fault here; its log says more. It tries again"
