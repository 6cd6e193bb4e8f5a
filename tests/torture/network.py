"""All neighbours of the bridge behind one server, and what happens to its requests on the way.

Only what the bridge itself asks may meet a fate; browsers pass unharmed.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.demo.trakt_door import Answer, called
from app.demo.trakt_town import SimulatedTraktTown, texts
from tests.torture.clock import SharedClock
from tests.torture.fates import (
    Cut,
    Fate,
    Half,
    Held,
    Instead,
    Killed,
    Late,
    Truncated,
    Where,
    is_lossy,
)
from tests.torture.keys import Keys
from tests.torture.plans import Meeting
from tests.torture.spared import is_second_try, is_second_try_under_way

OURS = "OwnYourTrakt/"
# Whoever died by themselves in the middle of a second try is in it for ever.
LONGEST_SPARED = 3  # seconds
GLANCE = 0.02  # seconds
TOKENS = {Where.SITE_TOKEN, Where.TRAKT_TOKEN}


class Broken(Exception):
    """The connection ends here; uvicorn closes its socket."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One origin: what answers there, and whose it is; Trakt is everybody's."""

    app: ASGIApp
    owner: str = ""


@dataclass(slots=True)
class Delayed:
    """What a site will do when the world's clock has come to ``at``."""

    at: datetime
    app: ASGIApp
    scope: Scope
    body: bytes


@dataclass(slots=True)
class Network:
    """An ASGI app that leads each port to its neighbour.

    ``stirred`` is set whenever a request of the bridge comes or goes. ``kill`` ends one of
    its processes.
    """

    clock: SharedClock
    database: str
    kill: Callable[[], Awaitable[int]]
    town: SimulatedTraktTown
    keys: Keys = field(default_factory=Keys)
    neighbours: dict[int, Neighbour] = field(default_factory=dict)
    plan: dict[tuple[Where, int], Fate] = field(default_factory=dict)
    counts: Counter[Where] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    delayed: list[Delayed] = field(default_factory=list)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0

    def begin(self, meetings: tuple[Meeting, ...]) -> None:
        """Begin a life: nothing was asked yet."""
        self.counts.clear()
        self.plan = {(meeting.where, meeting.nth): meeting.fate for meeting in meetings}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead a request to its neighbour, or to its fate."""
        neighbour = self.neighbours[scope["server"][1]]
        request = Request(scope, receive)
        if not request.headers.get("user-agent", "").startswith(OURS):
            await neighbour.app(scope, receive, send)
            return
        self.under_way += 1
        self.stirred.set()
        try:
            await self.meet(neighbour, request, send)
        finally:
            self.under_way -= 1
            self.stirred.set()

    async def meet(self, neighbour: Neighbour, request: Request, send: Send) -> None:
        """Let one request of the bridge meet what its life has planned for it."""
        body = await request.body()
        where = place(neighbour, request)
        self.counts[where] += 1
        self.keys.used(request.headers.get("authorization", ""))
        fate = self.fate(where, body)
        holder = (where, neighbour.owner or self.town.owner(*texts(body)).person.username)
        self.note(fate, where, neighbour)

        async def done() -> Answer:
            answer = await called(neighbour.app, request.scope, body)
            if where in TOKENS:
                self.keys.given(holder, answer, arrives=fate is None)
            return answer

        match fate:
            case Killed(when=when):
                await self.killing(when, done, send)
            case Late(after=span):
                at = self.clock.world() + span
                self.delayed.append(Delayed(at, neighbour.app, request.scope, body))
                await cut(send)
            case Held(done=is_done):
                if is_done:
                    await done()
                await held(request)
            case _:
                await self.answer(fate, await done() if is_done_at_all(fate) else None, send)

    def note(self, fate: Fate | None, where: Where, neighbour: Neighbour) -> None:
        """Count a fault, and the key that it costs."""
        if fate and not isinstance(fate, Killed):
            self.met[f"{where} {type(fate).__name__}"] += 1
        if isinstance(fate, Instead) and fate.status == 401:
            self.keys.refused((Where.SITE_TOKEN, neighbour.owner))

    async def answer(self, fate: Fate | None, true: Answer | None, send: Send) -> None:
        """Send the true answer, or what becomes of it on its way."""
        match fate, true:
            case Instead(), _:
                await whole(self.other(fate), send)
            case Half(), Answer():
                await half(true, send)
            case Truncated(), Answer():
                await whole(true.halved(), send)
            case None, Answer():
                await whole(true, send)
            case _:
                await cut(send)

    def fate(self, where: Where, body: bytes) -> Fate | None:
        """Return what this request meets; what must not be now waits for the next one."""
        key = (where, self.counts[where])
        fate = self.plan.pop(key, None)
        if fate is None or not self.must_spare(where, fate, body):
            return fate
        self.plan.setdefault((where, key[1] + 1), fate)
        return None

    def must_spare(self, where: Where, fate: Fate, body: bytes) -> bool:
        """Tell whether this fate would lose a post for the second time.

        Then a person would rightly be asked, on a site that can be read as well.
        """
        if isinstance(fate, Killed):
            return is_second_try_under_way(self.database)
        lost = where is Where.CREATE and is_lossy(fate)
        return lost and is_second_try(self.database, slug_of(body))

    def other(self, fate: Instead) -> Answer:
        """Return the answer that stands in the place of the true one."""
        response = Response(fate.body, fate.status, fate.named(self.clock.world()))
        return Answer(fate.status, tuple(response.raw_headers), bytes(response.body))

    async def killing(self, when: str, done: Callable[[], Awaitable[Answer]], send: Send) -> None:
        """Kill the bridge when its request has come, is done, or is half or wholly answered."""
        answer = None if when == "arrived" else await done()
        if answer and when == "answering":
            await begun(answer, send)
        if answer and when == "answered":
            await whole(answer, send)
        await self.spared()
        await self.kill()
        if when != "answered":
            raise Broken

    async def spared(self) -> None:
        """Return when no post is being sent for the second time, at most after a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_SPARED):
                while is_second_try_under_way(self.database):
                    await self.stirs_within(GLANCE)

    def late_until(self, end: datetime) -> list[datetime]:
        """Return when something comes late to a site, until ``end``."""
        return sorted(one.at for one in self.delayed if one.at <= end)

    async def arrive(self, *, all_of_them: bool = False) -> None:
        """Let the sites do what has come to them late."""
        now = self.clock.world()
        due = [one for one in self.delayed if all_of_them or one.at <= now]
        self.delayed = [one for one in self.delayed if one not in due]
        for one in due:
            await called(one.app, one.scope, one.body)

    async def quiet(self, still: float, most: float) -> None:
        """Return when the bridge has asked nobody anything for ``still`` seconds.

        At most ``most`` seconds pass.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(most):
                while self.under_way or await self.stirs_within(still):
                    self.stirred.clear()
                    if self.under_way:
                        await self.stirred.wait()

    async def stirs_within(self, still: float) -> bool:
        """Tell whether a request comes or goes in so many seconds."""
        self.stirred.clear()
        try:
            async with asyncio.timeout(still):
                await self.stirred.wait()
        except TimeoutError:
            return False
        return True


def place(neighbour: Neighbour, request: Request) -> Where:
    """Return what kind of request this is."""
    path = request.url.path
    if not neighbour.owner:
        return Where.TRAKT_TOKEN if path == "/oauth/token" else Where.TRAKT
    if path == "/token":
        return Where.SITE_TOKEN
    return Where.CREATE if path == "/micropub" and request.method == "POST" else Where.LOOK


def slug_of(body: bytes) -> str:
    """Return the slug that a create asks for; empty where it asks for none."""
    try:
        return str(json.loads(body)["properties"]["mp-slug"][0])
    except (ValueError, LookupError, TypeError):
        return ""


async def whole(answer: Answer, send: Send) -> None:
    """Send the whole answer."""
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)}
    )
    await send({"type": "http.response.body", "body": answer.body})


async def begun(answer: Answer, send: Send) -> None:
    """Send the first half of an answer, promising all of it."""
    headers = [pair for pair in answer.headers if pair[0] != b"content-length"]
    length = (b"content-length", str(len(answer.body) + 1).encode())
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": [*headers, length]}
    )
    first = answer.body[: len(answer.body) // 2]
    await send({"type": "http.response.body", "body": first, "more_body": True})


async def half(answer: Answer, send: Send) -> NoReturn:
    """Break off in the middle of an answer."""
    await begun(answer, send)
    raise Broken


async def cut(send: Send) -> NoReturn:
    """Break off before a word was said: a server can do so only after its first line."""
    await begun(Answer(200, (), b""), send)
    raise Broken


async def held(request: Request) -> NoReturn:
    """Say nothing until the bridge has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise Broken


def is_done_at_all(fate: Fate | None) -> bool:
    """Tell whether a request that meets this fate is carried out."""
    match fate:
        case Cut(done=is_done) | Instead(done=is_done):
            return is_done
        case _:
            return True
