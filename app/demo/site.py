"""A simulated website: the blog of a person who does not exist, with IndieAuth and Micropub.

It keeps everything in memory and speaks the protocols honestly, so the demo and the tests can
treat it as any website. `Habits` make it deviate as real servers do; `SimulatedSite.then` makes
it misbehave once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Query, Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from app.demo.pages import HERE, PAGES
from app.demo.site_door import Door, Record, Seen
from app.demo.site_habits import Answer, Dropped, Habits, Held, OneOff
from app.demo.site_indieauth import IndieAuth, Refused, refusal
from app.demo.site_media import Media
from app.demo.site_micropub import Micropub
from app.demo.site_posts import Post, Properties, Sent, Shelf, instant

__all__ = ["Answer", "Dropped", "Habits", "Held", "Post", "Seen", "SimulatedSite"]

# Posts may hold HTML of their author, as on any blog; scripts are never among it.
POLICY = "default-src 'self'; img-src * data:; script-src 'none'; base-uri 'none'"


@dataclass(frozen=True, slots=True)
class Mishap:
    """Something that a person may let go wrong with the next post, and how it is put to them."""

    button: str
    said: str
    order: OneOff


MISHAPS = {
    "answer": Mishap(
        "Lose the next answer",
        "The next post arrives here, but whoever sent it hears nothing.",
        Dropped(creates=True),
    ),
    "post": Mishap(
        "Lose the next post",
        "The next post never arrives, and whoever sent it hears nothing either.",
        Dropped(),
    ),
    "busy": Mishap(
        "Be busy once",
        "The next post is sent away with “too many requests, come back in ten seconds”.",
        Answer(429, {"Retry-After": "10"}),
    ),
}


class SimulatedSite:
    """The website of one person at ``origin`` (``http://127.0.0.1:8002``, without a slash)."""

    def __init__(
        self,
        origin: str,
        *,
        now: Callable[[], datetime],
        name: str = "Ada Example",
        habits: Habits = Habits(),  # noqa: B008 - a frozen value, safe to share
        with_mishaps: bool = False,
    ) -> None:
        """Prepare the website; ``with_mishaps``: its home page has buttons that break things."""
        self.me = f"{origin}/"
        self.habits = habits
        self.person = {"name": name, "url": self.me, "photo": f"{origin}/portrait.svg"}
        self.now = now
        self.record = Record()
        self.everywhere = {"person": self.person, "origin": origin, "habits": habits}
        self.mishaps = MISHAPS if with_mishaps else {}
        self.indieauth = IndieAuth(
            origin, now=now, habits=habits, profile=self.person, page=self.page
        )
        self.shelf = Shelf(origin, now=now, habits=habits)
        self.micropub = Micropub(self.shelf, now=now, habits=habits, token=self.indieauth.token)
        self.media = Media(origin, token=self.indieauth.token)
        routers = (
            self.indieauth.routes(),
            self.micropub.routes(),
            self.media.routes(),
            self.routes(),
        )
        # As they are: included, each would be made a second time.
        routes = [route for router in routers for route in router.routes]
        self.app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=routes)
        self.app.add_exception_handler(Refused, refusal)
        self.app.add_middleware(Door, record=self.record)

    @property
    def posts(self) -> list[Post]:
        """Return all posts in the order they came, drafts and deleted ones included."""
        return list(self.shelf.by_url.values())

    @property
    def requests(self) -> list[Seen]:
        """Return the requests, oldest first; of very many the last 10,000."""
        return list(self.record.seen)

    def then(self, one_off: OneOff, *, at: str = "POST /micropub") -> None:
        """Behave as told at the next request that has no such order yet.

        ``at`` is how that request begins: ``GET /micropub?q=source``, ``POST /token``, ``GET /``.
        """
        self.record.one_offs.append((at, one_off))

    def publish_before(self, properties: Properties, url: str | None = None) -> str:
        """Put an h-entry here as another program did long ago, and return its URL.

        Its shape is not checked. It came when it says it was published, else now.
        """
        came = instant(properties.get("published", []), self.now())
        return self.shelf.add(Sent(["h-entry"], properties, at=came), url).url

    def delete(self, url: str) -> None:
        """Take a post away, as its author does in the website's own administration."""
        self.shelf.delete(url)

    def revoke_tokens(self) -> None:
        """Withdraw all access, so that every token is invalid from now on."""
        self.indieauth.revoke_tokens()

    def routes(self) -> APIRouter:
        """Return the pages a visitor sees."""
        router = APIRouter()
        router.add_api_route("/", self.home)
        if self.mishaps:
            router.add_api_route("/mishap", self.arrange, methods=["POST"])
        router.add_api_route("/site.css", self.stylesheet)
        router.add_api_route("/portrait.svg", self.portrait)
        # Posts of other programs may have any URL.
        router.add_api_route("/{path:path}", self.permalink)
        return router

    async def home(self, page: Annotated[int, Query(ge=1)] = 1) -> Response:
        """Show the profile with the newest posts first, or a page of older ones."""
        if self.habits.html_403_challenge:
            return self.page("site_challenge.html", 403)
        size = self.habits.feed_page_size
        public = (post for post in self.shelf.newest_first() if post.is_public)
        # One more than fits tells whether there is a next page.
        posts = list(islice(public, (page - 1) * size, page * size + 1))
        if page > 1 and not posts:
            return self.page("site_missing.html", 404)
        older = page + 1 if len(posts) > size else None
        return self.page(
            "site_home.html",
            posts=posts[:size],
            number=page,
            older=older,
            mishaps=self.mishaps,
            waiting=len(self.record.one_offs),
        )

    async def arrange(self, mishap: Annotated[str, Form()]) -> Response:
        """Let something go wrong with the next post."""
        if chosen := self.mishaps.get(mishap):
            self.then(chosen.order)
        return RedirectResponse(self.me, 303)

    async def permalink(self, request: Request) -> Response:
        """Show one post; 410 when it is deleted, 404 when it is a draft or never was."""
        post = self.shelf.shown(self.me.rstrip("/") + request.url.path)
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
        html = PAGES.get_template(template).render(self.everywhere | context)
        return HTMLResponse(html, status, {"Content-Security-Policy": POLICY})
