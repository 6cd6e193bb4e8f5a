"""The command: ``python -m tests.torture [--long] [--seed SEED]``."""

import asyncio
import secrets
from typing import Annotated

import typer

from tests.torture.plans import LONG, SHORT
from tests.torture.storm import torture


def main(
    *,
    long: Annotated[bool, typer.Option(help="A thousand kills instead of some dozens.")] = False,
    seed: Annotated[str, typer.Option(help="Of a storm to be replayed.")] = "",
) -> None:
    """Torture the bridge and exit with 1 if anything was lost or doubled."""
    form = LONG if long else SHORT
    chosen = seed or secrets.token_hex(3)
    typer.echo(f"the {form.name} form, seed {chosen}")
    if not asyncio.run(torture(chosen, form)):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
