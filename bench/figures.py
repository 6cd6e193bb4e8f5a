"""What one measurement is, and how figures are printed."""

import os
import platform
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from tempfile import TemporaryFile

from app import logs

WIDTH = 58


@dataclass(frozen=True, slots=True)
class Run:
    """What one piece of work took: ``seconds`` by the wall, ``cpu`` seconds of our process alone.

    ``requests`` counts those that reached the others.
    """

    seconds: float
    cpu: float
    requests: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the report: what was measured, and each time that it was."""

    what: str
    runs: Sequence[Run]

    @property
    def seconds(self) -> float:
        """The median by the wall."""
        return median(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        """The median of our processor time, in seconds."""
        return median(run.cpu for run in self.runs)

    @property
    def requests(self) -> float:
        """The median of the requests."""
        return median(run.requests for run in self.runs)

    def line(self) -> str:
        """Return the figure as a line."""
        return said(
            self.what,
            f"{self.requests:7,.0f} requests  {self.seconds:8.2f} s  {self.cpu:8.2f} CPU s  "
            f"{times(len(self.runs))}",
        )


def said(what: str, value: str) -> str:
    """Return a line of the report."""
    return f"{what:<{WIDTH}} {value}"


def times(number: int) -> str:
    """Return how often something was measured, in words."""
    return "once" if number == 1 else f"median of {number}"


async def measured(work: Callable[[], Awaitable[None]], asked: Callable[[], Awaitable[int]]) -> Run:
    """Do ``work`` and return what it took; ``asked`` tells how many requests there ever were."""
    before = await asked()
    seconds, cpu = time.perf_counter(), time.process_time()
    await work()
    took = time.perf_counter() - seconds, time.process_time() - cpu
    return Run(*took, await asked() - before)


def machine() -> str:
    """Return on what all this was measured."""
    busy = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"SQLite, {datetime.now(UTC):%Y-%m-%d}, load before {busy:.1f}"
    )


@contextmanager
def logged() -> Iterator[None]:
    """Log as `serve` does during the block, to where nobody reads: it is part of the cost."""
    with TemporaryFile("w", encoding="utf-8") as file, redirect_stderr(file):
        logs.configure("text")
        yield
