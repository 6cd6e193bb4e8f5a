"""Rounds by several worker processes on one PostgreSQL, the row claimed or handed out as a job."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import func, select, update
from sqlmodel import col

from app.main import utcnow
from app.tables import ConnectionRow, WorkerRow
from bench import crowd
from bench.bridge import Measured, first_trouble, is_busy, move_in, running_bridge, settings_at
from bench.crowd import JOINED, Crowd
from bench.figures import Figure, Run, of_runs
from bench.others import Others, others
from bench.rounds import NO_LATENCY, residents, shown
from bench.server import cpu, environment
from tests.postgres import postgres_server

# How workers share: what it is called, and the words of the command.
WAYS = {"rows claimed": (), "jobs of PgQueuer": ("--queue",)}
# There and back: what else the machine does changes with time.
TURNS = (*WAYS, *reversed(WAYS))
SIZES = (1, 2, 4)
# Of each way, with each latency.
Runs = dict[str, dict[timedelta, list[Run]]]
# Workers look at the rows this often; after twice that each knows when the next one is due.
REST = timedelta(seconds=1)
PATIENCE = 120  # seconds


@dataclass(frozen=True, slots=True)
class Fleet:
    """Some workers, their database, and the crowd that is Trakt to them."""

    measured: Measured
    crowd: Others[Crowd]
    processes: Sequence[Process]
    rest: timedelta

    async def round(self) -> Run:
        """Return what it takes to poll everybody, from the moment in which all are due."""
        lead = 2 * self.rest
        due, asked, used = utcnow() + lead, await self.crowd.do(crowd.asked), self.used()
        await all_due(self.measured, due)
        await asyncio.sleep(lead.total_seconds())
        async with asyncio.timeout(PATIENCE):
            while await is_busy(self.measured.bridge):  # noqa: ASYNC110 - it happens in other processes
                await asyncio.sleep(0.1)
        if trouble := await first_trouble(self.measured.bridge):
            raise RuntimeError(f"this figure would not be true: {trouble}")
        seconds = (await self.last_poll() - due).total_seconds()
        return Run(seconds, self.used() - used, await self.crowd.do(crowd.asked) - asked)

    def used(self) -> float:
        """Return the processor seconds that all workers have used."""
        return sum(map(cpu, self.processes))

    async def last_poll(self) -> datetime:
        """Return when a poll was saved last."""
        async with self.measured.bridge.database.reading() as session:
            last: datetime | None = await session.scalar(
                select(func.max(col(ConnectionRow.polled_at)))
            )
        if last is None:
            raise RuntimeError("nobody was polled")
        return last


@dataclass(frozen=True, slots=True)
class Place:
    """A database with its people, where workers are to be started."""

    measured: Measured
    crowd: Others[Crowd]
    values: Mapping[str, str]

    @asynccontextmanager
    async def working(
        self, number: int, *words: str, **values: str
    ) -> AsyncIterator[list[Process]]:
        """Run so many workers more during the block."""
        async with AsyncExitStack() as stack:
            before = await self.names()
            processes = []
            for _ in range(number):
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "app", "work", *words),
                    env={**self.values, **values},
                    stderr=DEVNULL,
                )
                stack.push_async_callback(ended, process)
                processes.append(process)
            async with asyncio.timeout(PATIENCE):
                while len(await self.names() - before) < number:
                    if any(process.returncode is not None for process in processes):
                        raise RuntimeError("a worker did not start")
                    await asyncio.sleep(0.1)
            yield processes

    async def names(self) -> set[str]:
        """Return the names of all workers that have said that they work."""
        async with self.measured.bridge.database.reading() as session:
            return {*await session.scalars(select(col(WorkerRow.name)))}


async def ended(process: Process) -> None:
    """Let a worker end as it wishes."""
    if process.returncode is None:
        process.terminate()
    await process.wait()


async def all_due(measured: Measured, at: datetime) -> None:
    """Let everybody be due then, whoever polls them now."""
    async with measured.bridge.database.writing() as session:
        await session.execute(update(ConnectionRow).values(next_poll_at=at, polling_until=None))


@asynccontextmanager
async def place(url: str, folder: Path, accounts: int) -> AsyncIterator[Place]:
    """Let so many people move into an empty database of PostgreSQL, where nobody works yet."""
    with others(partial(crowd.make, accounts, 0.0), 2) as away:
        trakt, sites = away.origins
        settings = settings_at(folder, trakt, database_url=url)
        async with running_bridge(settings, utcnow) as running:
            running.scheduler.stop()
            await move_in(running.bridge, residents(accounts, sites), crowd.stamp(JOINED))
            yield Place(running, away, environment(settings))


async def worker_figures(folder: Path, accounts: int, latency: timedelta) -> list[Figure]:
    """Return how many polls a second so many workers do, in both ways, with and without latency."""
    with postgres_server(is_careless=False) as server:
        async with place(server.get_uri(), folder, accounts) as there:
            return [
                figure
                for number in SIZES
                for figure in await figures_of(there, number, accounts, latency)
            ]


async def figures_of(
    there: Place,
    number: int,
    accounts: int,
    latency: timedelta,
    rest: timedelta = REST,
    turns: Sequence[str] = TURNS,
) -> list[Figure]:
    """Return the figures of so many workers, by the ways in these turns, of two rounds each."""
    runs: Runs = {way: {NO_LATENCY: [], latency: []} for way in WAYS}
    for way in turns:
        values = {"WAITS__LONGEST_REST": str(rest.total_seconds())}
        async with there.working(number, *WAYS[way], **values) as processes:
            fleet = Fleet(there.measured, there.crowd, processes, rest)
            for pause, found in (await rounds(fleet, latency)).items():
                runs[way][pause] += found
    return [
        figure
        for pause in (NO_LATENCY, latency)
        for figure in compared(runs, number, accounts, pause)
    ]


async def rounds(fleet: Fleet, latency: timedelta) -> dict[timedelta, list[Run]]:
    """Return two rounds without latency and two with it, after one that counts for nothing."""
    runs = {}
    await fleet.round()
    for pause in (NO_LATENCY, latency):
        await fleet.crowd.do(partial(crowd.take_time, pause.total_seconds()))
        runs[pause] = [await fleet.round() for _ in range(2)]
    await fleet.crowd.do(partial(crowd.take_time, 0.0))
    return runs


def compared(runs: Runs, number: int, accounts: int, pause: timedelta) -> list[Figure]:
    """Return the figures of the ways beside each other, and what the second is to the first."""
    figures = []
    for way, found in runs.items():
        what = f"{accounts:,} accounts, {workers_of(number)}, {way}, {shown(pause)}"
        whole = of_runs(what, found[pause])
        figures.append(replace(whole, number=accounts / whole.number, unit="polls a second"))
    rows, jobs = figures
    how = f"CPU {(jobs.cpu or 0) / (rows.cpu or 1):.2f} times"
    return [*figures, Figure("… jobs beside rows", jobs.number / rows.number, "times", how)]


def workers_of(number: int) -> str:
    """Return a number of workers, in words."""
    return "1 worker" if number == 1 else f"{number} workers"
