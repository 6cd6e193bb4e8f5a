"""All that a person chose, as one file to keep, and to bring back."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.errors import ChoiceRefused
from app.store import choices
from app.web.bridge import Bridge, TheBridge
from app.web.pages import show
from app.web.session import Person, TheForm, ThePerson, text_of

router = APIRouter()

HERE = "/settings/file"
NAME = "ownyourtrakt-settings.json"


@router.get(HERE)
async def file(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show how to keep all choices as a file, and how to bring one back."""
    return page(request, bridge, person)


def page(
    request: Request,
    bridge: Bridge,
    person: Person,
    text: str = "",
    problems: dict[str, str] | None = None,
) -> Response:
    """Return the page, with what is wrong with a file that was to be brought back."""
    status = 400 if problems else 200
    return show(
        request, bridge, person, "file.html", status, text=text, problems=problems or {}, name=NAME
    )


@router.get(f"{HERE}/{NAME}")
async def export(person: ThePerson) -> Response:
    """Return the file, for the browser to keep."""
    return Response(
        choices.exported(person.account, person.site),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{NAME}"'},
    )


@router.post(HERE)
async def bring_back(
    request: Request, bridge: TheBridge, person: ThePerson, form: TheForm
) -> Response:
    """Keep what a file says, all of it or nothing."""
    text = text_of(form, "file")
    try:
        values = choices.read(text)
    except ChoiceRefused as refused:
        return page(request, bridge, person, text, refused.problems)
    async with bridge.database.writing() as writing:
        await choices.keep(writing, person.id, values, bridge.now())
    bridge.poke()
    return RedirectResponse(f"{HERE}?said=imported", status_code=303)
