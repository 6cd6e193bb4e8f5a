"""The pages a person sees: the consent page, and a home page to watch something on."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.demo.catalogue import CATALOGUE, OFFICE, name, series
from app.demo.pages import HERE, PAGES
from app.demo.trakt_api import Person
from app.demo.trakt_history import UNKNOWN_TIME, History, Play, stamp
from app.demo.trakt_oauth import Asked, Tokens
from app.demo.trakt_opinions import Opinions

STYLE = (HERE / "static" / "trakt.css").read_bytes()
SHOWN = 20
# How long ago, by the words of the form; None is “I do not remember”.
AGES: Mapping[str, timedelta | None] = {
    "now": timedelta(),
    "yesterday": timedelta(days=1),
    "last-year": timedelta(days=365),
    "unknown": None,
}
Who = Callable[[], Person]


@dataclass(slots=True)
class Consent:
    """The person's decisions about apps."""

    tokens: Tokens
    deny_next: bool = False

    def decide(self, asked: Asked, *, approved: bool) -> str:
        """Return where the browser goes with the decision (RFC 6749 §4.1.2)."""
        denied, self.deny_next = self.deny_next or not approved, False
        outcome = {"error": "access_denied"} if denied else {"code": self.tokens.code(asked)}
        if asked.state:
            outcome["state"] = asked.state
        joint = "&" if "?" in asked.redirect_uri else "?"
        return asked.redirect_uri + joint + urlencode(outcome)


def consent_routes(consent: Consent, person: Who) -> APIRouter:
    """Return ``/oauth/authorize``, where a person is asked and answers."""
    router = APIRouter()

    @router.get("/oauth/authorize")
    async def ask(request: Request) -> Response:
        asked = Asked.of(request.query_params)
        if problem := asked.problem(consent.tokens.app):
            return page("trakt_problem", 400, problem=problem)
        fields = {key: value for key, value in asdict(asked).items() if value}
        return page("trakt_consent", fields=fields, person=person())

    @router.post("/oauth/authorize")
    async def decide(request: Request) -> Response:
        form = await request.form()
        answers = {key: value for key, value in form.items() if isinstance(value, str)}
        asked = Asked.of(answers)
        if problem := asked.problem(consent.tokens.app):
            return page("trakt_problem", 400, problem=problem)
        approved = answers.get("decision") == "approve"
        return RedirectResponse(consent.decide(asked, approved=approved), 303)

    return router


def person_routes(history: History, tokens: Tokens, person: Who) -> APIRouter:
    """Return the home page and what its buttons do."""
    router = series_routes(history)

    @router.get("/")
    async def home() -> Response:
        return page(
            "trakt_home",
            person=person(),
            plays=[shown(play, person()) for play in history.latest(SHOWN)],
            works=[(work.trakt, name(work)) for work in CATALOGUE],
            connected=bool(tokens.pairs),
            show=OFFICE.title,
            episodes=len(series(OFFICE)),
        )

    @router.get("/trakt.css")
    async def style() -> Response:
        return Response(STYLE, media_type="text/css")

    @router.post("/watch")
    async def watch(
        work: Annotated[int | None, Form()] = None, when: Annotated[str, Form()] = "now"
    ) -> Response:
        chosen = next((known for known in CATALOGUE if known.trakt == work), None)
        history.watch(chosen or history.next_work(), moment(when, history.now()))
        return back()

    @router.post("/again")
    async def again() -> Response:
        for play in history.latest(1):
            history.watch(play.work)
        return back()

    @router.post("/remove")
    async def remove(play: Annotated[int, Form()]) -> Response:
        history.remove([play])
        return back()

    @router.post("/disconnect")
    async def disconnect() -> Response:
        tokens.revoke_everything()
        return back()

    return router


def rating_routes(history: History, opinions: Opinions) -> APIRouter:
    """Return the form in which a person says what they think of what they watched."""
    router = APIRouter()

    @router.post("/rate")
    async def rate(
        play: Annotated[int, Form()],
        rating: Annotated[int, Form(ge=0, le=10)] = 0,
        words: Annotated[str, Form()] = "",
        spoiler: Annotated[str, Form()] = "",
    ) -> Response:
        work = history.play(play).work
        if rating:
            opinions.rate(work, rating)
        if words.strip():
            opinions.comment(work, words.strip(), is_spoiler=bool(spoiler))
        return back()

    return router


def series_routes(history: History) -> APIRouter:
    """Return the button that marks a whole series as watched, as people do with an old one."""
    router = APIRouter()

    @router.post("/series")
    async def mark() -> Response:
        for episode in series(OFFICE):
            history.watch(episode)
        return back()

    return router


def moment(when: str, now: datetime) -> datetime | Literal["unknown"]:
    """Return the time that the form's ``when`` stands for."""
    age = AGES.get(when, timedelta())
    return "unknown" if age is None else now - age


def shown(play: Play, person: Person) -> dict[str, object]:
    """Return ``play`` as the home page shows it, in the person's own time."""
    local = play.watched_at.astimezone(ZoneInfo(person.timezone))
    known = play.watched_at != UNKNOWN_TIME
    return {
        "id": play.id,
        "name": name(play.work),
        "stamp": stamp(play.watched_at),
        "time": f"{local:%d %B %Y, %H:%M}" if known else None,
    }


def back() -> Response:
    """Return the way back to the home page."""
    return RedirectResponse("/", 303)


def page(template: str, status: int = 200, **values: object) -> Response:
    """Return the page that ``template`` makes of ``values``."""
    return HTMLResponse(PAGES.get_template(f"{template}.html").render(values), status)
