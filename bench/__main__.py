"""Print the figures: ``make bench``, or ``make bench ARGS="rounds pages"`` for some."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from app.process import run
from bench import process, targets, theirs
from bench.binary import NotRun, program, their_figures
from bench.figures import HEADS, Figure, logged, machine, table
from bench.history import history_figures
from bench.load import load_figures
from bench.pages import page_figures
from bench.rounds import import_figures, round_figures
from bench.schedule import schedule_figures
from bench.server import is_measurable
from bench.workers import worker_figures


class Part(StrEnum):
    """What can be measured by itself."""

    START = "start"
    IDLE = "idle"
    ROUNDS = "rounds"
    MEMORY = "memory"
    IMPORT = "import"
    HISTORY = "history"
    SCHEDULE = "schedule"
    PAGES = "pages"
    LOAD = "load"
    WORKERS = "workers"


Work = Callable[[Path], Coroutine[Any, Any, list[Figure]]]
# These read in /proc what another process needs.
OF_LINUX = {Part.START, Part.IDLE, Part.MEMORY, Part.WORKERS}

cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)


@cli.command()
def main(
    parts: Annotated[list[Part] | None, typer.Argument(help="What to measure; all of it.")] = None,
    *,
    plays: Annotated[int, typer.Option(help="In the history of one person.")] = 50_000,
    accounts: Annotated[int, typer.Option(help="In a round.")] = 1000,
    latency: Annotated[int, typer.Option(help="Of every answer, in milliseconds.")] = 100,
    to: Annotated[Path, typer.Option(help="Where all figures go as JSON.")] = Path("bench.json"),
    peer: Annotated[
        Path | None, typer.Option(help=f"A binary of {theirs.NAME}, to be run beside ours.")
    ] = None,
) -> None:
    """Measure the bridge on this machine; Trakt and the websites live in another process."""
    about, figures = machine(), list[Figure]()
    typer.echo(", ".join(f"{name} {value}" for name, value in about.items()) + "\n")
    where, other = beside(peer, accounts, timedelta(milliseconds=latency))
    measure = works(plays, accounts, timedelta(milliseconds=latency))
    for part in parts or measurable():
        with logged(), TemporaryDirectory(prefix="ownyourtrakt-bench-") as folder:
            # As `serve` works, which most parts are measured without.
            found = run(measure[part](Path(folder)))
        figures += found
        typer.echo(f"{table(HEADS, [figure.row() for figure in found])}\n")
    judged = targets.judged(figures)
    typer.echo(f"{table(targets.HEADS, judged)}\n")
    typer.echo(f"{theirs.NAME}: {where}\n")
    typer.echo(table(targets.BESIDE, targets.compared(figures, other)))
    written = {
        "machine": about,
        "figures": [asdict(figure) for figure in figures],
        "targets": [dict(zip(targets.HEADS, row, strict=True)) for row in judged],
        "other program": {"name": theirs.NAME, "where": where, "figures": dict(other)},
    }
    to.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def beside(peer: Path | None, accounts: int, latency: timedelta) -> tuple[str, Mapping[str, float]]:
    """Return the other program's figures and where they are from."""
    if peer is None:
        return theirs.PUBLISHED, targets.PUBLISHED
    with TemporaryDirectory(prefix="ownyourtrakt-bench-") as folder:
        try:
            figures = asyncio.run(their_figures(program(peer), Path(folder), accounts, latency))
        except NotRun as error:
            raise typer.BadParameter(str(error), param_hint="--peer") from None
    return f"the binary {peer}, run here, at the same simulators", figures


def works(plays: int, accounts: int, latency: timedelta) -> Mapping[Part, Work]:
    """Return what measures each part, in an empty folder."""
    return {
        Part.START: process.start_figures,
        Part.IDLE: process.idle_figures,
        Part.ROUNDS: partial(round_figures, accounts=accounts, latency=latency),
        Part.MEMORY: partial(process.memory_figures, accounts=accounts),
        Part.IMPORT: partial(import_figures, plays=accounts, latency=latency),
        Part.HISTORY: partial(history_figures, plays=plays),
        Part.SCHEDULE: partial(schedule_figures, accounts=10 * accounts, latency=latency),
        Part.PAGES: partial(page_figures, watches=plays),
        Part.LOAD: partial(load_figures, accounts=accounts, latency=latency),
        Part.WORKERS: partial(worker_figures, accounts=accounts, latency=latency),
    }


def measurable() -> list[Part]:
    """Return what can be measured on this system."""
    return [part for part in Part if part not in OF_LINUX or is_measurable()]


if __name__ == "__main__":
    cli()
