"""When: the rows say what is due, and this loop hands it to the coroutines that do it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from app.database import Database
from app.poll import LEASE, Poller
from app.publish import Publisher
from app.store import connections, posts

log = structlog.get_logger()

# So many at a time; one slow site or connection holds one place of these.
POLLS = 100
ARCHIVES = 4
POSTS = 50
# Other processes write beside us (a command, a second server), so look at least this often.
LONGEST_REST = timedelta(seconds=5)
SHORTEST_REST = timedelta(milliseconds=50)
# A platform kills a process ten seconds after it has asked it to end.
LAST_WORDS = timedelta(seconds=8)


@dataclass(slots=True)
class Scheduler:
    """Polls, archives and delivers what is due, until it is stopped."""

    database: Database
    poller: Poller
    publisher: Publisher
    now: Callable[[], datetime]
    poked: asyncio.Event = field(default_factory=asyncio.Event)
    is_stopping: bool = False
    polls: set[asyncio.Task[None]] = field(default_factory=set)
    archives: set[asyncio.Task[None]] = field(default_factory=set)
    posts: set[asyncio.Task[None]] = field(default_factory=set)

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
                await self.start_due()
                rest = await self.rest()
            except Exception:
                # Nothing that happens to one account may stop the others for good.
                log.exception("scheduler failed")
                rest = LONGEST_REST
            await poked_or_after(self.poked, rest)

    async def start_due(self) -> None:
        """Start all that is due and for which there is a place."""
        for turn in await self.claimed(connections.claim_polls, POLLS - len(self.polls)):
            poll, trouble = self.poller.poll(turn), self.poller.note_trouble
            self.start(self.polls, guarded(poll, partial(trouble, turn)))
        for turn in await self.claimed(connections.claim_archives, ARCHIVES - len(self.archives)):
            archive, trouble = self.poller.archive(turn), self.poller.note_archive_trouble
            self.start(self.archives, guarded(archive, partial(trouble, turn)))
        while len(self.posts) < POSTS and (attempt := await self.publisher.claim()):
            # A bug leaves the post to its lease: nobody knows whether it was sent.
            self.start(self.posts, guarded(self.publisher.deliver(attempt)))

    async def claimed(
        self,
        claim: Callable[..., Awaitable[list[connections.Turn]]],
        places: int,
    ) -> list[connections.Turn]:
        """Return the turns that ``claim`` gives us for so many free places."""
        now = self.now()
        async with self.database.reading() as session:
            if places <= 0 or not await connections.is_work(session, now):
                return []
        async with self.database.writing() as session:
            return await claim(session, now, now + LEASE, places)

    def start(self, running: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside all else and look again when it is done."""
        task = asyncio.create_task(work)
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: self.poke())

    async def rest(self) -> timedelta:
        """Return how long there is nothing to do, as far as the rows tell."""
        now = self.now()
        async with self.database.reading() as session:
            times = [
                await connections.next_due(session, now),
                await posts.next_due(session, now),
            ]
        waits = [when - now for when in times if when]
        return max(min([*waits, LONGEST_REST]), SHORTEST_REST)

    async def finish(self) -> None:
        """Let what is in flight end; what cannot end in time is left to its lease.

        Except a refresh, which is waited for: its answer holds the only copy of a token pair.
        """
        running = self.polls | self.archives | self.posts
        if running:
            _, late = await asyncio.wait(running, timeout=LAST_WORDS.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*self.poller.refresher.under_way, return_exceptions=True)


Note = Callable[[Exception], Awaitable[None]]


async def guarded(work: Coroutine[Any, Any, None], note: Note | None = None) -> None:
    """Run ``work``; a bug in it is logged, noted for the person, and ends only this piece."""
    try:
        await work
    except Exception as error:
        # One account's bug must not stop everyone else's posts.
        log.exception("work failed")
        if note:
            await note(error)


async def poked_or_after(poked: asyncio.Event, rest: timedelta) -> None:
    """Wait until poked, at most ``rest``."""
    try:
        async with asyncio.timeout(rest.total_seconds()):
            await poked.wait()
    except TimeoutError:
        return
