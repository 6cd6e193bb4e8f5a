"""The test post: sent, deleted and believed to be gone by a press of a button, never by itself."""

from datetime import UTC

from fastapi import APIRouter, BackgroundTasks, Response
from fastapi.responses import RedirectResponse

from app.errors import SignInError
from app.hentry import zone
from app.store import trials
from app.style import Shape
from app.web import abilities
from app.web.bridge import TheBridge
from app.web.session import TheForm, ThePerson, text_of

router = APIRouter()

HERE = f"{abilities.HERE}/test"
FORMS = {"": None, "json": False, "form": True}


@router.post(HERE)
async def send(
    bridge: TheBridge, person: ThePerson, form: TheForm, afterwards: BackgroundTasks
) -> Response:
    """Send a test post, in the shape of the person's posts or in the other form."""
    typed = text_of(form, "as")
    if typed not in FORMS:
        raise SignInError("malformed")
    style, chosen = abilities.style_of(person), FORMS[typed]
    as_form = style.shape is Shape.FORM if chosen is None else chosen
    at = bridge.now().astimezone(zone(person.account.timezone) or UTC)
    trial = await bridge.tester.begin(person.site, style, at, as_form=as_form)
    if trial is None:
        return there("test-there")
    # Some sites take longer to answer than a platform waits for us.
    afterwards.add_task(bridge.tester.send, person.site, trial)
    return there("test-sent")


@router.post(f"{HERE}/delete")
async def delete(
    bridge: TheBridge, person: ThePerson, form: TheForm, afterwards: BackgroundTasks
) -> Response:
    """Delete the test post from the site."""
    del form
    async with bridge.database.writing() as writing:
        trial = await trials.begin_deleting(writing, person.id, bridge.now())
    if trial is None:
        return there("test-none")
    afterwards.add_task(bridge.tester.delete, person.site, trial)
    return there("test-deleting")


@router.post(f"{HERE}/gone")
async def gone(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Believe the person that the test post is not there."""
    del form
    async with bridge.database.writing() as writing:
        await trials.forget(writing, person.id)
    return there("test-gone")


def there(said: str) -> Response:
    """Lead to where the test post is told of."""
    return RedirectResponse(f"{abilities.HERE}?said={said}#test", status_code=303)


@router.get(HERE)
@router.get(f"{HERE}/delete")
@router.get(f"{HERE}/gone")
async def back() -> Response:
    """Lead those who reload a page that a form has answered to where the form is."""
    return RedirectResponse(f"{abilities.HERE}#test", status_code=303)
