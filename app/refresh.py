"""Renew tokens so that a single-use refresh token is never spent twice and no pair is lost.

One process at a time refreshes: it claims the row by a committed lease, asks, and commits the
new pair before anyone uses it. A lease that has run out tells of a lost answer or a crash; the
same refresh token is then tried again: success means that the first never arrived, a refusal
that the pair is lost.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from app.database import Database
from app.errors import AnswerLost, FetchError, GrantBusy, GrantLost
from app.grants import REFRESH_LEASE, UNREADABLE, Pair, Step, is_usable, step
from app.metrics import Metrics, outcome
from app.store import grants, notices
from app.tables import ConnectionRow, Granted, SiteRow
from app.vault import Vault

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Who turns a refresh token into a new pair, and is told of a pair that nobody wants."""

    renew: Callable[[str], Awaitable[Pair]]
    forget: Callable[[Pair], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Lease:
    """One refresh of one row's tokens; it is known by the time at which it runs out."""

    row: type[SiteRow | ConnectionRow]
    key: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Refresher:
    """Keeps the tokens of sites and connections alive.

    ``under_way`` holds the refreshes in flight: a process that ends must wait for them.
    """

    database: Database
    vault: Vault
    now: Callable[[], datetime]
    metrics: Metrics
    under_way: set[asyncio.Task[Pair]] = field(default_factory=set)

    async def access_token(
        self,
        row: type[SiteRow | ConnectionRow],
        key: int,
        neighbour: Neighbour,
        refused: str | None = None,
        read: Granted | None = None,
    ) -> str:
        """Return an access token that is good to use now.

        ``refused`` is one that the ``neighbour`` just did not accept. ``read`` is the row as it
        was read a moment ago: a token in it that is good serves at once, and if somebody has
        replaced it since, it will be refused.

        Raises:
            GrantLost: only the person can grant a new one.
            GrantBusy: there is none for the moment.

        """
        now = self.now()
        until = now + REFRESH_LEASE
        if read and (token := self.good_token(read, now, refused)):
            return token
        async with self.database.reading() as session:
            pair, leased = await grants.read(session, row, key, self.vault)
        todo = step(pair, leased, now, refused)
        if todo is Step.REFRESH:
            # Most calls end above, without a lock; this one decides again under it.
            async with self.database.writing() as session:
                pair, leased = await grants.read(session, row, key, self.vault, lock=True)
                todo = step(pair, leased, now, refused)
                if todo is Step.REFRESH:
                    await grants.claim(session, row, key, until)
        if pair is None or todo is Step.LOST:
            raise GrantLost(await self.why_lost(row, key, pair))
        if todo is Step.WAIT:
            raise GrantBusy("The key is being renewed")
        if todo is Step.USE:
            return pair.access
        task = asyncio.create_task(self.renew(Lease(row, key, until), pair, neighbour))
        return await self.renewed(task, pair, refused)

    async def why_lost(
        self, row: type[SiteRow | ConnectionRow], key: int, pair: Pair | None
    ) -> str:
        """Return why there is no access token, in words for the person."""
        async with self.database.reading() as session:
            if pair is None and await grants.is_sealed(session, row, key):
                return UNREADABLE
        return "There is no key that still works"

    def good_token(self, read: Granted, now: datetime, refused: str | None) -> str | None:
        """Return the token of a row that was read a moment ago, if it is good to use now."""
        pair = grants.pair_of(read, self.vault)
        todo = step(pair, read.refreshing_until, now, refused)
        return pair.access if pair and todo is Step.USE else None

    async def renewed(self, task: asyncio.Task[Pair], pair: Pair, refused: str | None) -> str:
        """Return a fresh access token, or the old one while it cannot be renewed."""
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
        try:
            # A caller that is cancelled must not cancel this: the answer holds the only copy.
            return (await asyncio.shield(task)).access
        except GrantBusy:
            if is_usable(pair, self.now(), refused):
                return pair.access
            raise

    async def renew(self, lease: Lease, pair: Pair, neighbour: Neighbour) -> Pair:
        """Renew as `exchange` does, and count how it ended."""
        whose = "trakt" if lease.row is ConnectionRow else "site"
        try:
            fresh = await self.exchange(lease, pair, neighbour)
        except Exception as error:
            self.metrics.refreshes.labels(whose, outcome(error)).inc()
            raise
        self.metrics.refreshes.labels(whose, outcome(None)).inc()
        return fresh

    async def exchange(self, lease: Lease, pair: Pair, neighbour: Neighbour) -> Pair:
        """Ask for a new pair and commit it before anyone uses it."""
        row, key, until = lease.row, lease.key, lease.until
        try:
            fresh = await neighbour.renew(pair.refresh or "")
        except AnswerLost as error:
            # The lease stays: when it has run out, the same token is tried once more.
            log.warning("refresh answer lost", table=row.__tablename__, key=key)
            raise GrantBusy(str(error)) from error
        except (FetchError, GrantBusy) as error:
            async with self.database.writing() as session:
                await grants.release(session, row, key, until)
            wait = error.retry_after if isinstance(error, GrantBusy) else None
            raise GrantBusy(str(error), wait) from error
        except GrantLost as error:
            async with self.database.writing() as session:
                await grants.lose(session, row, key, until, str(error))
                await notices.tell_of_lock(session, row, key, self.now())
            raise
        async with self.database.writing() as session:
            is_wanted = await grants.save(session, row, key, until, fresh, self.vault)
        log.info("refreshed", table=row.__tablename__, key=key, wanted=is_wanted)
        if not is_wanted:
            if await self.is_replaced(lease, pair, fresh):
                await neighbour.forget(fresh)
            raise GrantBusy("The key was replaced while it was being renewed")
        return fresh

    async def is_replaced(self, lease: Lease, old: Pair, fresh: Pair) -> bool:
        """Tell whether the row has gone on without the ``old`` pair, or is gone itself.

        Otherwise another process renews the same pair, and may have got the same new one.
        """
        async with self.database.reading() as session:
            now, _ = await grants.read(session, lease.row, lease.key, self.vault)
        return now is None or (now.refresh != old.refresh and now.access != fresh.access)
