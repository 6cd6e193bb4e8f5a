"""A simulated Trakt with several people, each a `SimulatedTrakt` of their own.

They share the hosts and the app that is registered there. The API tells them apart by the access
token, the token endpoint by code or refresh token, and the pages by a cookie: whose Trakt a
browser sees is decided by visiting ``/as/<name>`` on the auth host.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.demo.trakt import SimulatedTrakt
from app.demo.trakt_history import FIRST_ID
from app.demo.trakt_pages import page

COOKIE = "trakt_person"


@dataclass(frozen=True, slots=True)
class Host:
    """An ASGI app made of a method; uvicorn would take the method itself for ASGI 2."""

    answer: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.answer(scope, receive, send)


class SimulatedTraktTown:
    """Many people behind one origin for the API and one for the pages. Clock: ``now``.

    Serve ``api`` and ``auth`` as those of a `SimulatedTrakt`.
    """

    def __init__(
        self,
        *,
        client_id: str,
        redirect_uri: str,
        now: Callable[[], datetime],
        client_secret: str | None = None,
        gets_per_5_min: int = 500,
    ) -> None:
        self.client_id = client_id
        self.redirect_uri = redirect_uri
        self.now = now
        self.client_secret = client_secret
        self.gets_per_5_min = gets_per_5_min
        # The id of a play is unique among those of all people.
        self.play_ids = count(FIRST_ID)
        self.people: dict[str, SimulatedTrakt] = {}
        # Refuses whatever belongs to no one.
        self.nobody = self.newcomer("nobody")
        self.api = Host(self.api_answer)
        self.auth = Host(self.auth_answer)

    def newcomer(self, name: str) -> SimulatedTrakt:
        """Return the Trakt of one more person."""
        trakt = SimulatedTrakt(
            client_id=self.client_id,
            redirect_uri=self.redirect_uri,
            now=self.now,
            client_secret=self.client_secret,
            username=name,
            gets_per_5_min=self.gets_per_5_min,
        )
        trakt.history.next_ids = self.play_ids
        return trakt

    def person(self, name: str) -> SimulatedTrakt:
        """Return the Trakt of ``name``, who joins when mentioned first.

        A name is lower-case letters and digits, as in a path.
        """
        if name not in self.people:
            self.people[name] = self.newcomer(name)
        return self.people[name]

    def owner(self, *secrets: str) -> SimulatedTrakt:
        """Return whose code or token is among ``secrets``, also one that is spent or too old."""
        for trakt in self.people.values():
            if not trakt.tokens.given_out.isdisjoint(secrets):
                return trakt
        return self.nobody

    async def api_answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as api.trakt.tv."""
        if scope["type"] != "http":
            await self.nobody.api(scope, receive, send)
            return
        token = Request(scope).headers.get("authorization", "").rpartition(" ")[2]
        await self.owner(token).api(scope, receive, send)

    async def auth_answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as auth.trakt.tv."""
        if scope["type"] != "http":
            await self.nobody.auth(scope, receive, send)
        elif scope["path"] in {"/oauth/token", "/oauth/revoke"}:
            body = await Request(scope, receive).body()
            await self.owner(*texts(body)).auth(scope, replaying(body), send)
        elif scope["path"] == "/trakt.css":
            await self.nobody.auth(scope, receive, send)
        else:
            await self.visited(Request(scope, receive), send)

    async def visited(self, request: Request, send: Send) -> None:
        """Show a page of the person who is signed in, or let the visitor become one."""
        visitor = self.people.get(request.cookies.get(COOKIE, ""))
        if request.url.path.startswith("/as/"):
            await self.sign_in(request)(request.scope, request.receive, send)
        elif visitor:
            await visitor.auth(request.scope, request.receive, send)
        else:
            asked = quote(str(request.url.replace(scheme="", netloc="")), safe="")
            who = page("trakt_who", 401, people=list(self.people), then=asked)
            await who(request.scope, request.receive, send)

    def sign_in(self, request: Request) -> Response:
        """Return the way back to the page that was asked for, with the cookie of a person."""
        name = request.url.path.removeprefix("/as/")
        if name not in self.people:
            return page("trakt_problem", 404, problem=f"There is nobody called {name} here.")
        then = request.query_params.get("then", "/")
        # Only a page of this host.
        answer = RedirectResponse(f"/{then.lstrip('/')}", 303)
        answer.set_cookie(COOKIE, name, httponly=True, samesite="lax")
        return answer


def texts(body: bytes) -> list[str]:
    """Return the texts of a JSON object; none if ``body`` is not one."""
    try:
        document = json.loads(body)
    except ValueError:
        return []
    values = document.values() if isinstance(document, dict) else ()
    return [value for value in values if isinstance(value, str)]


def replaying(body: bytes) -> Receive:
    """Return what lets another app read a body that was read already."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
