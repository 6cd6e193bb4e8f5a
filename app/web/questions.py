"""What the bridge asks a person: the page of a question that has a list, and the answers."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import SignInError
from app.notices import Kind
from app.store import bunches, connections, gates, notices, posts, starts
from app.store.watches import Listed
from app.tables import NoticeRow
from app.web.bridge import TheBridge
from app.web.pages import number, show
from app.web.session import Form, Person, TheForm, ThePerson

router = APIRouter()

Answer = Callable[[AsyncSession, NoticeRow, datetime, Form], Awaitable[object]]


@router.get("/questions/{key}")
async def question(key: str, request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show all that a question is about; the others are asked on the dashboard alone.

    ``?tick=none`` begins with nothing chosen, for whoever wants few of many.
    """
    async with bridge.database.reading() as reading:
        notice = await the_question(reading, person, key)
        listed = await about(reading, person, notice)
    if not listed or notice.closed_at is not None:
        return RedirectResponse("/", status_code=303)
    ticked = request.query_params.get("tick") != "none"
    return show(
        request, bridge, person, "question.html", notice=notice, listed=listed, ticked=ticked
    )


async def the_question(session: AsyncSession, person: Person, key: str) -> NoticeRow:
    """Return one of the person's own notices, perhaps over. Raises SignInError ``not_found``."""
    found = await notices.seen(session, person.id, number(key))
    if found is None:
        raise SignInError("not_found")
    return found


async def about(session: AsyncSession, person: Person, notice: NoticeRow) -> list[Listed]:
    """Return the watches that wait for the answer to a question."""
    match notice.kind:
        case Kind.BUNCH:
            return await bunches.members(session, notice)
        case Kind.GATE:
            return await gates.waiting(session, person.site)
        case _:
            return []


@router.post("/questions/{key}/{answer}")
async def settle(
    key: str, answer: str, bridge: TheBridge, person: ThePerson, form: TheForm
) -> Response:
    """Do what the person answered, unless that is settled already."""
    async with bridge.database.reading() as reading:
        notice = await the_question(reading, person, key)
    act = ANSWERS.get((notice.kind, answer))
    if act is None:
        raise SignInError("not_found")
    said = "settled"
    if answer == "choose" and notice.closed_at is None and not form.getlist("watch"):
        again = f"/questions/{notice.id}?tick=none&said=bunch-none"
        return RedirectResponse(again, status_code=303)
    if notice.closed_at is None:
        async with bridge.database.writing() as writing:
            await act(writing, notice, bridge.now(), form)
        said = f"{notice.kind}-{answer}"
        bridge.poke()
    return RedirectResponse(f"/?said={said}", status_code=303)


async def bunch(writing: AsyncSession, notice: NoticeRow) -> NoticeRow | None:
    """Return the open notice of a bunch, locked; None when it is over."""
    await posts.hold_sites(writing, [notice.account_id])
    return await notices.one(writing, notice.account_id, notice.id or 0)


async def post_all(writing: AsyncSession, notice: NoticeRow, now: datetime, _form: Form) -> None:
    """Post the whole bunch."""
    if held := await bunch(writing, notice):
        await bunches.post_all(writing, held, now)


async def keep_all(writing: AsyncSession, notice: NoticeRow, now: datetime, _form: Form) -> None:
    """Post none of the bunch."""
    if held := await bunch(writing, notice):
        await bunches.keep_all(writing, held, now)


async def post_ticked(writing: AsyncSession, notice: NoticeRow, now: datetime, form: Form) -> None:
    """Post those of the bunch that are ticked."""
    ticked = [number(str(value)) for value in form.getlist("watch")]
    if held := await bunch(writing, notice):
        await bunches.post_some(writing, held, ticked, now)


async def they_are_there(
    writing: AsyncSession, notice: NoticeRow, now: datetime, _form: Form
) -> None:
    """Send nothing of what waits: it is on the site already."""
    await gates.answer(writing, notice.account_id, now, there=True)


async def send_them(writing: AsyncSession, notice: NoticeRow, now: datetime, _form: Form) -> None:
    """Send all that waits."""
    await gates.answer(writing, notice.account_id, now, there=False)


async def start_then(writing: AsyncSession, notice: NoticeRow, now: datetime, _form: Form) -> None:
    """Start posting where the site leaves off."""
    await starts.answer(writing, notice.account_id, now, since=True)


async def start_now(writing: AsyncSession, notice: NoticeRow, now: datetime, _form: Form) -> None:
    """Let posting start when Trakt was connected."""
    await starts.answer(writing, notice.account_id, now, since=False)


async def they_are_gone(
    writing: AsyncSession, notice: NoticeRow, now: datetime, _form: Form
) -> None:
    """Believe that what Trakt no longer shows is gone."""
    await connections.believe(writing, notice.account_id, now)


ANSWERS: dict[tuple[str, str], Answer] = {
    (Kind.BUNCH, "post"): post_all,
    (Kind.BUNCH, "keep"): keep_all,
    (Kind.BUNCH, "choose"): post_ticked,
    (Kind.GATE, "there"): they_are_there,
    (Kind.GATE, "send"): send_them,
    (Kind.START, "then"): start_then,
    (Kind.START, "now"): start_now,
    (Kind.ABSENT, "gone"): they_are_gone,
}
