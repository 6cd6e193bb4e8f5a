"""``accounts``: who uses this bridge, and how it goes for them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli.stops import (
    Json,
    must_be_current,
    readable_database_errors,
    say_json,
    settings_or_stop,
    stop,
)
from app.database import Database
from app.main import assembled
from app.settings import Settings
from app.store import accounts, sessions
from app.store.accounts import Person
from app.web import connect, signin

app = typer.Typer(
    no_args_is_help=True,
    help="List the people who use this bridge; pause, sign out or delete one.",
)
Name = Annotated[str, typer.Argument(help="The person's website, as the list shows it.")]
T = TypeVar("T")


@app.command("list")
def list_all(*, as_json: Json = False) -> None:
    """List all accounts and how it goes for each."""
    found = asked(settings_or_stop(), accounts.everyone)
    if as_json:
        say_json([told(one) for one in found])
        return
    for one in found:
        typer.echo(f"{one.account.me}  {standing(one)}")
    if not found:
        typer.echo("Nobody has signed in yet.")


@app.command()
def pause(name: Name, *, as_json: Json = False) -> None:
    """Ask nothing of an account's Trakt and website any more; nothing is lost meanwhile.

    Until it is resumed, or until the person connects Trakt or signs in again.
    """
    me = changed(name, accounts.pause)
    words = f"{me} is paused. To go on: ownyourtrakt accounts resume {me}"
    done(words, {"me": me, "paused": True}, as_json=as_json)


@app.command()
def resume(name: Name, *, as_json: Json = False) -> None:
    """Go on with an account that was paused."""

    async def go_on(session: AsyncSession, key: int) -> None:
        await accounts.resume(session, key, datetime.now(UTC))

    me = changed(name, go_on)
    done(f"{me} goes on.", {"me": me, "paused": False}, as_json=as_json)


@app.command()
def sign_out(
    name: Annotated[str, typer.Argument(help="The person's website; nothing: everybody.")] = "",
    *,
    as_json: Json = False,
) -> None:
    """End the sessions of all browsers of an account, or of everybody; posting goes on."""
    if name:
        me = changed(name, sessions.end_all)
        words = f"{me} is signed out in every browser."
        done(words, {"me": me, "signed_out": True}, as_json=as_json)
        return
    asked(settings_or_stop(), sessions.end_all)
    words = "Everybody is signed out in every browser."
    done(words, {"me": None, "signed_out": True}, as_json=as_json)


@app.command()
def delete(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete an account with all that is known of it; what is on its website stays there."""
    settings = settings_or_stop()
    found = named(settings, name)
    me = found.account.me
    question = (
        f"Delete {me} with its history here, the record of its posts, and its keys? Nobody can "
        "bring it back; posts on the website stay"
    )
    if not yes and not typer.confirm(question, err=True):
        raise typer.Exit(1)
    with readable_database_errors(settings):
        asyncio.run(removed(settings, found.account.id or 0))
    done(f"{me} is deleted.", {"me": me, "deleted": True}, as_json=as_json)


def done(words: str, told: dict[str, object], *, as_json: bool) -> None:
    """Say what was done, to a person or to a program."""
    if as_json:
        say_json(told)
    else:
        typer.echo(words)


async def removed(settings: Settings, key: int) -> None:
    """Delete an account, and give its keys back, as the page does that the person has."""
    bridge, _ = assembled(settings, lambda: datetime.now(UTC))
    try:
        async with bridge.database.writing() as session:
            left = await accounts.remove(session, key, bridge.vault)
        await connect.revoke(bridge, left.trakt)
        if left.site:
            pair = left.site.pair
            await signin.forget(bridge, signin.endpoints_of(left.site), pair.refresh, pair.access)
    finally:
        await bridge.http.aclose()
        await bridge.trakt.http.aclose()
        await bridge.database.close()


def changed(name: str, change: Callable[[AsyncSession, int], Awaitable[None]]) -> str:
    """Change the account of that name; return whose it is."""
    settings = settings_or_stop()
    found = named(settings, name)
    asked(settings, lambda session: change(session, found.account.id or 0))
    return found.account.me


def named(settings: Settings, name: str) -> Person:
    """Return the account of that name, or stop."""
    for one in asked(settings, accounts.everyone):
        if bare(one.account.me) == bare(name):
            return one
    raise stop(f"there is no account {name}; see: ownyourtrakt accounts list")


def bare(address: str) -> str:
    """Return a website's address as people type it, e.g. ``ada.example``."""
    return address.strip().casefold().rpartition("://")[2].rstrip("/")


def asked(settings: Settings, ask: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Return what ``ask`` finds, or does, in one transaction."""

    async def run() -> T:
        opened = Database(settings.database_url)
        try:
            async with opened.writing() as session:
                return await ask(session)
        finally:
            await opened.close()

    must_be_current(settings)
    with readable_database_errors(settings):
        return asyncio.run(run())


def standing(one: Person) -> str:
    """Return how it goes for an account, in a few words."""
    if why := one.trakt.locked if one.trakt else None:
        return f"Trakt: {why}"
    if one.site.locked or one.site.paused:
        return f"website: {one.site.locked or one.site.paused}"
    if one.trakt is None or one.trakt.sealed_tokens is None:
        return "not connected to Trakt"
    if why := one.trakt.trouble or one.site.trouble:
        return f"trouble, is tried again: {why}"
    return "all is well"


def told(one: Person) -> dict[str, object]:
    """Return an account as a program may read it; no keys."""
    polled_at = one.trakt.polled_at if one.trakt else None
    return {
        "id": one.account.id,
        "me": one.account.me,
        "name": one.account.name,
        "trakt": one.trakt.source_name if one.trakt else None,
        "since": one.account.created_at.isoformat(),
        "polled": polled_at.isoformat() if polled_at else None,
        "standing": standing(one),
        "paused": one.is_paused,
    }
