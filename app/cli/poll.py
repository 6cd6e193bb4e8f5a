"""``poll``: do what is due and end, where no process may stay awake."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import structlog
import typer

from app import logs, sentry
from app.cli.schema import migrated
from app.cli.serve import warn_of_loss
from app.cli.stops import Json, readable_database_errors, settings_or_stop, stop
from app.main import errand
from app.scheduler import Errand
from app.settings import SettingsError

log = structlog.get_logger()


def poll(
    *,
    due: Annotated[
        bool, typer.Option("--due", help="Only what is due, not all connections.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check Trakt, deliver all that is due, and end; no other process is needed."""
    settings = settings_or_stop()
    logs.configure(settings.log_format)
    try:
        sentry.start(settings)
    except SettingsError as error:
        raise stop(str(error)) from None
    if kept := migrated(settings, log.warning):
        log.info("the database as it was is kept", copy=str(kept))
    warn_of_loss(settings)
    try:
        with readable_database_errors(settings):
            done = asyncio.run(errand(settings, everybody=not due))
    except SettingsError as error:
        raise stop(str(error)) from None
    typer.echo(to_json(done) if as_json else summary(done, datetime.now(UTC)))


def to_json(done: Errand) -> str:
    """Return what was done for a program to read."""
    return json.dumps(asdict(done), default=datetime.isoformat)


def summary(done: Errand, now: datetime) -> str:
    """Return what was done in one line."""
    counts = (
        (done.polls, "look at Trakt", "looks at Trakt"),
        (done.archive_pages, "page of older history", "pages of older history"),
        (done.looks, "look at a site", "looks at sites"),
        (done.posts, "post sent", "posts sent"),
        (done.messages, "round of messages", "rounds of messages"),
    )
    said = ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n)
    if done.is_left_to_another:
        return "Another process is at work on this database; what is due is left to it."
    if not done.is_done:
        return f"{said or 'Nothing was begun'}; more is due, the next run goes on."
    after = "nothing is to come"
    if done.next_due_at:
        wait = max((done.next_due_at - now).total_seconds() / 60, 0)
        after = f"the next thing is due in {minutes(wait)}"
    return f"{said or 'Nothing was due'}; {after}."


def minutes(number: float) -> str:
    """Return a number of minutes in words."""
    return "1 minute" if round(number) == 1 else f"{number:.0f} minutes"
