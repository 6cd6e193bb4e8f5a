"""The pages of people who are signed in, and what their buttons do."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

import structlog
from fastapi import APIRouter, BackgroundTasks, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from app.hentry import zone
from app.indieweb.indieauth import missing_scopes
from app.notices import Kind
from app.store import (
    accounts,
    connections,
    found,
    gates,
    notices,
    posts,
    sessions,
    undecided,
    watches,
    workers,
)
from app.tables import ConnectionRow, SiteRow
from app.vault import digest
from app.web import admission, connect, session, signin
from app.web.bridge import Bridge, TheBridge
from app.web.needs import needs
from app.web.session import Person, TheForm, ThePerson, TheVisitor, text_of
from app.web.views import is_looking, landing, render

router = APIRouter()
log = structlog.get_logger()

LATEST = 12


@router.get("/")
async def home(request: Request, bridge: TheBridge, visitor: TheVisitor) -> Response:
    """Show the dashboard to those who are signed in, and to others what this is."""
    if visitor.account_id is None:
        return await landing(request, bridge, visitor)
    person = await session.the_person(visitor, bridge)
    site, now = person.site, bridge.now()
    async with bridge.database.reading() as reading:
        linked = await connections.of_account(reading, person.id)
        latest = await watches.page(reading, person.id, 1, most=LATEST)
        states = await watches.states(reading, person.id)
        asked = await notices.open_ones(reading, person.id)
        lost = await undecided.count(reading, person.id)
        is_sending = await posts.is_under_way(reading, site, now)
        addresses = await notices.addresses(reading, person.id, bridge.vault)
        silence = await gates.silence(
            reading, person.account, now - bridge.settings.waits.silence_shown
        )
        stretched = await workers.stretched(reading)
        owns = await admission.is_owner(reading, bridge.settings, person.account.me)
    connection = linked[0] if linked else None
    return show(
        request,
        bridge,
        person,
        "dashboard.html",
        connection=connection,
        latest=latest,
        states=states,
        read=sum(states.values()),
        lacks=site_lacks(site),
        needs=needs(site, connection, lost, asked, owns=owns),
        is_refused=any(notice.kind == Kind.CLOSED for notice in asked),
        owns=owns,
        has_lost_addresses=addresses is None,
        silence=silence,
        stretched=stretched,
        loss=bridge.loss if owns else None,
        asks_later=any(notice.kind == Kind.START for notice in asked),
        is_busy=is_sending or is_reading(connection, now) or is_looking(site, now),
    )


@router.post("/silence/seen")
async def see_silence(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Show no more that the bridge was silent for a while."""
    del form
    async with bridge.database.writing() as writing:
        await gates.see_silence(writing, person.id, bridge.now())
    return RedirectResponse("/", status_code=303)


def is_reading(connection: ConnectionRow | None, now: datetime) -> bool:
    """Tell whether Trakt is being read, or will be at once: the page then looks again soon."""
    if connection is None or connection.locked:
        return False
    due = connection.next_poll_at
    return bool(connection.archive_due_at) or (due is not None and due <= now)


def site_lacks(site: SiteRow) -> str | None:
    """Return what the site did not grant and what is then missing, None when all is there."""
    scope = site.scope.split()
    if not scope:
        return None
    missing = missing_scopes(scope, signin.SCOPE.split())
    if "create" in missing:
        return "Your site allowed drafts only: each post waits there until you publish it."
    if "update" in missing:
        return (
            "Your site did not allow “update”. Posting works; on some servers the bridge cannot "
            "look up a post whose answer was lost."
        )
    return None


def show(
    request: Request,
    bridge: Bridge,
    person: Person,
    template: str,
    status: int = 200,
    **values: Any,  # noqa: ANN401 - what the template asks for
) -> Response:
    """Return a page for somebody who is signed in."""
    csrf = bridge.vault.form_token(person.visitor.cookie)
    return render(
        request,
        template,
        status,
        person=person,
        csrf=csrf,
        zone=person.account.timezone,
        knows_zone=zone(person.account.timezone) is not None,
        **values,
    )


@router.post("/poll")
async def poll(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Check Trakt now."""
    del form
    async with bridge.database.writing() as writing:
        when = await connections.poll_now(writing, person.id, bridge.now())
    return polled(bridge, when, "checking")


@router.post("/check")
async def check(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Compare everything with Trakt now."""
    del form
    async with bridge.database.writing() as writing:
        when = await connections.check_all(writing, person.id, bridge.now())
    return polled(bridge, when, "comparing")


def polled(bridge: Bridge, when: datetime | None, well: str) -> Response:
    """Lead to the dashboard, which says when Trakt is asked; ``well``: at once."""
    bridge.poke()
    said = "nothing-to-check"
    if when is not None:
        said = well if when <= bridge.now() else "asked-to-wait"
    return RedirectResponse(f"/?said={said}", status_code=303)


def number(text: str) -> int:
    """Return a number that a person, or a link, wrote; 0 for nonsense."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


@router.get("/settings")
async def settings(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show what can be changed."""
    return await settings_page(request, bridge, person)


@dataclass(frozen=True, slots=True)
class Choice:
    """What shall become of posts of which nobody can tell; ``hours`` as it was typed.

    ``problem`` says what is wrong with it.
    """

    kind: str
    hours: str
    problem: str | None = None


async def settings_page(
    request: Request,
    bridge: Bridge,
    person: Person,
    problem: str | None = None,
    *,
    choice: Choice | None = None,
) -> Response:
    """Return the page of settings, with what is wrong beside its field."""
    site = person.site
    async with bridge.database.reading() as reading:
        linked = await connections.of_account(reading, person.id)
        held = await found.count(reading, person.id)
        browsers = await sessions.of_account(reading, person.id, bridge.now())
        owns = await admission.is_owner(reading, bridge.settings, person.account.me)
    is_wrong = bool(problem or (choice and choice.problem))
    return show(
        request,
        bridge,
        person,
        "settings.html",
        400 if is_wrong else 200,
        connection=linked[0] if linked else None,
        zones=offered_zones(),
        problem=problem,
        choice=choice or Choice(site.unsure_choice, str(site.unsure_hours)),
        held=held,
        browsers=browsers,
        this_browser=digest(person.visitor.cookie),
        owns=owns,
    )


@router.post("/settings")
async def save_settings(
    request: Request, bridge: TheBridge, person: ThePerson, form: TheForm
) -> Response:
    """Save the time zone."""
    name = text_of(form, "timezone")
    if zone(name) is None:
        problem = (
            f"“{name[:60]}” is not a time zone. Choose one from the list, such as Europe/Vienna."
        )
        return await settings_page(request, bridge, person, problem)
    async with bridge.database.writing() as writing:
        await accounts.set_timezone(writing, person.id, name)
    return RedirectResponse("/settings?said=saved", status_code=303)


def offered_zones() -> list[str]:
    """Return the time zones that people know: a region and a place, or UTC."""
    regions = {"Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe"}
    regions |= {"Indian", "Pacific"}
    return ["UTC", *sorted(n for n in available_timezones() if n.partition("/")[0] in regions)]


@router.get("/settings/delete")
async def delete_page(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Say what goes and what stays, and ask."""
    return show(request, bridge, person, "delete.html")


@router.post("/settings/delete")
async def delete(
    bridge: TheBridge, person: ThePerson, form: TheForm, afterwards: BackgroundTasks
) -> Response:
    """Delete the account and all its data, and give the keys back."""
    del form
    async with bridge.database.writing() as writing:
        left = await accounts.remove(writing, person.id, bridge.vault)
    log.info("account deleted", account=person.id)
    await admission.prepare(bridge.database, bridge.settings)
    afterwards.add_task(connect.revoke, bridge, left.trakt)
    if left.site:
        ends, pair = signin.endpoints_of(left.site), left.site.pair
        afterwards.add_task(signin.forget, bridge, ends, pair.refresh, pair.access)
    return session.leave(bridge, "deleted", afterwards)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Lead those who do not read the page's own link to the logo."""
    return RedirectResponse("/static/logo.png", status_code=301)


@router.get("/robots.txt")
async def robots() -> Response:
    """Ask search engines to leave this private place alone."""
    return PlainTextResponse("User-agent: *\nDisallow: /\n")
