"""``demo``: to try it in a browser."""

from typing import Annotated

import typer


def demo(
    port: Annotated[int, typer.Option(help="The bridge's port; the others follow it.")] = 8000,
    *,
    browser: Annotated[bool, typer.Option(help="Open a browser where there is one.")] = True,
) -> None:
    """Run the bridge with a simulated Trakt and a simulated website, to try it in a browser."""
    from app.demo import run  # noqa: PLC0415 - the simulators are loaded for the demo alone

    run.demo(port, browser=browser)
