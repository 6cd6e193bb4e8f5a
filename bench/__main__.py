"""Print the figures: ``make bench``, or ``make bench ARGS="history --plays 5000"`` for some."""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Protocol

import typer

from bench.figures import logged, machine
from bench.history import history_figures
from bench.memory import is_measurable, memory_figures
from bench.rounds import round_figures


class Line(Protocol):
    """A figure of any kind."""

    def line(self) -> str:
        """Return it as a line."""


class Part(StrEnum):
    """What can be measured by itself."""

    HISTORY = "history"
    ROUNDS = "rounds"
    MEMORY = "memory"


cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@cli.command()
def main(
    parts: Annotated[list[Part] | None, typer.Argument(help="What to measure; all of it.")] = None,
    plays: Annotated[int, typer.Option(help="In the history of one person.")] = 50_000,
    accounts: Annotated[int, typer.Option(help="In a round.")] = 1000,
    latency: Annotated[int, typer.Option(help="Of every answer, in milliseconds.")] = 100,
) -> None:
    """Measure the bridge on this machine; Trakt and the websites live in another process."""
    typer.echo(machine())
    typer.echo("Trakt's request budget is lifted (TRAKT_GETS_PER_5_MIN), and so is the gentle rate")
    typer.echo("of posts (WAITS__BETWEEN_POSTS=0): the bridge is measured, not its patience.\n")
    for part in parts or measurable():
        with logged(), TemporaryDirectory(prefix="ownyourtrakt-bench-") as folder:
            work = of_part(part, Path(folder), plays, accounts, timedelta(milliseconds=latency))
            for figure in asyncio.run(awaited(work)):
                typer.echo(figure.line())


def of_part(
    part: Part, folder: Path, plays: int, accounts: int, latency: timedelta
) -> Awaitable[Sequence[Line]]:
    """Return the work that measures one part."""
    match part:
        case Part.HISTORY:
            return history_figures(folder, plays)
        case Part.ROUNDS:
            return round_figures(folder, accounts, latency)
        case Part.MEMORY:
            return memory_figures(folder, accounts)


def measurable() -> list[Part]:
    """Return what can be measured on this system."""
    return [part for part in Part if part is not Part.MEMORY or is_measurable()]


async def awaited(work: Awaitable[Sequence[Line]]) -> Sequence[Line]:
    """Return what ``work`` comes to; `asyncio.run` takes nothing but coroutines."""
    return await work


if __name__ == "__main__":
    cli()
