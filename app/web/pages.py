"""The pages of people who are signed in, and what their buttons do."""

import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

from fastapi import APIRouter, BackgroundTasks, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import SignInError
from app.hentry import zone
from app.indieweb.indieauth import missing_scopes
from app.outbox import Action, Standing, State, acted, actions
from app.sources.trakt_history import read_item
from app.store import accounts, connections, grants, posts, watches
from app.store.watches import Listed
from app.tables import ConnectionRow, PostRow, SiteRow, WatchRow
from app.web import admission, connect, session, signin
from app.web.bridge import Bridge, TheBridge
from app.web.session import Person, TheForm, ThePerson, TheVisitor, text_of
from app.web.views import landing, render

router = APIRouter()

LATEST = 12
# Beyond this nobody leafs through pages; it also bounds what a made-up number costs.
LAST_PAGE = 100_000


@router.get("/")
async def home(request: Request, bridge: TheBridge, visitor: TheVisitor) -> Response:
    """Show the dashboard to those who are signed in, and to others what this is."""
    if visitor.account_id is None:
        return await landing(request, bridge, visitor)
    person = await session.the_person(visitor, bridge)
    async with bridge.database.reading() as reading:
        linked = await connections.of_account(reading, person.id)
        latest = await watches.page(reading, person.id, 1, most=LATEST)
        states = await watches.states(reading, person.id)
        is_sending = await posts.is_under_way(reading, person.site, bridge.now())
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
        needs=site_needs(person.site),
        leaves=True,
        is_busy=is_sending or is_reading(connection, bridge.now()),
    )


def is_reading(connection: ConnectionRow | None, now: datetime) -> bool:
    """Tell whether Trakt is being read, or will be at once: the page then looks again soon."""
    if connection is None or connection.locked:
        return False
    due = connection.next_poll_at
    return bool(connection.archive_due_at) or (due is not None and due <= now)


def site_needs(site: SiteRow) -> str | None:
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
    bridge.poke()
    said = "nothing-to-check"
    if when is not None:
        said = "checking" if when <= bridge.now() else "asked-to-wait"
    return RedirectResponse(f"/?said={said}", status_code=303)


@router.get("/watches")
async def listing(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show all watches, page by page, searched and filtered."""
    asked = request.query_params
    text = "".join(c for c in asked.get("q", "") if c.isprintable()).strip()[:200]
    state = asked.get("state", "")
    state = state if state in {*State, *Standing} else ""
    async with bridge.database.reading() as reading:
        total = await watches.count(reading, person.id, text=text, state=state)
        last = max(1, math.ceil(total / watches.PER_PAGE))
        shown = min(page_number(asked.get("page", "")), last)
        found = await watches.page(reading, person.id, shown, text=text, state=state)
        states = await watches.states(reading, person.id)
    return show(
        request,
        bridge,
        person,
        "watches.html",
        found=found,
        total=total,
        number=shown,
        last=last,
        text=text,
        state=state,
        counts=states,
    )


def page_number(text: str) -> int:
    """Return the number of a page; nonsense means the first."""
    return max(1, min(number(text), LAST_PAGE))


def number(text: str) -> int:
    """Return a number that a person, or a link, wrote; 0 for nonsense."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


@router.get("/watches/{key}")
async def watch(key: str, request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show one watch: where it stands, why, and all that happened to it."""
    async with bridge.database.reading() as reading:
        row, post = await mine(reading, person, key)
        events = await watches.events(reading, row.id or 0)
        sightings = await watches.sightings(reading, row.id or 0)
    return show(
        request,
        bridge,
        person,
        "watch.html",
        watch=row,
        post=post,
        events=events,
        sightings=sightings,
        actions=actions(row.standing, post.state if post else None),
    )


async def mine(
    session: AsyncSession,
    person: Person,
    key: str,
    look: Callable[[AsyncSession, int, int], Awaitable[Listed | None]] = watches.one,
) -> Listed:
    """Return one of the person's own watches. Raises SignInError ``not_found``."""
    found = await look(session, person.id, number(key))
    if found is None:
        raise SignInError("not_found")
    return found


@router.post("/watches/{key}/{action}")
async def act(
    key: str, action: str, bridge: TheBridge, person: ThePerson, form: TheForm
) -> Response:
    """Do with a watch what the person decided, if that is still possible."""
    del form
    now = bridge.now()
    async with bridge.database.writing() as writing:
        row, post = await mine(writing, person, key, watches.hold)
        if action not in actions(row.standing, post.state if post else None):
            raise SignInError("too_late")
        if row.standing == Standing.UNREADABLE:
            said = await read_again(writing, row, bridge)
        else:
            said = await decided(writing, row, post, Action(action), bridge)
        await watches.tell(writing, row.id or 0, TOLD[said], now)
    bridge.poke()
    return RedirectResponse(f"/watches/{row.id}?said={said}", status_code=303)


TOLD = {
    "retried": "You asked to send it again.",
    "skipped": "You decided not to post it.",
    "publish": "You decided to post it.",
    "read": "A newer version of the bridge read it.",
    "still-unreadable": "You asked to read it again; this version still cannot.",
}
SAID_BY = {Action.RETRY: "retried", Action.SKIP: "skipped", Action.PUBLISH: "publish"}


async def read_again(writing: AsyncSession, row: WatchRow, bridge: Bridge) -> str:
    """Try an unreadable item once more and return what to say of it."""
    seen = await watches.sightings(writing, row.id or 0)
    is_read = await watches.read_again(writing, row, read_item(seen[-1].payload), bridge.now())
    return "read" if is_read else "still-unreadable"


async def decided(
    writing: AsyncSession, row: WatchRow, post: PostRow | None, action: Action, bridge: Bridge
) -> str:
    """Write the person's decision into the post, making one where there is none."""
    if post is None:
        post = watches.post_row(row, acted(None, action, bridge.now()))
        writing.add(post)
        await writing.flush()
        row.post_id, row.standing = post.id, Standing.POSTED
    else:
        posts.write(post, acted(posts.value(post), action, bridge.now()))
    return SAID_BY[action]


@router.get("/settings")
async def settings(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show what can be changed."""
    return await settings_page(request, bridge, person)


async def settings_page(
    request: Request,
    bridge: Bridge,
    person: Person,
    problem: str | None = None,
    *,
    unsure: bool = False,
) -> Response:
    """Return the page of settings, with what is wrong beside its field."""
    async with bridge.database.reading() as reading:
        linked = await connections.of_account(reading, person.id)
    return show(
        request,
        bridge,
        person,
        "settings.html",
        400 if problem or unsure else 200,
        connection=linked[0] if linked else None,
        zones=offered_zones(),
        problem=problem,
        unsure=unsure,
        leaves=True,
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
async def delete_page() -> Response:
    """Lead those who reload a page that a form has answered to where the form is."""
    return RedirectResponse("/settings", status_code=303)


@router.post("/settings/delete")
async def delete(
    request: Request,
    bridge: TheBridge,
    person: ThePerson,
    form: TheForm,
    afterwards: BackgroundTasks,
) -> Response:
    """Delete the account and all its data, and give the keys back."""
    if text_of(form, "sure") != "yes":
        return await settings_page(request, bridge, person, unsure=True)
    async with bridge.database.writing() as writing:
        pairs = await connections.disconnect(writing, person.id, bridge.vault)
        own = grants.pair_of(person.site, bridge.vault)
        await accounts.remove(writing, person.id)
    await admission.prepare(bridge.database, bridge.settings)
    afterwards.add_task(connect.revoke, bridge, pairs)
    if own:
        afterwards.add_task(signin.forget, bridge, signin.endpoints_of(person.site), own.access)
    response = RedirectResponse("/?said=deleted", status_code=303, background=afterwards)
    response.delete_cookie(session.cookie_name(bridge.settings), secure=bridge.settings.secure)
    return response


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Lead those who do not read the page's own link to the logo."""
    return RedirectResponse("/static/logo.png", status_code=301)


@router.get("/robots.txt")
async def robots() -> Response:
    """Ask search engines to leave this private place alone."""
    return PlainTextResponse("User-agent: *\nDisallow: /\n")


@router.get("/healthz")
async def healthz(bridge: TheBridge) -> dict[str, str]:
    """Tell a platform that we answer and that the database does."""
    async with bridge.database.reading() as reading:
        await accounts.claim(reading)
    return {"status": "ok"}
