"""What a real server needs: to start, when it has nothing to do, and after much work."""

import asyncio
import time
from functools import partial
from pathlib import Path

import httpx2

from app.main import utcnow
from app.settings import Settings
from bench import crowd
from bench.bridge import is_busy, move_in, running_bridge, settings_at
from bench.crowd import JOINED
from bench.figures import Figure, Run, of_runs
from bench.others import others
from bench.rounds import residents
from bench.server import Server, cpu, resident, served

IDLE = "memory, idle"
PATIENCE = 300  # seconds for a round
# What a start leaves to be done is done by then.
SETTLED = 5  # seconds


async def start_figures(folder: Path, times: int = 3) -> list[Figure]:
    """Return what it takes until a server has answered, with a new database and with its own."""
    settings = settings_at(folder, "http://127.0.0.1:9")
    first = await started(settings, folder)
    again = [await started(settings, folder) for _ in range(times)]
    return [
        of_runs("start to the first answer, migrating a new database", [first]),
        of_runs("start to the first answer", again),
    ]


async def started(settings: Settings, folder: Path) -> Run:
    """Start a server and return what that took until the first page is here."""
    began = time.perf_counter()
    async with served(settings, folder) as server:
        await landing(server)
        return Run(time.perf_counter() - began, cpu(server.process), 0)


async def landing(server: Server) -> None:
    """Look at the first page."""
    async with httpx2.AsyncClient(trust_env=False) as browser:
        (await browser.get(server.origin)).raise_for_status()


async def idle_figures(folder: Path, seconds: float = 30, settled: float = SETTLED) -> list[Figure]:
    """Return what a server needs for so long that has one account, and nothing to do."""
    with others(partial(crowd.make, 1, 0.0), 2) as away:
        trakt, sites = away.origins
        settings = settings_at(folder, trakt)
        async with running_bridge(settings, utcnow) as running:
            await move_in(running.bridge, residents(1, sites), crowd.stamp(JOINED))
            await running.work()
        async with served(settings, folder) as server:
            await landing(server)
            await asyncio.sleep(settled)
            before = cpu(server.process)
            await asyncio.sleep(seconds)
            share = (cpu(server.process) - before) / seconds
            return [
                Figure(IDLE, resident(server.process), "MB"),
                Figure("CPU, idle, of one core", share * 100, "%", f"once, for {seconds:.0f} s"),
            ]


async def memory_figures(folder: Path, accounts: int) -> list[Figure]:
    """Return the memory of a server after a round over all accounts."""
    with others(partial(crowd.make, accounts, 0.0), 2) as away:
        trakt, sites = away.origins
        settings = settings_at(folder, trakt)
        async with running_bridge(settings, utcnow) as running:
            running.scheduler.stop()
            await move_in(running.bridge, residents(accounts, sites), crowd.stamp(JOINED))
            async with served(settings, folder) as server, asyncio.timeout(PATIENCE):
                while await is_busy(running.bridge):  # noqa: ASYNC110 - it happens in another process
                    await asyncio.sleep(0.2)
                full = resident(server.process)
    return [Figure(after_a_round(accounts), full, "MB")]


def after_a_round(accounts: int) -> str:
    """Return what the memory of a process is called that has polled so many accounts."""
    return f"memory after a round over {accounts:,} accounts"
