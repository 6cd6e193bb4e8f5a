"""``rotate-keys``: seal all by the newest SECRET_KEY, so that the older one may go."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

import typer

from app import database, migrate
from app.cli.stops import Json, readable_database_errors, say_json, settings_or_stop, stop
from app.rotate import LOST, Census, StaleBridge, rotate
from app.settings import Settings
from app.vault import Vault


def rotate_keys(*, as_json: Json = False) -> None:
    """Seal anew, by the newest SECRET_KEY, what an older one has sealed; also while it runs."""
    settings = settings_or_stop()
    path = database.sqlite_file(settings.database_url)
    with readable_database_errors(settings):
        if (path and not path.exists()) or not migrate.is_current(settings.database_url):
            raise stop("the database is not up to date. Run: ownyourtrakt migrate")
        try:
            left = asyncio.run(rotated(settings, partial(typer.echo, err=as_json)))
        except StaleBridge:
            raise stop(
                "a bridge is running that does not know the newest SECRET_KEY yet. Start it anew "
                "with the key of this command in front, and run this again after three minutes"
            ) from None
    if as_json:
        say_json(asdict(left))
    else:
        typer.echo("\n".join(summary(left, len(settings.secret_key))))
    if left.older or left.lost:
        raise typer.Exit(1)


async def rotated(settings: Settings, say: Callable[[str], None]) -> Census:
    """Seal all anew, and return what is left."""
    opened = database.Database(settings.database_url)
    try:
        return await rotate(opened, Vault(settings.secret_key), datetime.now(UTC), say)
    finally:
        await opened.close()


def summary(left: Census, keys: int) -> list[str]:
    """Return what there is to say and to do afterwards, with so many keys in SECRET_KEY."""
    lines = [f"Lost: {LOST}; {one}." for one in left.lost]
    if left.older:
        return [*lines, f"{left.older} changed while they were sealed anew. Run this again."]
    lines.append(f"All that can be opened is sealed by the newest SECRET_KEY ({left.newest}).")
    if keys > 1:
        lines.append("The older one may go: take it out of SECRET_KEY and start the bridge anew.")
    return lines
