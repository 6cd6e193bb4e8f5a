"""Reading the history of one person who has watched much: the archive, and the diff."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import library
from bench.bridge import Measured, Resident, move_in, running_bridge, settings_at
from bench.figures import Figure, Run, measured, of_runs
from bench.library import START, Library
from bench.others import Others, others
from tests.world import Clock

SERIES = 500


@dataclass(frozen=True, slots=True)
class Reader:
    """A bridge of one person, and the library it reads."""

    measured: Measured
    library: Others[Library]
    clock: Clock

    async def asked(self) -> int:
        """Return how many requests there were."""
        return await self.library.do(library.asked)

    async def later(self, **span: float) -> None:
        """Let time pass, for everybody."""
        self.clock.passes(**span)
        await self.library.do(partial(library.set_clock, self.clock()))

    async def poll(self, **later: float) -> Run:
        """Let time pass, and return what the poll then takes."""
        await self.later(**later)
        return await measured(self.measured.poll_all, self.asked)


async def history_figures(folder: Path, plays: int, times: int = 3) -> list[Figure]:
    """Return what reading and comparing a history of so many plays takes."""
    with a_library(plays) as away:
        clock = Clock(START)
        settings = settings_at(folder, away.origins[0])
        async with running_bridge(settings, clock) as running:
            reader = Reader(running, away, clock)
            resident = Resident(
                "http://127.0.0.1:9/", "http://127.0.0.1:9/", await away.do(library.token), START
            )
            await move_in(running.bridge, [resident])
            archive = await measured(running.work, reader.asked)
            await at_rest(reader)
            return [
                of_runs(f"archive of {plays:,} plays, and the first comparison", [archive]),
                *await diffs(reader, times),
            ]


@contextmanager
def a_library(plays: int) -> Iterator[Others[Library]]:
    """Let a library live in another process during the block."""
    with others(partial(library.make, plays), 1) as away:
        yield away


async def at_rest(reader: Reader) -> None:
    """Poll until a poll is a single request: stamps are believed when they are two minutes old."""
    for _ in range(10):
        if (await reader.poll(minutes=40)).requests == 1:
            return
    raise RuntimeError("the bridge does not come to rest although nothing changes")


async def diffs(reader: Reader, times: int) -> list[Figure]:
    """Return what finding each kind of change takes."""
    unchanged = [await reader.poll(minutes=40) for _ in range(times)]
    film, series, removed, confirmed = [], [], [], []
    for number in range(times):
        await reader.library.do(partial(library.add_film, number))
        film.append(await reader.poll(minutes=40))
        await at_rest(reader)
        await reader.library.do(partial(library.add_series, number, SERIES))
        series.append(await reader.poll(minutes=40))
        await at_rest(reader)
        await reader.library.do(partial(library.remove_one, number))
        removed.append(await reader.poll(minutes=40))
        # An absence is believed when it is seen twice, an hour or more apart.
        confirmed.append(await reader.poll(minutes=70))
        await at_rest(reader)
    return [
        of_runs("poll, nothing changed", unchanged),
        of_runs("poll, one backdated play", film),
        of_runs(f"poll, a backdated series of {SERIES} episodes", series),
        of_runs("poll, one play removed", removed),
        of_runs("poll an hour later that confirms it", confirmed),
    ]
