"""Rounds over many accounts, against a Trakt and websites that take their time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from app.main import utcnow
from bench import crowd
from bench.bridge import Measured, Resident, move_in, running_bridge, settings_at
from bench.crowd import JOINED, Crowd
from bench.figures import Figure, Run, measured, of_runs
from bench.others import Others, others

NO_LATENCY = timedelta()
POLL = "CPU of a poll, nothing new"


@dataclass(frozen=True, slots=True)
class Town:
    """A bridge with its people, and the crowd that is their Trakt and their websites."""

    measured: Measured
    crowd: Others[Crowd]

    async def asked(self) -> int:
        """Return how many requests there were."""
        return await self.crowd.do(crowd.asked)

    async def round(self) -> Run:
        """Return what polling everybody takes, with all posts that come of it."""
        return await measured(self.measured.poll_all, self.asked)

    async def round_with_news(self) -> Run:
        """Return what a round takes in which everybody has watched something."""
        await self.crowd.do(partial(crowd.everybody_watches, 1, utcnow()))
        run = await self.round()
        await self.check()
        return run

    async def check(self) -> None:
        """Make sure that everybody's site holds all plays, each once."""
        if wrongs := await self.crowd.do(crowd.wrongs):
            raise RuntimeError(f"{wrongs} plays are not posted exactly once")


@asynccontextmanager
async def running_town(folder: Path, size: int) -> AsyncIterator[Town]:
    """Run a bridge for ``size`` people, all of them polled once and at rest."""
    with others(partial(crowd.make, size, 0.0), 2) as away:
        trakt, sites = away.origins
        async with running_bridge(settings_at(folder, trakt), utcnow) as running:
            await move_in(running.bridge, residents(size, sites), crowd.stamp(JOINED))
            await running.work()
            yield Town(running, away)


def residents(size: int, sites: str) -> list[Resident]:
    """Return people whose posting began before all their plays."""
    return [
        Resident(
            me=f"{sites}/{who}/",
            micropub=f"{sites}/{who}/micropub",
            trakt_token=crowd.token(who),
            start_at=JOINED,
        )
        for who in range(size)
    ]


async def round_figures(
    folder: Path, accounts: int, latency: timedelta, times: int = 3
) -> list[Figure]:
    """Return what rounds over so many accounts take, with that latency and without any."""
    async with running_town(folder, accounts) as town:
        at_once = [await town.round() for _ in range(times)]
        await town.crowd.do(partial(crowd.take_time, latency.total_seconds()))
        unchanged = [await town.round() for _ in range(times)]
        # A thousand repetitions in itself, and it takes long.
        news = [await town.round_with_news()]
    first = of_runs(idle_round(accounts, NO_LATENCY), at_once)
    return [
        first,
        Figure(POLL, (first.cpu or 0) * 1000 / accounts, "ms", first.how),
        of_runs(idle_round(accounts, latency), unchanged),
        of_runs(round_with_news(accounts, latency), news),
    ]


def idle_round(accounts: int, latency: timedelta) -> str:
    """Return what a round is called in which nobody has watched anything."""
    return f"round, {accounts:,} accounts, nothing new, {shown(latency)}"


def round_with_news(accounts: int, latency: timedelta) -> str:
    """Return what a round is called in which everybody has watched something."""
    return f"round, {accounts:,} accounts, 1 new watch each, {shown(latency)} + {shown(latency)}"


def shown(latency: timedelta) -> str:
    """Return a latency for people."""
    return f"{latency / timedelta(milliseconds=1):.0f} ms" if latency else "no latency"


async def import_figures(folder: Path, plays: int, latency: timedelta) -> list[Figure]:
    """Return what it takes to read so many plays of one person, and to post them to one site.

    First by somebody who begins today, so that all are archived; then by somebody whose posting
    began before them.
    """
    with TemporaryDirectory(dir=folder) as first, TemporaryDirectory(dir=folder) as second:
        kept = await brought(Path(first), plays, latency, utcnow())
        posted = await brought(Path(second), plays, latency, JOINED)
    return [
        of_runs(f"{plays:,} plays into the archive, {shown(latency)}", [kept]),
        of_runs(f"{plays:,} plays onto one site, {shown(latency)} + {shown(latency)}", [posted]),
    ]


async def brought(folder: Path, plays: int, latency: timedelta, start_at: datetime) -> Run:
    """Return what it takes until a history is read and all that is to be posted is."""
    with others(partial(crowd.make, 1, latency.total_seconds()), 2) as away:
        trakt, sites = away.origins
        async with running_bridge(settings_at(folder, trakt), utcnow) as running:
            at = utcnow() - timedelta(days=1)
            await away.do(partial(crowd.everybody_watches, plays, at))
            town = Town(running, away)
            run = await measured(
                partial(welcome, town, replace(*residents(1, sites), start_at=start_at)), town.asked
            )
            if start_at == JOINED:
                await town.check()
            return run


async def welcome(town: Town, newcomer: Resident) -> None:
    """Let somebody move in, and do what comes of it."""
    await move_in(town.measured.bridge, [newcomer])
    await town.measured.work()
