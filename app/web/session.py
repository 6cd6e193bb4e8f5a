"""Who is at the other end: the session cookie, form tokens, and the cookies of OAuth flows.

Every browser gets one random cookie. Signing in stores its digest with an account and issues a
new one, so that nobody can hand a known cookie to somebody else. Forms carry a token derived
from the cookie.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import BackgroundTasks, Depends, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers, ImmutableMultiDict

from app.errors import SignInError
from app.settings import Settings
from app.store import accounts, sessions
from app.tables import AccountRow, SiteRow
from app.vault import digest, random_text
from app.web import admission
from app.web.bridge import Bridge, TheBridge

# Long enough to find the password of one's own site.
FLOW_LIFE = timedelta(minutes=15)
# A box for each episode of the longest series there is, for those who have a series at all.
MOST_FIELDS = 20_000
LARGEST_FORM = 512 * 1024
LARGEST_FORM_OF_A_STRANGER = 16 * 1024
# Our forms hold text. Files, and the plain text that other sites' forms can send, are not read.
FORM = "application/x-www-form-urlencoded"
# What a browser surely keeps of one cookie.
LARGEST_COOKIE = 3800


class SignedOut(Exception):
    """The page is for people who are signed in."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """One browser; ``cookie`` is its secret, ``is_new`` when it has yet to be told."""

    cookie: str
    is_new: bool
    account_id: int | None


@dataclass(frozen=True, slots=True)
class Person:
    """Someone signed in, with their account and site."""

    visitor: Visitor
    id: int
    account: AccountRow
    site: SiteRow


def cookie_name(settings: Settings) -> str:
    """Return the name of the session cookie; the prefix ties it to this very host."""
    return "__Host-session" if settings.secure else "ownyourtrakt-session"


def browser_name(settings: Settings) -> str:
    """Return the name of the cookie that ties flows to a browser; the prefix as above."""
    return "__Host-browser" if settings.secure else "ownyourtrakt-browser"


async def the_visitor(request: Request, bridge: TheBridge) -> Visitor:
    """Return the browser that asks; the door has looked already."""
    known = getattr(request.state, "visitor", None)
    if isinstance(known, Visitor):
        return known
    cookie = request.cookies.get(cookie_name(bridge.settings))
    if not cookie:
        return Visitor(random_text(), is_new=True, account_id=None)
    return Visitor(cookie, is_new=False, account_id=await whose(cookie, bridge))


async def whose(cookie: str, bridge: Bridge) -> int | None:
    """Return whose browser has this cookie, and note now and then that it is used."""
    now = bridge.now()
    async with bridge.database.reading() as reading:
        found = await sessions.find(reading, digest(cookie), now)
    if found is None:
        return None
    session, account = found
    if not admission.is_welcome(bridge.settings, account.me):
        # Whoever runs the bridge has taken this site out of ALLOWED_SITES.
        return None
    if now - session.seen_at >= sessions.NOTED:
        async with bridge.database.writing() as writing:
            await sessions.note(writing, session, now)
    return account.id


TheVisitor = Annotated[Visitor, Depends(the_visitor)]


async def the_person(visitor: TheVisitor, bridge: TheBridge) -> Person:
    """Return who is signed in. Raises `SignedOut`."""
    if visitor.account_id is None:
        raise SignedOut
    async with bridge.database.reading() as session:
        found = await accounts.account(session, visitor.account_id)
    if found is None:
        raise SignedOut
    return Person(visitor, visitor.account_id, *found)


ThePerson = Annotated[Person, Depends(the_person)]


Form = ImmutableMultiDict[str, str]


async def the_form(request: Request, visitor: TheVisitor, bridge: TheBridge) -> Form:
    """Return the form of a POST that one of our own pages sent. Raises SignInError."""
    if not is_ours(request.headers, bridge.settings.base_url):
        came_from = request.headers.get("Origin", "a place it does not tell")
        raise SignInError("wrong_origin", f"It was sent from {came_from[:100]}.")
    most = LARGEST_FORM_OF_A_STRANGER if visitor.account_id is None else LARGEST_FORM
    form = await form_of(request, most)
    if not bridge.vault.is_form_token(text_of(form, "csrf"), visitor.cookie):
        raise SignInError("stale_form")
    return form


TheForm = Annotated[Form, Depends(the_form)]


def is_ours(headers: Headers, base_url: str) -> bool:
    """Tell whether a form was sent from a page of ours, by what only the browser can write.

    Every browser since 2020 sends ``Origin`` with a form. Where something has taken it away, the
    next best word counts; a form without any is refused, although its token would have to be
    right as well: another site can suppress the referrer, but not all three.
    """
    if (origin := headers.get("Origin")) is not None:
        return origin == base_url
    if (site := headers.get("Sec-Fetch-Site")) is not None:
        return site == "same-origin"
    return headers.get("Referer", "").startswith(f"{base_url}/")


async def form_of(request: Request, most: int) -> Form:
    """Return the fields of a form of at most so many bytes. Raises SignInError."""
    if request.headers.get("Content-Type", FORM).partition(";")[0].strip().lower() != FORM:
        raise SignInError("malformed")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise SignInError("too_large")
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise SignInError("malformed") from error
    return Form(fields)


def text_of(form: Form, name: str) -> str:
    """Return a field of a form as text, empty when it is missing."""
    return form.get(name, "").strip()


def give_cookie(response: Response, bridge: Bridge, cookie: str) -> None:
    """Tell the browser its session cookie."""
    response.set_cookie(
        cookie_name(bridge.settings),
        cookie,
        max_age=int(sessions.LIFE.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=bridge.settings.secure,
    )


def leave(bridge: Bridge, said: str, afterwards: BackgroundTasks | None = None) -> Response:
    """Return the way out to the first page, which says what was done; nothing of ours stays here.

    Going back shall not show a page once more that the browser still has.
    """
    response = RedirectResponse(f"/?said={said}", status_code=303, background=afterwards)
    response.delete_cookie(cookie_name(bridge.settings), secure=bridge.settings.secure)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def begin_flow(
    request: Request,
    response: Response,
    bridge: Bridge,
    path: str,
    state: str,
    content: dict[str, Any],
) -> None:
    """Let the browser carry what the callback at ``path`` will need; only we can read it.

    Each flow has its own cookie, so that two tabs do not disturb each other. A site beside ours
    (``blog.`` beside ``watch.``) could plant somebody else's there, but not the cookie of the
    browser, to which the flow is bound.
    """
    browser = request.cookies.get(browser_name(bridge.settings)) or random_text()
    carried = {**content, "state": state, "path": path, "browser": digest(browser)}
    cookie = bridge.vault.cookie(carried, bridge.now() + FLOW_LIFE)
    if len(cookie) > LARGEST_COOKIE:
        raise SignInError("addresses_too_long")
    names = {
        flow_name(state, bridge.settings): (cookie, path),
        browser_name(bridge.settings): (browser, "/"),
    }
    for name, (value, where) in names.items():
        response.set_cookie(
            name,
            value,
            max_age=int(FLOW_LIFE.total_seconds()),
            path=where,
            httponly=True,
            samesite="lax",
            secure=bridge.settings.secure,
        )


async def end_flow(request: Request, bridge: Bridge, path: str) -> dict[str, Any]:
    """Return what `begin_flow` put there for this callback, once.

    Raises:
        SignInError: ``missing_state``, ``invalid_state`` (another browser, or too late) or
            ``used_state``.

    """
    state = request.query_params.get("state")
    if not state:
        raise SignInError("missing_state")
    now = bridge.now()
    carried = request.cookies.get(flow_name(state, bridge.settings), "")
    content = bridge.vault.read_cookie(carried, now)
    browser = request.cookies.get(browser_name(bridge.settings), "")
    # The cookie of one kind of flow is worth nothing to the other, nor to another browser.
    expected = {"state": state, "path": path, "browser": digest(browser)}
    if content is None or any(content.get(name) != value for name, value in expected.items()):
        raise SignInError("invalid_state")
    async with bridge.database.writing() as session:
        if not await accounts.spend(session, digest(state), now + FLOW_LIFE):
            raise SignInError("used_state")
    return content


def forget_flow(request: Request, response: Response, bridge: Bridge, path: str) -> None:
    """Let the browser drop the cookie of a flow that is over."""
    if state := request.query_params.get("state"):
        name = flow_name(state, bridge.settings)
        response.delete_cookie(name, path=path, secure=bridge.settings.secure)


def flow_name(state: str, settings: Settings) -> str:
    """Return the name of the cookie of the flow with this state; no http can write the prefix."""
    return f"{'__Secure-' if settings.secure else ''}flow-{digest(state)[:12]}"
