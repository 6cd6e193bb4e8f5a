"""The door of both hosts of the simulated Trakt: what happens around every route.

Each request is written down, may meet a fault, and gets the headers that all answers carry.
Answers are made whole before anything is sent, so a fault can do with them what it likes.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Literal

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import AnswerLost

Host = Literal["api", "auth"]
# Enough for any test, and a demo may run for months.
REMEMBERED = 10_000


class ConnectionDropped(AnswerLost):
    """The connection closes in the middle of an answer.

    uvicorn turns this into a closed socket. Where the app is called in-process, it reaches the
    client as the error that `app.http` makes of a closed socket.
    """


@dataclass(frozen=True, slots=True)
class Status:
    """Answer like this; when ``committed``, only after doing what was asked.

    An answer of the ``edge`` (Cloudflare) is never seen by the API: it has no ``x-request-id``.
    """

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    committed: bool = False
    edge: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """Close the connection mid-answer; when ``committed``, after doing what was asked."""

    committed: bool = False


@dataclass(frozen=True, slots=True)
class Truncated:
    """Send the first half of the true answer as if it were the whole."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Set ``arrived`` and answer only when the test sets ``release``."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


Fault = Status | Dropped | Truncated | Slow

HTML = {"content-type": "text/html; charset=UTF-8", "server": "cloudflare"}
BLOCKED = b"<!DOCTYPE html><title>Attention Required!</title><h1>Sorry, you have been blocked</h1>"
CLOUDFLARE_403 = Status(403, HTML, BLOCKED, edge=True)
CLOUDFLARE_429 = Status(429, HTML, b"<!DOCTYPE html><title>Error 1015</title>", edge=True)
CLOUDFLARE_504 = Status(504, HTML, b"<!DOCTYPE html><title>Gateway time-out</title>", edge=True)
HTML_200 = Status(200, HTML, b"<!DOCTYPE html><title>Just a moment...</title>", edge=True)
EMPTY_500 = Status(500)
ACCOUNT_LOCKED = Status(423, {"X-Account-Locked": "true"})
VIP_ONLY = Status(426, {"X-Upgrade-URL": "https://trakt.tv/vip"})


def too_many(name: str, period: timedelta, limit: int, until: datetime, wait: timedelta) -> Status:
    """Return the API's own 429, which names the limit and the time to wait."""
    limits = {
        "name": name,
        "period": int(period.total_seconds()),
        "limit": limit,
        "remaining": 0,
        "until": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    seconds = max(1, -(-wait // timedelta(seconds=1)))
    return Status(429, {"X-Ratelimit": json.dumps(limits), "Retry-After": str(seconds)})


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived, and the status it was answered with (0: dropped).

    Names in ``headers`` are lower case.
    """

    host: Host
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    status: int


class Record:
    """The requests of both hosts and the faults that wait for coming ones."""

    def __init__(self) -> None:
        self.seen: deque[Seen] = deque(maxlen=REMEMBERED)
        self.faults: list[tuple[str, Fault]] = []

    def due(self, host: Host, path: str) -> Fault | None:
        """Use up and return the first fault meant for ``path``, if there is one.

        A fault without a path is meant for the API.
        """
        for index, (prefix, fault) in enumerate(self.faults):
            if path.startswith(prefix) if prefix else host == "api":
                del self.faults[index]
                return fault
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, before it is sent."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def halved(self) -> "Answer":
        """Return the answer with its second half missing."""
        kept = tuple(pair for pair in self.headers if pair[0] != b"content-length")
        body = self.body[: len(self.body) // 2]
        length = (b"content-length", str(len(body)).encode())
        return Answer(self.status, (*kept, length), body)


class Door:
    """ASGI middleware; ``refusal`` may answer in place of the routes."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: Host,
        record: Record,
        now: Callable[[], datetime],
        refusal: Callable[[Request], Response | None],
    ) -> None:
        self.app = app
        self.host = host
        self.record = record
        self.now = now
        self.refusal = refusal
        self.numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, write it down, and send its answer or half of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        answer = await self.answer(request, body)
        self.record.seen.append(seen(self.host, request, body, answer.status if answer else 0))
        await deliver(answer, send)

    async def answer(self, request: Request, body: bytes) -> Answer | None:
        """Return the answer, changed by the fault that is due; None to drop the connection."""
        fault = self.record.due(self.host, request.url.path)
        match fault:
            case Status(code=code, headers=headers, body=text, edge=edge):
                if fault.committed:
                    await self.routed(request, body)
                return self.dressed(plain(Response(text, code, headers)), edge=edge)
            case Dropped(committed=committed):
                if committed:
                    await self.routed(request, body)
                return None
            case Slow(arrived=arrived, release=release):
                arrived.set()
                await release.wait()
        answer = await self.routed(request, body)
        return answer.halved() if isinstance(fault, Truncated) else answer

    async def routed(self, request: Request, body: bytes) -> Answer:
        """Return what this host has to say without any fault."""
        if "user-agent" not in request.headers:
            blocked = Response(BLOCKED, 403, HTML)
            return self.dressed(plain(blocked), edge=True)
        refused = self.refusal(request)
        answer = plain(refused) if refused else await called(self.app, request.scope, body)
        return self.dressed(answer, edge=False)

    def dressed(self, answer: Answer, *, edge: bool) -> Answer:
        """Return ``answer`` with the headers that every answer carries."""
        date = format_datetime(self.now(), usegmt=True)
        extra = [(b"date", date.encode())]
        if not edge:
            number = f"{next(self.numbers):032x}"
            extra += [(b"x-request-id", number.encode()), (b"x-runtime", b"0.012345")]
        return Answer(answer.status, (*answer.headers, *extra), answer.body)


def plain(response: Response) -> Answer:
    """Return ``response`` as a value."""
    return Answer(response.status_code, tuple(response.raw_headers), bytes(response.body))


async def called(app: ASGIApp, scope: Scope, body: bytes) -> Answer:
    """Return what ``app`` answers to a request whose body was read already."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start, *parts = messages
    content = b"".join(part.get("body", b"") for part in parts)
    return Answer(start["status"], tuple(start["headers"]), content)


async def deliver(answer: Answer | None, send: Send) -> None:
    """Send ``answer``, or a piece of one that was promised to be longer.

    Raises:
        ConnectionDropped: after that piece.

    """
    whole = answer or Answer(200, ((b"content-length", b"1000"),), b"[")
    await send(
        {"type": "http.response.start", "status": whole.status, "headers": list(whole.headers)}
    )
    more = answer is None
    await send({"type": "http.response.body", "body": whole.body, "more_body": more})
    if more:
        raise ConnectionDropped("the simulated Trakt dropped the connection")


def seen(host: Host, request: Request, body: bytes, status: int) -> Seen:
    """Return the record of one request."""
    return Seen(
        host=host,
        method=request.method,
        path=request.url.path,
        query=dict(request.query_params),
        headers=dict(Headers(scope=request.scope)),
        body=body,
        status=status,
    )


def refused(status: int) -> Response:
    """Return a refusal as Trakt sends most of them: without a word."""
    return Response(status_code=status)


def told(status: int, body: object) -> Response:
    """Return ``body`` as JSON."""
    return JSONResponse(body, status)
