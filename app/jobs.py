"""Optional: polls and posts are handed to workers as jobs of PgQueuer, in one PostgreSQL.

A job only names a row, and the row stays the schedule and the truth: whoever is given the job
claims the row as ever, and does nothing where it is not due (any more). So it does not matter when
a job is lost, or is given to two.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import psycopg
import structlog
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.models import Job
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel, QueueEntrypoint
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from app.posters import Fetching
from app.publish import Sending
from app.scheduler import POLLS, POSTS, Scheduler
from app.store import connections
from app.store.agenda import Agenda
from app.store.connections import Turn
from app.together import Together

log = structlog.get_logger()

R = TypeVar("R")

POLL = QueueEntrypoint("poll")
POST = QueueEntrypoint("post")
# What PgQueuer's tables are called, which our migrations make. Each is named, as its library would
# look into the environment for what is not.
NAMES = DBSettings(
    prefix="queue_",
    db_schema=None,
    channel=Channel("queue_ch_pgqueuer"),
    function="queue_fn_pgqueuer_changed",
    statistics_table="queue_pgqueuer_statistics",
    queue_status_type="queue_pgqueuer_status",
    queue_table="queue_pgqueuer",
    queue_table_log="queue_pgqueuer_log",
    trigger="queue_tg_pgqueuer_changed",
    schedules_table="queue_pgqueuer_schedules",
    # The rows say it all again.
    durability=Durability.volatile,
)
# So many rows become jobs at a time, and so many jobs are taken at a time.
MOST = 1000
BATCH = 50
# So long a row that is still due is not offered again.
PAUSE = timedelta(milliseconds=500)


class Driver(PsycopgDriver):
    """Asks on another connection than the one it listens on, which psycopg keeps for itself."""

    def __init__(self, listening: psycopg.AsyncConnection, asking: psycopg.AsyncConnection) -> None:
        super().__init__(listening)
        self.asking = PsycopgDriver(asking)

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Return the rows of a query."""
        return await self.asking.fetch(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Execute a statement; return what it says of itself."""
        return await self.asking.execute(query, *args)


@dataclass
class Taker(QueueManager):
    """Takes jobs of the kinds for which this process has places, as ``kinds`` tells."""

    kinds: Callable[[], set[QueueEntrypoint]] = field(kw_only=True)

    def entrypoints_below_capacity_limits(self) -> set[QueueEntrypoint]:
        """Return the kinds of jobs that may be taken now."""
        return self.kinds()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Queries]:
    """Connect to PgQueuer's tables during the block."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    async with (
        await psycopg.AsyncConnection.connect(plain, autocommit=True) as listening,
        await psycopg.AsyncConnection.connect(plain, autocommit=True) as asking,
    ):
        yield Queries(
            Driver(listening, asking),
            QueryBuilderEnvironment(NAMES),
            QueryQueueBuilder(NAMES),
            QuerySchedulerBuilder(NAMES),
        )


@dataclass
class JobScheduler(Scheduler):
    """One of many: offers what is due as jobs, and does those that it is given."""

    url: str = ""
    queries: Queries | None = None
    taker: Taker | None = None
    offered_at: dict[str, datetime] = field(default_factory=dict)
    turns: Together[int, Turn | None] = field(init=False)
    attempts: Together[int, Sending | Fetching | None] = field(init=False)

    def __post_init__(self) -> None:
        self.is_one_of_many = True
        # Jobs come one by one, and would be as many transactions.
        self.turns = Together(self.waits.together, self.turns_of)
        self.attempts = Together(self.waits.together, self.attempts_of)

    def stop(self) -> None:
        """Begin nothing more, and take no job."""
        Scheduler.stop(self)
        if self.taker:
            self.taker.shutdown.set()
            # It notices within a second, which would be missing at the end.
            self.taker.queries.driver.shutdown.set()

    async def run(self) -> None:
        """Offer and do jobs until told to stop."""
        taking = asyncio.create_task(self.take())
        await Scheduler.run(self)
        while not taking.done():
            await self.finish()
            await asyncio.wait([taking], timeout=self.waits.together.total_seconds())

    async def take(self) -> None:
        """Do the jobs that come; where the database went away, connect anew."""
        while not self.is_stopping:
            try:
                async with connected(self.url) as self.queries:
                    await self.take_from(self.queries)
            except Exception as error:
                log.exception("no jobs can be taken")
                self.metrics.bug("jobs", error, self.now())
            self.queries = self.taker = None
            if not self.is_stopping:
                await asyncio.sleep(self.waits.succession.total_seconds())

    async def take_from(self, queries: Queries) -> None:
        """Do the jobs that come until told to stop."""
        self.taker = taker = Taker(queries, NAMES.channel, kinds=self.kinds)
        taker.entrypoint(POLL)(self.poll_job)
        taker.entrypoint(POST)(self.post_job)
        if self.is_stopping:
            return
        await taker.run(
            dequeue_timeout=self.waits.longest_rest,
            batch_size=BATCH,
            max_concurrent_tasks=POLLS + POSTS,
            shutdown_on_listener_failure=True,
            # Whoever does not say so often that they are at work has died.
            heartbeat_timeout=self.waits.scheduler_lease,
            log_aggregation_interval=timedelta(0),
        )

    def kinds(self) -> set[QueueEntrypoint]:
        """Return the kinds of jobs for which there are places."""
        free = {POLL: self.places(), POST: POSTS - len(self.posts)}
        return {kind for kind, places in free.items() if places > 0}

    async def start_polls(self) -> None:
        """Offer the connections whose turn it is; one process does that for all."""
        if not self.is_standing_by and self.may_offer(POLL):
            async with self.database.reading() as session:
                await self.offer(POLL, await connections.due(session, self.now(), MOST))

    async def start_posts(self) -> None:
        """Offer the sites that may be sent a post."""
        if self.may_offer(POST):
            await self.offer(POST, await self.publisher.waiting(MOST))

    def may_offer(self, kind: str) -> bool:
        """Tell whether a kind of job was not offered just now."""
        now, last = self.now(), self.offered_at.get(kind)
        is_just_now = last is not None and last <= now < last + PAUSE
        return self.queries is not None and not is_just_now

    async def offer(self, kind: str, ids: Sequence[int]) -> None:
        """Make a job of each row, unless there is one."""
        self.offered_at[kind] = self.now()
        if ids and self.queries:
            await self.queries.enqueue(
                [kind] * len(ids),
                [str(one).encode() for one in ids],
                # A post is older news than whatever a poll may find.
                [int(kind == POST)] * len(ids),
                dedupe_key=[f"{kind}-{one}" for one in ids],
                on_conflict="skip",
            )

    def rest(self, due: Agenda | None) -> timedelta:
        """Return how long there is nothing to do; what is due is offered again and again."""
        rest = Scheduler.rest(self, due)
        return min(rest, PAUSE) if due and (due.polls or due.posts) else rest

    async def poll_job(self, job: Job) -> None:
        """Poll a connection, if it is still due."""
        if not self.is_stopping and (turn := await self.turns.do(row_of(job))):
            await self.start_poll(turn)

    async def post_job(self, job: Job) -> None:
        """Send a site its next post, if there still is one."""
        if not self.is_stopping and (attempt := await self.attempts.do(row_of(job))):
            await self.start_post(attempt)

    async def turns_of(self, ids: Sequence[int]) -> list[Turn | None]:
        """Claim these connections; None for each that is not due, or must wait for a place."""
        claim = partial(connections.claim_polls, only=ids)
        turns = await self.claimed(claim, min(len(ids), self.places()))
        return in_order(ids, {turn.id: turn for turn in turns})

    async def attempts_of(self, ids: Sequence[int]) -> list[Sending | Fetching | None]:
        """Claim the next post of each of these sites; None where there is none to be sent."""
        attempts = await self.publisher.claim(min(len(ids), POSTS - len(self.posts)), ids)
        return in_order(ids, {attempt.site.account_id: attempt for attempt in attempts})

    async def beat(self, session: AsyncSession, now: datetime) -> None:
        """Do what is done once a minute, and forget what PgQueuer wrote down."""
        await Scheduler.beat(self, session, now)
        if self.queries:
            await self.queries.clear_queue_log()


def row_of(job: Job) -> int:
    """Return the id of the row that a job names."""
    return int(job.payload or b"0")


def in_order(ids: Sequence[int], found: dict[int, R]) -> list[R | None]:
    """Return what was found for each id, and for one that is there twice only once."""
    return [found.pop(one, None) for one in ids]
