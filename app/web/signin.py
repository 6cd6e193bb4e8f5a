"""Signing in with one's own website: IndieAuth as pages.

Until the website has confirmed who is there, nothing is stored: what the callback needs
travels in a cookie that only we can read.
"""

from datetime import timedelta
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.background import BackgroundTasks

from app.abilities import Server
from app.errors import SignInError
from app.grants import Pair, expiry
from app.indieweb import indieauth
from app.indieweb.discovery import Discovery, Endpoints, discover_typed
from app.indieweb.indieauth import Token
from app.store import accounts, sessions
from app.store.accounts import Replaced, Site
from app.vault import digest, random_text
from app.web import admission, session
from app.web.bridge import Bridge, TheBridge
from app.web.browsers import browser_of
from app.web.door import address_of, tell_refusal
from app.web.limits import WRONG_CODES
from app.web.session import TheForm, ThePerson, TheVisitor, text_of
from app.web.views import landing, render, too_many

router = APIRouter()
log = structlog.get_logger()

# ``update`` lets us read the list of posts on servers that ask for it (django-indieweb).
SCOPE = "create update profile"
# What is asked for besides where somebody wants a test post deleted; no key of ours may otherwise.
DELETING = f"{SCOPE} delete"
CALLBACK = "/callback"


@router.post("/signin")
async def signin(
    request: Request, bridge: TheBridge, visitor: TheVisitor, form: TheForm
) -> Response:
    """Find out how the website signs people in, and send the browser there."""
    me, code = text_of(form, "me"), text_of(form, "code")
    try:
        async with bridge.database.reading() as reading:
            await admission.check_code(reading, bridge.settings, code)
        found = await discover_typed(bridge.http, me, bridge.settings.allow_private_networks)
        found.required_micropub()
        scope = DELETING if text_of(form, "may") == "delete" else SCOPE
        return depart(request, bridge, code, found, scope)
    except SignInError as error:
        tell_refusal(request, bridge, error.code)
        if wait := of_wrong_codes(bridge, error):
            return too_many(request, wait)
        return await landing(request, bridge, visitor, me=me, error=error)


def of_wrong_codes(bridge: Bridge, error: SignInError) -> timedelta:
    """Count a wrong setup code; return how long to wait where there were too many, of everybody.

    A right one is never counted, or strangers could lock the owner out. Nobody guesses it: its 80
    bits would keep all the addresses there are busy for millions of years.
    """
    if error.code != "wrong_code":
        return timedelta()
    wait = bridge.limits.wait(WRONG_CODES, "everybody", bridge.now())
    if wait:
        log.warning("many wrong setup codes are tried")
    return wait


@router.get("/signin")
async def signin_page() -> Response:
    """Lead those who reload a page that a form has answered to where the form is."""
    return RedirectResponse("/", status_code=303)


def depart(request: Request, bridge: Bridge, code: str, found: Discovery, scope: str) -> Response:
    """Return the redirect to the website's own sign-in."""
    # django-indieweb takes 32 characters at most; these are 192 random bits.
    state, verifier = random_text()[:32], random_text()
    ends = found.endpoints
    url = indieauth.authorization_url(
        ends,
        client_id=bridge.client_id,
        redirect_uri=bridge.callback,
        state=state,
        verifier=verifier,
        scope=scope,
        me=found.seen[0],
    )
    response = RedirectResponse(url, status_code=303)
    content = {
        "verifier": verifier,
        "code": code,
        "seen": found.seen,
        "endpoints": [
            ends.authorization_endpoint,
            ends.token_endpoint,
            ends.issuer,
            ends.revocation_endpoint,
        ],
        "micropub": found.micropub,
        "name": found.name,
        "photo": found.photo,
        "server": found.server,
        "scope": scope,
    }
    session.begin_flow(request, response, bridge, CALLBACK, state, content)
    return response


@router.get(CALLBACK)
async def callback(request: Request, bridge: TheBridge) -> Response:
    """Finish signing in: redeem the code, confirm the identity, and only then store it."""
    flow = await session.end_flow(request, bridge, CALLBACK)
    ends = Endpoints(*flow["endpoints"])
    code = indieauth.callback_code(
        request.query_params.multi_items(),
        state=flow["state"],
        issuer=ends.issuer,
        token_endpoint=ends.token_endpoint,
    )
    token = await indieauth.redeem(
        bridge.http,
        ends.token_endpoint,
        client_id=bridge.client_id,
        redirect_uri=bridge.callback,
        code=code,
        verifier=flow["verifier"],
        scope=flow.get("scope", SCOPE),
    )
    try:
        response = await arrive(request, bridge, flow, ends, token)
    except SignInError:
        await forget(bridge, ends, token.refresh_token, token.access_token)
        raise
    session.forget_flow(request, response, bridge, CALLBACK)
    return response


async def arrive(
    request: Request, bridge: Bridge, flow: dict[str, Any], ends: Endpoints, token: Token
) -> Response:
    """Confirm who is there, let them in, and return the way to their dashboard.

    The cookie that the browser had is worth nothing from then on.
    """
    indieauth.required_creation(token.scope)
    me, found = await indieauth.confirmed_me(
        bridge.http,
        token.me,
        entered=flow["seen"][0],
        seen=flow["seen"],
        authorization_endpoint=ends.authorization_endpoint,
        token_endpoint=ends.token_endpoint,
        allowed=bridge.settings.allow_private_networks,
    )
    now, cookie = bridge.now(), random_text()
    before = (await session.the_visitor(request, bridge)).cookie
    site = Site(
        me=me,
        name=token.name or (found.name if found else flow["name"]),
        photo=token.photo or (found.photo if found else flow["photo"]),
        micropub=found.required_micropub() if found else flow["micropub"],
        authorization_endpoint=ends.authorization_endpoint,
        token_endpoint=ends.token_endpoint,
        revocation_endpoint=ends.revocation_endpoint,
        issuer=ends.issuer,
        scope=" ".join(token.scope),
        pair=Pair(
            access=token.access_token,
            refresh=token.refresh_token,
            issued_at=now,
            expires_at=expiry(token.expires_in, now),
        ),
        server=found.server if found else Server(flow.get("server", Server.UNKNOWN)),
    )
    async with bridge.database.writing() as writing:
        await admission.admit(writing, bridge.settings, me, flow["code"])
        account_id, replaced = await accounts.sign_in(writing, site, bridge.vault, now)
        await sessions.end(writing, digest(before))
        browser = browser_of(request.headers.get("User-Agent", ""))
        await sessions.begin(writing, digest(cookie), account_id, browser, now)
    log.info("signed in", account=account_id, client=address_of(request, bridge))
    bridge.poke()
    afterwards = BackgroundTasks()
    afterwards.add_task(ask, bridge, account_id)
    if replaced:
        kept = {token.access_token, token.refresh_token}
        old = [one for one in (replaced.pair.refresh, replaced.pair.access) if one not in kept]
        afterwards.add_task(forget, bridge, endpoints_of(replaced), *old)
    # Whoever came to have a test post deleted goes on with it.
    place = "/settings/site#test" if flow.get("scope") == DELETING else "/"
    response = RedirectResponse(place, status_code=303, background=afterwards)
    session.give_cookie(response, bridge, cookie)
    return response


async def ask(bridge: Bridge, account_id: int) -> None:
    """Ask the endpoint of somebody who has just signed in what it can do."""
    async with bridge.database.reading() as reading:
        site = await accounts.site_of(reading, account_id)
    if site is not None:
        await bridge.learner.ask_in_time(site)


def endpoints_of(old: Replaced) -> Endpoints:
    """Return where to say that a key is no longer wanted."""
    return Endpoints(
        authorization_endpoint="",
        token_endpoint=old.token_endpoint,
        revocation_endpoint=old.revocation_endpoint,
    )


async def forget(bridge: Bridge, ends: Endpoints, *tokens: str | None) -> None:
    """Tell a website that keys it gave us are no longer wanted."""
    await indieauth.revoke(
        bridge.http,
        revocation_endpoint=ends.revocation_endpoint,
        token_endpoint=ends.token_endpoint,
        client_id=bridge.client_id,
        tokens=tokens,
    )


@router.post("/signout")
async def signout(bridge: TheBridge, visitor: TheVisitor, form: TheForm) -> Response:
    """End this browser's session; the bridge goes on working."""
    del form
    async with bridge.database.writing() as writing:
        await sessions.end(writing, digest(visitor.cookie))
    log.info("signed out", account=visitor.account_id)
    return session.leave(bridge, "signed-out")


@router.post("/signout/everywhere")
async def signout_everywhere(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """End the sessions of all browsers of the account at once, this one included."""
    del form
    async with bridge.database.writing() as writing:
        await sessions.end_all(writing, person.id)
    log.info("signed out everywhere", account=person.id)
    return session.leave(bridge, "signed-out-everywhere")


@router.post("/settings/browsers/end")
async def end_browser(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """End the session of one of the person's browsers, by the digest that the list names."""
    # PostgreSQL cannot be asked for every sign; a digest has letters and digits only.
    if (browser := text_of(form, "browser")).isalnum():
        async with bridge.database.writing() as writing:
            await sessions.end_of_account(writing, person.id, browser)
    log.info("signed out elsewhere", account=person.id)
    return RedirectResponse("/settings?said=browser-signed-out", status_code=303)


@router.get("/id")
async def client_metadata(request: Request, bridge: TheBridge) -> Response:
    """Return who we are (IndieAuth §4.2): a page by default, JSON to those who ask for it.

    WordPress fetches this with ``Accept: */*`` and needs a name in the HTML.
    """
    headers = {"Vary": "Accept", "Link": f'<{bridge.callback}>; rel="redirect_uri"'}
    if not prefers_json(request.headers.get("Accept", "")):
        return render(request, "id.html", headers=headers)
    document = {
        "client_id": bridge.client_id,
        "client_name": "OwnYourTrakt",
        "client_uri": f"{bridge.settings.base_url}/",
        "logo_uri": f"{bridge.settings.base_url}/static/logo.png",
        "redirect_uris": [bridge.callback],
    }
    return JSONResponse(document, headers=headers)


def prefers_json(accept: str) -> bool:
    """Tell whether an Accept header names JSON, and before HTML if it names both."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    if "application/json" not in kinds:
        return False
    return "text/html" not in kinds or kinds.index("application/json") < kinds.index("text/html")
