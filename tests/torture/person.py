"""What only a person can do, done through the bridge's own pages."""

import html
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import httpx2

from app.demo.site import SimulatedSite
from tests.torture.fates import Where
from tests.torture.keys import Keys
from tests.torture.posts import live_posts
from tests.world import Browser

PATIENCE = 30  # seconds
PLAY = re.compile(r'"id": (\d+)')
RECONNECT = "Connect Trakt again"
BUTTON = re.compile(r"<button[^>]*>(.*?)</button>", re.DOTALL)
NO_CLEAR_ANSWER = "no clear answer came back"
IT_WAITS = "so it waits for you"
QUESTION = re.compile(r'href="(/questions/\d+)">See what waits')
WATCH = re.compile(r"/watches/\d+")


class Waiting(httpx2.AsyncHTTPTransport):
    """The way of somebody who waits as long as a page asks; ``passes`` is what waiting does.

    A kept connection would not survive the bridge.
    """

    def __init__(self, passes: Callable[[timedelta], None]) -> None:
        super().__init__(trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0))
        self.passes = passes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer to a request that was not too early."""
        while True:
            response = await super().handle_async_request(request)
            if response.status_code != 429 or "Retry-After" not in response.headers:
                return response
            await response.aclose()
            self.passes(timedelta(seconds=int(response.headers["Retry-After"])))


def a_client(passes: Callable[[timedelta], None]) -> httpx2.AsyncClient:
    """Return the network of one browser."""
    return httpx2.AsyncClient(transport=Waiting(passes), trust_env=False, timeout=PATIENCE)


@dataclass(slots=True)
class Person:
    """Somebody with a website and a Trakt of their own.

    ``reconnects`` counts what only they could mend; ``unexplained`` is what the dashboard said
    where a key was to be granted anew that cannot have been lost. ``asked`` are the plays of
    whose posts nobody else could tell, ``routine`` counts the answers to other questions.
    ``patience`` returns when all has come to the site that was on its way.
    """

    name: str
    site: SimulatedSite
    url: str
    trakt_door: str
    keys: Keys
    patience: Callable[[], Awaitable[None]]
    client: httpx2.AsyncClient
    reconnects: int = 0
    unexplained: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    routine: int = 0

    @property
    def browser(self) -> Browser:
        return Browser(self.client)

    async def arrive(self) -> None:
        """Sign in and connect Trakt for the first time."""
        await self.browser.visit(f"{self.trakt_door}/as/{self.name}")
        page = await self.home()
        await page.press("Connect Trakt")
        await page.press("Approve")

    async def home(self) -> Browser:
        """Return the dashboard, after signing in where that is due."""
        browser = self.browser
        await browser.visit(self.url)
        if not has_button(browser, "Sign out"):
            await browser.press("Sign in", me=self.site.me)
            await browser.press("Approve")
        return browser

    async def check_now(self) -> None:
        """Press “Check now”, where Trakt can be asked."""
        page = await self.home()
        if has_button(page, "Check now"):
            await page.press("Check now")

    async def look_after_it(self) -> None:
        """Do what the dashboard asks for."""
        page = await self.home()
        if wants_key(page):
            await self.grant(page, "Sign in again", Where.SITE_TOKEN)
            page = await self.home()
        if has_button(page, RECONNECT):
            await self.grant(page, RECONNECT, Where.TRAKT_TOKEN)
            page = await self.home()
        for button in ("Post all", "Start from now", "Go on"):
            while has_button(page, button):
                await page.press(button)
                self.routine += 1
                page = await self.home()
        if has_button(page, "Send them"):
            await self.open_gate(page)
        if NO_CLEAR_ANSWER in page.page.text:
            await self.decide(page)

    async def grant(self, page: Browser, button: str, where: Where) -> None:
        """Give the bridge a new key; if that works, it must have had a cause."""
        reason = said(page)
        await page.press(button)
        await page.press("Approve")
        # What stopped on the way is told where it stopped; only a success leads home.
        if page.page.url.path != "/":
            return
        self.reconnects += 1
        if not self.keys.excused(where, self.name):
            self.unexplained.append(reason)

    async def open_gate(self, page: Browser) -> None:
        """Say of all that may be on the site already what is, and have the rest sent."""
        there = await self.on_my_site()
        (question,) = set(QUESTION.findall(page.page.text))
        await page.visit(self.url + question)
        for link in sorted(set(WATCH.findall(page.page.text))):
            play = await self.play_at(page, link)
            if play in there and has_button(page, "Do not post it"):
                await page.press("Do not post it")
            self.asked.append(play)
        page = await self.home()
        if has_button(page, "Send them"):
            await page.press("Send them")

    async def decide(self, page: Browser) -> None:
        """Look at the site for each post that the bridge cannot tell of, and answer."""
        there = await self.on_my_site()
        await page.visit(f"{self.url}/watches?state=unsure")
        for link in sorted(set(WATCH.findall(page.page.text))):
            play = await self.play_at(page, link)
            if IT_WAITS in page.page.text:
                await page.press("It is there" if play in there else "It is not there")
                self.asked.append(play)

    async def on_my_site(self) -> set[str]:
        """Return the plays whose posts are there, once all that was on its way has come."""
        await self.patience()
        return {post.play for post in live_posts(self.site)}

    async def play_at(self, page: Browser, link: str) -> str:
        """Return the play that the page of a watch is about, as Trakt told of it."""
        await page.visit(self.url + link)
        (first, *_) = PLAY.findall(html.unescape(page.page.text))
        return str(first)


def has_button(page: Browser, words: str) -> bool:
    """Tell whether the page shows such a button."""
    return any(words in " ".join(one.split()) for one in BUTTON.findall(page.page.text))


def wants_key(page: Browser) -> bool:
    """Tell whether the dashboard asks the person to sign in again."""
    return "wants you to sign in again" in page.page.text


def said(page: Browser) -> str:
    """Return the warnings of a page."""
    notes = page.document.select(".note")
    return " ".join(" ".join(note.get_text(" ").split()) for note in notes)
