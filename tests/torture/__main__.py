"""The command: ``python -m tests.torture [--long|--brief] [--seed SEED] [--database … …]``."""

import asyncio
import secrets
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from tests.torture.plans import BRIEF, LONG, SHORT
from tests.torture.storm import torture


class Kind(StrEnum):
    """The databases."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


def main(
    *,
    long: Annotated[bool, typer.Option(help="A thousand kills instead of some dozens.")] = False,
    brief: Annotated[bool, typer.Option(help="A few lives, for workers in the tests.")] = False,
    seed: Annotated[str, typer.Option(help="Of a storm to be replayed.")] = "",
    database: Annotated[Kind, typer.Option(help="On which the bridge works.")] = Kind.SQLITE,
    workers: Annotated[int, typer.Option(help="Processes that share the work (PostgreSQL).")] = 0,
    queue: Annotated[bool, typer.Option(help="PgQueuer hands the work out to them.")] = False,
) -> None:
    """Torture the bridge and exit with 1 if anything was lost or doubled."""
    if workers and database is Kind.SQLITE:
        raise typer.BadParameter("workers need --database postgresql")
    length = LONG if long else BRIEF if brief else SHORT
    form = replace(length, database=database, workers=workers, with_jobs=queue)
    chosen = seed or secrets.token_hex(3)
    typer.echo(f"the {form.name} form, seed {chosen}")
    if not asyncio.run(torture(chosen, form)):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
