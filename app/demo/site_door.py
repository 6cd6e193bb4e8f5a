"""The door of the simulated website: every request is written down and may meet a one-off."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.demo.site_habits import Answer, Dropped, Held, OneOff

# Enough for any test, and a demo may run for months.
REMEMBERED = 10_000


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


class Record:
    """The requests of one website and the one-offs that wait for coming ones."""

    def __init__(self) -> None:
        self.seen: deque[Seen] = deque(maxlen=REMEMBERED)
        self.one_offs: list[tuple[str, OneOff]] = []

    def due(self, request: Request) -> OneOff | None:
        """Use up and return the first one-off meant for ``request``, if there is one."""
        asked = f"{request.method} {request.url.path}?{request.url.query}"
        for index, (beginning, one_off) in enumerate(self.one_offs):
            if asked.startswith(beginning):
                del self.one_offs[index]
                return one_off
        return None


class Door:
    """ASGI middleware around the whole website."""

    def __init__(self, app: ASGIApp, record: Record) -> None:
        self.app = app
        self.record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, and write it down once it has been answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        to_replay: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def replay() -> Message:
            return to_replay.pop() if to_replay else await receive()

        async def watched(message: Message) -> None:
            sent.append(message)
            if is_last(message):
                self.record.seen.append(seen(request, body, sent[0]["status"]))
            await send(message)

        async def website(send: Send) -> None:
            await self.app(scope, replay, send)

        try:
            await answer(request, self.record.due(request), website, watched)
        finally:
            if not sent or not is_last(sent[-1]):
                self.record.seen.append(seen(request, body, None))


async def answer(
    request: Request,
    one_off: OneOff | None,
    website: Callable[[Send], Awaitable[None]],
    send: Send,
) -> None:
    """Send what ``website`` answers, or what ``one_off`` makes of that."""
    unsent: list[Message] = []

    async def keep(message: Message) -> None:
        unsent.append(message)

    match one_off:
        case None:
            await website(send)
        case Answer(creates=creates) | Dropped(creates=creates):
            if creates:
                await website(keep)
            await one_off.response()(request.scope, request.receive, send)
        case Held(until=until, reached=reached):
            await website(keep)
            reached.set()
            await until.wait()
            for message in unsent:
                await send(message)


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
