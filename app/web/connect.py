"""Connecting Trakt: OAuth as pages."""

from datetime import datetime, timedelta

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.background import BackgroundTask

from app.errors import SignInError, SourceClosed, SourceError, SourceLocked
from app.grants import Pair
from app.store import connections
from app.store.connections import Start
from app.vault import random_text
from app.watch import Person
from app.web import session
from app.web.bridge import Bridge, TheBridge
from app.web.session import TheForm, ThePerson, text_of

router = APIRouter()

CALLBACK = "/trakt/callback"


@router.post("/trakt/connect")
async def connect(
    request: Request, bridge: TheBridge, person: ThePerson, form: TheForm
) -> Response:
    """Send the browser to Trakt, to ask for the person's consent."""
    if not bridge.settings.trakt_client_id:
        raise SignInError("trakt_not_set_up")
    state, verifier = random_text(), random_text()
    response = RedirectResponse(bridge.trakt.authorize_url(state, verifier), status_code=303)
    content = {
        "verifier": verifier,
        "account": person.id,
        "afresh": text_of(form, "afresh") == "yes",
    }
    session.begin_flow(request, response, bridge, CALLBACK, state, content)
    return response


@router.get(CALLBACK)
async def callback(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Finish connecting: redeem the code, ask who it is, and only then store it."""
    flow = await session.end_flow(request, bridge, CALLBACK)
    if flow["account"] != person.id:
        raise SignInError("invalid_state")
    given = request.query_params
    if "error" in given:
        code = "trakt_denied" if given["error"] == "access_denied" else "trakt_busy"
        raise SignInError(code, f"Trakt said: {given['error'][:100]}")
    if not given.get("code"):
        raise SignInError("trakt_code")
    pair, trakt_user = await introduced(bridge, given["code"], flow["verifier"])
    now = bridge.now()
    # Trakt floors a play to its minute: one that follows this moment may be dated before it.
    # Who wants to start afresh wants none of those that come before it.
    at = floored(trakt_user.now or now) + timedelta(minutes=1 if flow["afresh"] else 0)
    start = Start(at=at, now=now, afresh=flow["afresh"])
    async with bridge.database.writing() as writing:
        is_first = not await connections.of_account(writing, person.id)
        replaced = await connections.connect(
            writing, person.id, trakt_user, pair, bridge.vault, start
        )
    if replaced is None:
        # Deleted in another window while Trakt was asked.
        await revoke(bridge, [pair])
        raise session.SignedOut
    said = "connected" if is_first or flow["afresh"] else "reconnected"
    replaced = [old for old in replaced if old.access != pair.access]
    bridge.poke()
    response = RedirectResponse(
        f"/?said={said}", status_code=303, background=BackgroundTask(revoke, bridge, replaced)
    )
    session.forget_flow(request, response, bridge, CALLBACK)
    return response


async def introduced(bridge: Bridge, code: str, verifier: str) -> tuple[Pair, Person]:
    """Return the tokens for a code and whose they are. Raises SignInError."""
    pair = None
    try:
        pair = await bridge.trakt.redeem(code, verifier, bridge.now())
        return pair, await bridge.trakt.person(pair.access)
    except SourceError as error:
        await revoke(bridge, [pair] if pair else [])
        said = f"{error}. Its redirect URI must be {bridge.settings.redirect_uri}"
        raise SignInError(code_of(error), said) from error


def code_of(error: SourceError) -> str:
    """Return the page that explains why Trakt gave us nothing."""
    match error:
        case SourceClosed():
            return "trakt_closed"
        case SourceLocked():
            return "trakt_code"
        case _:
            return "trakt_busy"


def floored(when: datetime) -> datetime:
    """Return the minute in which ``when`` lies."""
    return when.replace(second=0, microsecond=0)


@router.post("/trakt/disconnect")
async def disconnect(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Forget Trakt's keys, here and there; what was read stays."""
    del form
    async with bridge.database.writing() as writing:
        pairs = await connections.disconnect(writing, person.id, bridge.vault, bridge.now())
    return RedirectResponse(
        "/?said=disconnected", status_code=303, background=BackgroundTask(revoke, bridge, pairs)
    )


async def revoke(bridge: Bridge, pairs: list[Pair]) -> None:
    """Tell Trakt to forget keys; it answers 200 whatever they are."""
    for pair in pairs:
        await bridge.trakt.revoke(pair.access)
