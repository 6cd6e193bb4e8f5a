"""The person's website: what is to be done there, and what becomes of a lost answer."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.errors import SignInError
from app.outbox import LONGEST_HOURS, Unsure
from app.store import accounts, looks, watches
from app.web.bridge import Bridge, TheBridge
from app.web.pages import Choice, number, settings_page
from app.web.session import Person, TheForm, ThePerson, text_of

router = APIRouter()


@router.post("/site/look")
async def look(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Read all that the site holds, now."""
    del form
    said = await asked_for(bridge, person, whole=True)
    return RedirectResponse(f"/settings?said={said}", status_code=303)


@router.post("/watches/{key}/look")
async def look_for(key: str, bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Look on the site now for the post of a watch."""
    del form
    async with bridge.database.reading() as reading:
        if await watches.one(reading, person.id, number(key)) is None:
            raise SignInError("not_found")
    said = await asked_for(bridge, person, whole=False)
    return RedirectResponse(f"/watches/{number(key)}?said={said}", status_code=303)


async def asked_for(bridge: Bridge, person: Person, *, whole: bool) -> str:
    """Let the site be looked at and return what to say of it."""
    now = bridge.now()
    async with bridge.database.writing() as writing:
        may_be = await looks.ask_for(writing, person.id, now, whole=whole)
    bridge.poke()
    if not may_be:
        return "site-locked"
    resume_at = person.site.resume_at
    return "site-asked-to-wait" if resume_at and resume_at > now else "looking"


@router.post("/site/go-on")
async def go_on(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Send posts again to a site that was given a pause."""
    del form
    async with bridge.database.writing() as writing:
        was_paused = await accounts.go_on(writing, person.id, bridge.now())
    bridge.poke()
    return RedirectResponse(f"/?said={'going-on' if was_paused else 'settled'}", status_code=303)


@router.post("/site/unsure")
async def choose(request: Request, bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Save what becomes of posts of which nobody can tell whether they arrived."""
    choice, typed = text_of(form, "choice"), text_of(form, "hours")
    if choice not in set(Unsure):
        raise SignInError("malformed")
    hours = number(typed)
    if choice != Unsure.AGAIN:
        hours = person.site.unsure_hours
    elif not 1 <= hours <= LONGEST_HOURS:
        wrong = f"Type a whole number of hours from 1 to {LONGEST_HOURS}."
        chosen = Choice(choice, typed[:20], wrong)
        return await settings_page(request, bridge, person, choice=chosen)
    async with bridge.database.writing() as writing:
        await accounts.set_unsure_choice(writing, person.id, Unsure(choice), hours, bridge.now())
    return RedirectResponse("/settings?said=saved", status_code=303)


@router.get("/site/unsure")
async def back() -> Response:
    """Lead those who reload a page that a form has answered to where the form is."""
    return RedirectResponse("/settings#site", status_code=303)
