"""What one measurement is, and how figures are printed: as tables that a document can hold."""

import logging
import os
import platform
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from math import ceil
from statistics import median
from tempfile import TemporaryFile

from app import __version__, logs

HEADS = ("what", "measured", "our CPU", "requests", "how often")


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
    """What was measured: a number with its unit and, of work, what it cost us."""

    what: str
    number: float
    unit: str
    how: str = "once"
    cpu: float | None = None
    requests: float | None = None

    @property
    def measured(self) -> str:
        """The number with its unit."""
        return told(self.number, self.unit)

    def row(self) -> tuple[str, ...]:
        """Return the figure as a row, see `HEADS`."""
        cpu = "" if self.cpu is None else told(self.cpu, "s")
        requests = "" if self.requests is None else f"{self.requests:,.0f}"
        return self.what, self.measured, cpu, requests, self.how


def told(number: float, unit: str) -> str:
    """Return a number with its unit, with as many digits as say something."""
    if isinstance(number, int):
        return f"{number:,} {unit}".strip()
    return f"{number:,.{0 if number >= 1000 else 1 if number >= 10 else 2}f} {unit}"


def of_runs(what: str, runs: Sequence[Run]) -> Figure:
    """Return the median of what the same work took."""
    return Figure(
        what,
        median(run.seconds for run in runs),
        "s",
        times(len(runs)),
        median(run.cpu for run in runs),
        median(run.requests for run in runs),
    )


def times(number: int) -> str:
    """Return how often something was measured, in words."""
    return "once" if number == 1 else f"median of {number}"


def of_spans(what: str, seconds: Sequence[float], *percents: int) -> list[Figure]:
    """Return percentiles of how long many of a kind took, in milliseconds."""
    return [
        Figure(
            f"{what}, p{percent}", percentile(seconds, percent) * 1000, "ms", f"{len(seconds):,}"
        )
        for percent in percents
    ]


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that so many of a hundred do not exceed."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown that can be read as it is, too."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


async def measured(work: Callable[[], Awaitable[None]], asked: Callable[[], Awaitable[int]]) -> Run:
    """Do ``work`` and return what it took; ``asked`` tells how many requests there ever were."""
    before = await asked()
    seconds, cpu = time.perf_counter(), time.process_time()
    await work()
    took = time.perf_counter() - seconds, time.process_time() - cpu
    return Run(*took, await asked() - before)


def machine() -> dict[str, str]:
    """Return on what all this was measured, and when."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cores": str(os.cpu_count()),
        "processor": platform.machine(),
        "system": platform.system(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "OwnYourTrakt": __version__,
        "database": "SQLite",
        **{name: version(name) for name in ("SQLAlchemy", "fastapi", "uvicorn", "httpx2")},
    }


@contextmanager
def logged() -> Iterator[None]:
    """Log as `serve` does during the block, to where nobody reads: it is part of the cost."""
    with TemporaryFile("w", encoding="utf-8") as file, redirect_stderr(file):
        logs.configure("text")
        try:
            yield
        finally:
            # What others log when they end finds no file any more.
            logging.getLogger().handlers.clear()
