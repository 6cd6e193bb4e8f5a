"""When: the rows say what is due, and this loop hands it to the coroutines that do it.

Of all processes on one database one holds the scheduler's lease; the others stand by.
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
from app.publish import Publisher
from app.rotate import judge_all
from app.store import accounts, agenda, connections, gates, lease, looks, undecided
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

Note = Callable[[Exception], Awaitable[None]]


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
    now: Callable[[], datetime]
    waits: Waits
    metrics: Metrics
    poked: asyncio.Event = field(default_factory=asyncio.Event)
    is_stopping: bool = False
    polls: set[asyncio.Task[None]] = field(default_factory=set)
    archives: set[asyncio.Task[None]] = field(default_factory=set)
    posts: set[asyncio.Task[None]] = field(default_factory=set)
    looks: set[asyncio.Task[None]] = field(default_factory=set)
    tellings: set[asyncio.Task[None]] = field(default_factory=set)
    tended_at: datetime | None = None
    name: str = field(default_factory=own_name)
    renewed_at: datetime | None = None
    is_standing_by: bool = False

    @property
    def running(self) -> set[asyncio.Task[None]]:
        """All work that is under way."""
        return self.polls | self.archives | self.posts | self.looks | self.tellings

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
                rest = self.rest(await self.start_due())
            except Exception as error:
                # Nothing that happens to one account may stop the others for good.
                log.exception("scheduler failed")
                self.metrics.bug("scheduler", error, self.now())
                rest = self.waits.longest_rest
            await poked_or_after(self.poked, rest)
        await self.guarded("lease", self.step_down())

    async def start_due(self) -> Agenda | None:
        """Start all that is due and for which there is a place, if this is who schedules.

        Return what the rows said, None where another process schedules.
        """
        if not await self.is_in_charge():
            return None
        async with self.database.reading() as session:
            due = await agenda.read(session, self.now())
        if due.polls:
            await self.start_polls()
        if due.archives:
            await self.start_archives()
        if due.looks:
            await self.start_looks()
        if due.posts:
            for attempt in await self.publisher.claim(POSTS - len(self.posts)):
                # A bug leaves the post to its lease: nobody knows whether it was sent.
                self.start(self.posts, self.guarded("post", self.publisher.deliver(attempt)))
        if due.notices and len(self.tellings) < TELLINGS:
            self.start(self.tellings, self.guarded("tell", self.notifier.tell_due()))
        return due

    async def start_polls(self) -> None:
        """Poll the connections whose turn it is."""
        for turn in await self.claimed(connections.claim_polls, POLLS - len(self.polls)):
            poll, trouble = self.poller.poll(turn), self.poller.note_trouble
            self.start(self.polls, self.guarded("poll", poll, partial(trouble, turn)))

    async def start_archives(self) -> None:
        """Read one more page of each archive that is to be read."""
        places = ARCHIVES - len(self.archives)
        for turn in await self.claimed(connections.claim_archives, places):
            archive, trouble = self.poller.archive(turn), self.poller.note_archive_trouble
            self.start(self.archives, self.guarded("archive", archive, partial(trouble, turn)))

    async def start_looks(self) -> None:
        """Look at the sites whose turn it is."""
        for look in await self.claimed_looks(LOOKS - len(self.looks)):
            note = partial(self.looker.note_trouble, look)
            self.start(self.looks, self.guarded("look", self.looker.look(look), note))

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
        if not self.is_standing_by:
            log.warning(
                "another process holds the scheduler; this one answers pages and stands by",
                holder=other,
            )
        # The other one beats: how long it was silent is asked anew when it is our turn.
        self.renewed_at = self.tended_at = None
        self.is_standing_by = True

    async def step_down(self) -> None:
        """Give the lease back, so that another process goes on at once."""
        self.renewed_at = None
        async with self.database.writing() as session:
            await lease.release(session, self.name)

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
        """Beat once a minute, and ask people what only they can tell; return when last done.

        At the start a long silence may mean that this database is an old copy, put back.
        """
        if self.tended_at and self.tended_at <= now < self.tended_at + self.waits.heartbeat:
            return self.tended_at
        last = await gates.beat(session, self.poller.refresher.vault.key_name, now)
        if self.tended_at is None and last and now - last > 2 * self.poller.interval:
            log.warning("silent since", heartbeat=last)
            await gates.shut(session, last, now)
        await gates.ask(session, now)
        await undecided.tell(session, now, self.waits.unsure_told_after)
        await undecided.end(session, now)
        await accounts.sweep(session, now)
        return now

    def start(self, running: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside all else and look again when it is done."""
        task = asyncio.create_task(work)
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: self.poke())

    async def guarded(
        self, job: str, work: Coroutine[Any, Any, None], note: Note | None = None
    ) -> None:
        """Run ``work``; a bug in it is logged, noted for the person, and ends only this piece."""
        # A task of its own has a context of its own: every line of this work names it.
        bind_contextvars(job=f"{job}-{secrets.token_hex(4)}")
        try:
            with self.metrics.timed(job):
                await work
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
        waits = [due.next_at - self.now()] if due.next_at else []
        # The lease is renewed between two rests.
        longest = min(self.waits.longest_rest, self.waits.scheduler_lease / 3)
        return max(min([*waits, longest]), self.waits.shortest_rest)

    async def finish(self) -> None:
        """Let what is in flight end; what cannot end in time is left to its lease.

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
