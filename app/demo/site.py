"""A simulated website: the blog of a person who does not exist, with IndieAuth and Micropub.

It keeps everything in memory and speaks the protocols honestly, so the demo and the tests can
treat it as any website. `Habits` make it deviate as real servers do; `SimulatedSite.then` makes
it misbehave once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.demo.site_habits import Answer, Dropped, Habits, Held, OneOff
from app.demo.site_indieauth import IndieAuth, Refused, refusal
from app.demo.site_micropub import Micropub, Post, newest_first

__all__ = ["Answer", "Dropped", "Habits", "Held", "Post", "Seen", "SimulatedSite"]

HERE = Path(__file__).parent
# Posts may hold HTML of their author, as on any blog; scripts are never among it.
POLICY = "default-src 'self'; img-src * data:; script-src 'none'; base-uri 'none'"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request and what became of it; names of headers in lower case.

    ``status`` is None when the answer broke off.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None


class SimulatedSite:
    """The website of one person at ``origin`` (``http://127.0.0.1:8002``, without a slash)."""

    def __init__(
        self,
        origin: str,
        *,
        now: Callable[[], datetime],
        name: str = "Ada Example",
        habits: Habits = Habits(),  # noqa: B008 - a frozen value, safe to share
    ) -> None:
        self.me = f"{origin}/"
        self.habits = habits
        self.person = {"name": name, "url": self.me, "photo": f"{origin}/portrait.svg"}
        self.requests: list[Seen] = []
        self.templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.globals |= {"person": self.person, "origin": origin, "habits": habits}
        self.indieauth = IndieAuth(
            origin, now=now, habits=habits, profile=self.person, page=self.page
        )
        self.micropub = Micropub(origin, now=now, habits=habits, token=self.indieauth.token)
        self.app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        self.app.add_exception_handler(Refused, refusal)
        self.app.add_middleware(Recorder, seen=self.requests)
        for routes in (self.routes(), self.indieauth.routes(), self.micropub.routes()):
            self.app.include_router(routes)

    @property
    def posts(self) -> list[Post]:
        """Return all posts in the order they came, drafts and deleted ones included."""
        return self.micropub.posts

    def then(self, answer: OneOff) -> None:
        """Behave as told at the next Micropub POST that has no such order yet."""
        self.micropub.one_offs.append(answer)

    def revoke_tokens(self) -> None:
        """Withdraw all access, so that every token is invalid from now on."""
        self.indieauth.revoke_tokens()

    def routes(self) -> APIRouter:
        """Return the pages a visitor sees."""
        router = APIRouter()
        router.add_api_route("/", self.home)
        router.add_api_route("/posts/{slug}", self.permalink)
        router.add_api_route("/site.css", self.stylesheet)
        router.add_api_route("/portrait.svg", self.portrait)
        return router

    async def home(self) -> Response:
        """Show the profile with the newest posts first."""
        if self.habits.html_403_challenge:
            return self.page("site_challenge.html", 403)
        public = [post for post in self.posts if post.is_public]
        return self.page("site_home.html", posts=newest_first(public))

    async def permalink(self, request: Request) -> Response:
        """Show one post; 410 when it is deleted, 404 when it is a draft or never was."""
        path = request.url.path
        post = next((post for post in self.posts if post.url == self.me.rstrip("/") + path), None)
        if post and post.deleted:
            return self.page("site_gone.html", 410)
        if post is None or not post.is_public:
            return self.page("site_missing.html", 404)
        return self.page("site_post.html", post=post)

    async def stylesheet(self) -> Response:
        """Return the looks of every page."""
        return FileResponse(HERE / "static" / "site.css")

    async def portrait(self) -> Response:
        """Return the photo of the profile."""
        return FileResponse(HERE / "static" / "site_portrait.svg")

    def page(self, template: str, status: int = 200, **context: Any) -> Response:  # noqa: ANN401 - whatever the template shows
        """Return ``template`` as an HTML page."""
        html = self.templates.get_template(template).render(context)
        return HTMLResponse(html, status, {"Content-Security-Policy": POLICY})


class Recorder:
    """Notes every request in ``seen`` once it has been answered."""

    def __init__(self, app: ASGIApp, seen: list[Seen]) -> None:
        self.app = app
        self.seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        to_replay: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def replay() -> Message:
            return to_replay.pop() if to_replay else await receive()

        async def watch(message: Message) -> None:
            sent.append(message)
            if is_last(message):
                self.seen.append(seen(request, body, sent[0]["status"]))
            await send(message)

        try:
            await self.app(scope, replay, watch)
        finally:
            if not sent or not is_last(sent[-1]):
                self.seen.append(seen(request, body, None))


def is_last(message: Message) -> bool:
    """Tell whether an answer is complete with ``message``."""
    return message["type"] == "http.response.body" and not message.get("more_body", False)


def seen(request: Request, body: bytes, status: int | None) -> Seen:
    """Return the record of a request."""
    return Seen(
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        headers=dict(request.headers),
        body=body,
        status=status,
    )
