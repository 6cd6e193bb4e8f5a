"""When: the rows say what is due, and this loop hands it to the coroutines that do it.

Of all processes on one database one holds the scheduler's lease; the others stand by. Workers claim
beside each other, whoever holds it: what is done once a minute is then its holder's alone.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.contextvars import bind_contextvars

from app.database import Database
from app.look import Looker
from app.metrics import Metrics
from app.notify import Notifier
from app.poll import Poller
from app.posters import Fetching
from app.publish import Publisher, Sending
from app.pulse import Pulse
from app.rotate import judge_all
from app.sources.budget import affordable
from app.store import (
    accounts,
    agenda,
    connections,
    gates,
    lease,
    looks,
    setback,
    undecided,
    workers,
)
from app.store.agenda import Agenda
from app.store.looks import Turn as LookTurn
from app.waits import Waits

log = structlog.get_logger()

# So many at a time; one slow site or connection holds one place of these.
POLLS = 100
ARCHIVES = 4
POSTS = 50
LOOKS = 10
TELLINGS = 4
# What is due within this part of an interval counts as due where the scheduler comes only now
# and then: jitter moves a turn by up to a tenth of it.
NEARLY = 0.2


class Work(set[asyncio.Task[None]]):
    """Work of one kind that is under way, and how much of it was begun so far."""

    begun = 0


@dataclass(frozen=True, slots=True)
class Errand:
    """What was begun by a scheduler that came to do what was due, and when to come again.

    ``is_done``: nothing that is due was left; otherwise it was told to end, took too long, or left
    it to another process that schedules.
    """

    polls: int
    archive_pages: int
    looks: int
    posts: int
    messages: int
    next_due_at: datetime | None
    is_done: bool
    is_left_to_another: bool = False


Note = Callable[[Exception], Awaitable[None]]
Park = Callable[[AsyncSession], Awaitable[None]]


def own_name() -> str:
    """Return what sets this process apart, also from one that had its number before."""
    return f"process {os.getpid()} on {socket.gethostname()} ({secrets.token_hex(3)})"


@dataclass(slots=True)
class Scheduler:
    """Polls, archives and delivers what is due, until it is stopped."""

    database: Database
    poller: Poller
    publisher: Publisher
    looker: Looker
    notifier: Notifier
    pulse: Pulse
    now: Callable[[], datetime]
    waits: Waits
    metrics: Metrics
    poked: asyncio.Event = field(default_factory=asyncio.Event)
    is_stopping: bool = False
    polls: Work = field(default_factory=Work)
    archives: Work = field(default_factory=Work)
    posts: Work = field(default_factory=Work)
    looks: Work = field(default_factory=Work)
    tellings: Work = field(default_factory=Work)
    pulses: Work = field(default_factory=Work)
    tended_at: datetime | None = None
    name: str = field(default_factory=own_name)
    renewed_at: datetime | None = None
    is_standing_by: bool = False
    is_one_of_many: bool = False
    announced_at: datetime | None = None

    @property
    def running(self) -> set[asyncio.Task[None]]:
        """All work that is under way."""
        return self.polls | self.archives | self.posts | self.looks | self.tellings | self.pulses

    def poke(self) -> None:
        """Look for due work at once."""
        self.poked.set()

    def stop(self) -> None:
        """Begin nothing more; `run` then ends by itself, between two claims."""
        self.is_stopping = True
        self.poke()

    async def run(self) -> None:
        """Do what is due until told to stop."""
        while not self.is_stopping:
            self.poked.clear()
            try:
                rest = self.rest(await self.round())
            except Exception as error:
                # Nothing that happens to one account may stop the others for good.
                log.exception("scheduler failed")
                self.metrics.bug("scheduler", error, self.now())
                rest = self.waits.longest_rest
            await poked_or_after(self.poked, rest)
        await self.guarded("lease", self.step_down())

    async def round(self) -> Agenda | None:
        """Start what is due; when that went well, give a sign of life, once a minute."""
        before = self.tended_at
        due = await self.start_due()
        if self.tended_at not in {None, before} and self.pulse.url and not self.pulses:
            self.start(self.pulses, self.guarded("pulse", self.pulse.beat()))
        return due

    async def errand(self) -> Errand:
        """Do all that is due and what becomes due by that, then give a sign of life.

        A turn of Trakt that is nearly due counts as due: whoever comes every half hour would
        otherwise find most of them not due yet. Where another process schedules, it does that.
        """
        began_at = self.now()
        async with self.database.writing() as session:
            nearly = began_at + self.poller.interval * NEARLY
            await connections.hasten(session, began_at, nearly)
        is_ours = await self.takes_charge(began_at + self.waits.scheduler_lease)
        is_done = is_ours and await self.all_done(began_at + self.waits.longest_errand)
        await self.step_down()
        await self.finish()
        if is_done and self.pulse.url:
            await self.pulse.beat()
        return Errand(
            polls=self.polls.begun,
            archive_pages=self.archives.begun,
            looks=self.looks.begun,
            posts=self.posts.begun,
            messages=self.tellings.begun,
            next_due_at=(await self.look_up()).next_at,
            is_done=is_done,
            is_left_to_another=not is_ours and not self.is_stopping,
        )

    async def takes_charge(self, end: datetime) -> bool:
        """Become who schedules; tell whether that was possible before ``end``.

        A process that was killed leaves a lease behind, which is waited for.
        """
        while not self.is_stopping:
            if await self.is_in_charge():
                return True
            if self.now() >= end:
                return False
            await poked_or_after(self.poked, self.waits.succession)
        return False

    async def all_done(self, end: datetime) -> bool:
        """Do what is due, and ask what that raised; tell whether that was before ``end``."""
        if not await self.until_idle(end):
            return False
        async with self.database.writing() as session:
            await self.beat(session, self.now())
        return await self.until_idle(end)

    async def until_idle(self, end: datetime) -> bool:
        """Do what is due until nothing is, not even soon; tell whether that was before ``end``."""
        while not self.is_stopping and self.now() < end:
            self.poked.clear()
            await self.start_due()
            if self.is_standing_by:
                return False
            due, now = await self.look_up(), self.now()
            is_soon = due.next_at is not None and due.next_at < now + self.waits.linger
            if not is_soon and not self.running and not self.poked.is_set():
                return True
            await poked_or_after(self.poked, self.rest(due))
        return False

    async def start_due(self) -> Agenda | None:
        """Start all that is due and for which there is a place, if this is who schedules.

        Return what the rows said, None where another process schedules.
        """
        await self.announce()
        if not await self.is_in_charge() and not self.is_one_of_many:
            return None
        due = await self.look_up()
        if due.polls:
            await self.start_polls()
        if due.archives:
            await self.start_archives()
        if due.looks:
            await self.start_looks()
        if due.posts:
            await self.start_posts()
        if due.notices and len(self.tellings) < TELLINGS:
            self.start(self.tellings, self.guarded("tell", self.notifier.tell_due()))
        return due

    async def start_polls(self) -> None:
        """Poll the connections whose turn it is."""
        for turn in await self.claimed(connections.claim_polls, self.places()):
            self.start_poll(turn)

    def start_poll(self, turn: connections.Turn) -> asyncio.Task[None]:
        """Poll a connection."""
        poll, trouble = self.poller.poll(turn), partial(self.poller.note_trouble, turn)
        park = partial(connections.park, turn=turn)
        return self.start(self.polls, self.guarded("poll", poll, trouble, park))

    async def start_posts(self) -> None:
        """Send the posts whose turn it is."""
        for attempt in await self.publisher.claim(POSTS - len(self.posts)):
            self.start_post(attempt)

    def start_post(self, attempt: Sending | Fetching) -> asyncio.Task[None]:
        """Send a post. A bug leaves it to its lease: nobody knows whether it was sent."""
        deliver, park = self.publisher.deliver(attempt), partial(self.publisher.park, attempt)
        return self.start(self.posts, self.guarded("post", deliver, park=park))

    async def start_archives(self) -> None:
        """Read one more page of each archive that is to be read."""
        for turn in await self.claimed(connections.claim_archives, ARCHIVES - len(self.archives)):
            archive = self.poller.archive(turn)
            trouble = partial(self.poller.note_archive_trouble, turn)
            park = partial(connections.park_archive, turn=turn, now=self.now())
            self.start(self.archives, self.guarded("archive", archive, trouble, park))

    async def start_looks(self) -> None:
        """Look at the sites whose turn it is."""
        for look in await self.claimed_looks(LOOKS - len(self.looks)):
            trouble, park = partial(self.looker.note_trouble, look), partial(looks.park, turn=look)
            self.start(self.looks, self.guarded("look", self.looker.look(look), trouble, park))

    def places(self) -> int:
        """Return how many more connections may be polled now.

        One of many takes no more than it may ask Trakt for: others may be asked to wait less.
        """
        most = min(POLLS, self.poller.trakt.budget.left()) if self.is_one_of_many else POLLS
        return most - len(self.polls)

    async def announce(self) -> None:
        """Say, as one of many, that this process works; also when its clock was set back."""
        now, length = self.now(), self.waits.scheduler_lease
        is_known = self.announced_at and self.announced_at <= now < self.announced_at + length / 3
        if not self.is_one_of_many or is_known:
            return
        async with self.database.writing() as session:
            await workers.announce(session, self.name, now + length)
        self.announced_at = now

    async def is_in_charge(self) -> bool:
        """Take or renew the lease when it is time to; tell whether it is ours.

        What is to be done now and then is done with it. A clock that was set back ends what we
        know of the lease.
        """
        now, length = self.now(), self.waits.scheduler_lease
        if self.renewed_at and self.renewed_at <= now < self.renewed_at + length / 3:
            return True
        other, tended_at = None, self.tended_at
        if self.is_standing_by:
            async with self.database.reading() as session:
                other = await lease.holder(session, now, length)
                self.poller.stretched = await workers.stretched(session)
        if other is None:
            async with self.database.writing() as session:
                other = await lease.take(session, self.name, now, length)
                if other is None:
                    tended_at = await self.tend(session, now)
        if other is not None:
            self.stand_by(other.owner)
            return False
        if self.tended_at is None:
            await judge_all(self.database, self.poller.refresher.vault, now)
        if self.is_standing_by:
            log.info("this process is the scheduler now")
        self.renewed_at, self.tended_at, self.is_standing_by = now, tended_at, False
        return True

    def stand_by(self, other: str) -> None:
        """Claim nothing while another process holds the lease; say so once."""
        if not self.is_standing_by and not self.is_one_of_many:
            log.warning("another process holds the scheduler; this one stands by", holder=other)
        # The other one beats: how long it was silent is asked anew when it is our turn.
        self.renewed_at = self.tended_at = None
        self.is_standing_by = True

    async def step_down(self) -> None:
        """Give the lease back, so that another process goes on at once."""
        self.renewed_at = None
        async with self.database.writing() as session:
            await lease.release(session, self.name)
            if self.is_one_of_many:
                await workers.leave(session, self.name, self.now())

    async def claimed(
        self,
        claim: Callable[..., Awaitable[list[connections.Turn]]],
        places: int,
    ) -> list[connections.Turn]:
        """Return the turns that ``claim`` gives us for so many free places."""
        if places <= 0:
            return []
        now = self.now()
        async with self.database.writing() as session:
            return await claim(session, now, now + self.waits.poll_lease, places)

    async def claimed_looks(self, places: int) -> list[LookTurn]:
        """Return the sites to look at now, for so many free places."""
        if places <= 0:
            return []
        now = self.now()
        async with self.database.writing() as session:
            return await looks.claim(session, now, now + self.waits.look_lease, places)

    async def tend(self, session: AsyncSession, now: datetime) -> datetime:
        """Beat once a minute, and ask people what only they can tell; return when last done."""
        if self.tended_at and self.tended_at <= now < self.tended_at + self.waits.heartbeat:
            return self.tended_at
        await self.beat(session, now)
        return now

    async def beat(self, session: AsyncSession, now: datetime) -> None:
        """Note that we work, and ask people what only they can tell.

        At the start a long silence may mean that this database is an old copy, put back; so may
        a last beat in the future, which a wrong clock has told.
        """
        if ahead := await setback.mend(session, now):
            log.warning("the clock was set back; what it had put off is done", by=str(ahead))
        key_name = self.poller.refresher.vault.key_name
        # A beat a minute is no silence, however often Trakt is to be asked.
        longest = 2 * max(self.poller.interval, self.waits.heartbeat)
        last = await gates.beat(session, key_name, now, longest)
        if last:
            log.warning("silent since", heartbeat=last)
        age = last or (gates.UNKNOWN if ahead and ahead > longest else None)
        if age and self.tended_at is None:
            await gates.shut(session, age, now)
        await self.stretch(session, now)
        # Before notices are locked: whoever signs in or leaves ends sessions last.
        await accounts.sweep(session, now)
        await gates.ask(session, now)
        await undecided.tell(session, now, self.waits)
        await undecided.end(session, now)

    async def stretch(self, session: AsyncSession, now: datetime) -> None:
        """Ask each connection as often as wished, or as often as all addresses may; say it once."""
        poller, number = self.poller, await workers.connections(session)
        addresses = max(1, await workers.count(session, now))
        possible = affordable(poller.interval, number, poller.trakt.budget.limit, addresses)
        stretched = possible if possible > poller.interval else None
        if stretched != await workers.stretched(session):
            minutes = possible / timedelta(minutes=1)
            log.warning(
                "so many are asked that each is asked this often",
                connections=number,
                addresses=addresses,
                minutes=minutes,
            )
            await workers.stretch(session, stretched)
        poller.stretched = stretched

    def start(self, running: Work, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside all else and look again when it is done."""
        task = asyncio.create_task(work)
        running.add(task)
        running.begun += 1
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: self.poke())
        return task

    async def guarded(
        self,
        job: str,
        work: Coroutine[Any, Any, None],
        note: Note | None = None,
        park: Park | None = None,
    ) -> None:
        """Run ``work``; a bug in it is logged, noted for the person, and ends only this piece.

        What is cut short is parked, so that the next process need not wait for its lease.
        """
        # A task of its own has a context of its own: every line of this work names it.
        bind_contextvars(job=f"{job}-{secrets.token_hex(4)}")
        try:
            with self.metrics.timed(job):
                await work
        except asyncio.CancelledError:
            if park:
                async with self.database.writing() as session:
                    await park(session)
            raise
        except Exception as error:
            # One account's bug must not stop everyone else's posts.
            log.exception("work failed")
            self.metrics.ended(job, error)
            self.metrics.bug(job, error, self.now())
            if note:
                await note(error)

    def rest(self, due: Agenda | None) -> timedelta:
        """Return how long there is nothing to do, as far as the rows tell.

        What our own work changes is no matter: whatever ends looks again.
        """
        if due is None:
            return self.waits.succession
        nothing = due.next_at - self.now() if due.next_at else self.waits.longest_rest
        # The lease is renewed between two rests.
        longest = min(self.waits.longest_rest, self.waits.scheduler_lease / 3)
        return max(min(nothing, longest), self.waits.shortest_rest)

    async def look_up(self) -> Agenda:
        """Return what is to be done now, and when there is something next."""
        async with self.database.reading() as session:
            return await agenda.read(session, self.now())

    async def finish(self) -> None:
        """Let what is in flight end; what cannot end in time is parked, or left to its lease.

        Except a refresh, which is waited for: its answer holds the only copy of a token pair.
        """
        if self.running:
            _, late = await asyncio.wait(
                self.running, timeout=self.waits.last_words.total_seconds()
            )
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*self.poller.refresher.under_way, return_exceptions=True)
        # What was cancelled while it was saved with others is saved all the same.
        saved = self.poller.saving.under_way | self.publisher.saving.under_way
        await asyncio.gather(*saved, return_exceptions=True)


async def poked_or_after(poked: asyncio.Event, rest: timedelta) -> None:
    """Wait until poked, at most ``rest``."""
    try:
        async with asyncio.timeout(rest.total_seconds()):
            await poked.wait()
    except TimeoutError:
        return
