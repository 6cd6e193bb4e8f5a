"""How much memory a real server holds: alone, and after a round over many accounts."""

import asyncio
from asyncio.subprocess import Process
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.main import utcnow
from bench import crowd
from bench.bridge import is_busy, move_in, running_bridge, settings_at
from bench.crowd import JOINED
from bench.figures import said
from bench.others import others
from bench.rounds import residents
from bench.server import served

PATIENCE = 300  # seconds for a round


@dataclass(frozen=True, slots=True)
class Memory:
    """What `/proc` says of a server's resident memory, in MB of a million bytes."""

    what: str
    megabytes: float

    def line(self) -> str:
        """Return the figure as a line."""
        return said(self.what, f"{self.megabytes:7.1f} MB resident, once")


async def memory_figures(folder: Path, accounts: int) -> list[Memory]:
    """Return the memory of `serve` before anybody came, and after a round over all accounts."""
    with others(partial(crowd.make, accounts, 0.0), 2) as away:
        trakt, sites = away.origins
        alone, crowded = folder / "alone", folder / "crowded"
        for made in (alone, crowded):
            made.mkdir()
        settings = settings_at(alone, trakt)
        async with served(settings, alone) as server:
            idle = resident(server)
        settings = settings_at(crowded, trakt)
        async with running_bridge(settings, utcnow) as running:
            running.scheduler.stop()
            await move_in(running.bridge, residents(accounts, sites), crowd.stamp(JOINED))
            async with served(settings, crowded) as server, asyncio.timeout(PATIENCE):
                while await is_busy(running.bridge):  # noqa: ASYNC110 - it happens in another process
                    await asyncio.sleep(0.2)
                full = resident(server)
    return [
        Memory("server, before anybody came", idle),
        Memory(f"server, after a round over {accounts:,} accounts", full),
    ]


def resident(process: Process) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(kilobytes) * 1024 / 1e6


def is_measurable() -> bool:
    """Tell whether this system shows the memory of a process, as Linux does."""
    return Path("/proc/self/status").exists()
