"""Reading: the routes of api.trakt.tv that the bridge asks, and who is let through to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams

from app.demo.catalogue import EpisodeOf, Film, Json
from app.demo.trakt_door import refused, told, too_many
from app.demo.trakt_history import (
    JOINED,
    KINDS,
    History,
    Wanted,
    moment_of,
    stamp,
)
from app.demo.trakt_maps import Form, Maps
from app.demo.trakt_oauth import App, Tokens

DEFAULT_LIMIT = 100
MOST_PER_PAGE = 250
# Nine bytes, as a disabled app was seen to get.
DISABLED = Response(b"Forbidden", 403)

Entry = TypeVar("Entry")
# When what last changed, by the two names that last_activities has for it.
Stamps = Mapping[tuple[str, str], datetime]


@dataclass(frozen=True, slots=True)
class Person:
    """Whose Trakt this is. ``uuid`` stays when the person takes another name."""

    username: str
    timezone: str
    uuid: str


class Window:
    """One of Trakt's limits: ``limit`` requests, then none until ``period`` has passed."""

    def __init__(self, name: str, limit: int, period: timedelta) -> None:
        self.name = name
        self.limit = limit
        self.period = period
        self.until: datetime | None = None
        self.used = 0

    def refuse(self, now: datetime) -> Response | None:
        """Count one request; return the 429 it deserves, if any."""
        if self.until is None or now >= self.until:
            self.until, self.used = now + self.period, 0
        self.used += 1
        if self.used <= self.limit:
            return None
        fault = too_many(self.name, self.period, self.limit, self.until, self.until - now)
        return Response(fault.body, fault.code, fault.headers)


class Gate:
    """Decides whether a request to the API gets as far as a route."""

    def __init__(self, app: App, tokens: Tokens, gets_per_5_min: int) -> None:
        self.app = app
        self.tokens = tokens
        self.gets = Window("AUTHED_API_GET_LIMIT", gets_per_5_min, timedelta(minutes=5))
        self.writes = Window("AUTHED_API_POST_LIMIT", 1, timedelta(seconds=1))

    def refusal(self, request: Request) -> Response | None:
        """Return why ``request`` goes no further, or None."""
        if request.url.path.startswith(("/oauth/", "/images/")):
            return None
        if not is_complete(request):
            return refused(412)
        if self.app.state != "active" or request.headers["trakt-api-key"] != self.app.client_id:
            return DISABLED
        if not self.tokens.accepts(request.headers.get("authorization", "")):
            return refused(401)
        window = self.gets if request.method == "GET" else self.writes
        return window.refuse(self.tokens.now())


def is_complete(request: Request) -> bool:
    """Tell whether ``request`` carries the headers that every call needs."""
    return (
        request.headers.get("content-type", "").startswith("application/json")
        and "trakt-api-key" in request.headers
        and request.headers.get("trakt-api-version") == "2"
    )


@dataclass(frozen=True, slots=True)
class Paging:
    """The page that a request asks for, from 1, and its size as Trakt allows it."""

    page: int
    limit: int

    @classmethod
    def of(cls, query: QueryParams) -> "Paging":
        """Return what ``query`` asks for; a ``limit`` above 250 is 250 without an error."""
        page, limit = whole(query.get("page"), 1), whole(query.get("limit"), DEFAULT_LIMIT)
        return cls(page, min(limit, MOST_PER_PAGE))

    def cut(self, entries: list[Entry]) -> list[Entry]:
        """Return the entries of this page."""
        return entries[(self.page - 1) * self.limit : self.page * self.limit]

    def headers(self, number: int) -> dict[str, str]:
        """Return the pagination headers for ``number`` entries in all."""
        return {
            "X-Pagination-Page": str(self.page),
            "X-Pagination-Limit": str(self.limit),
            "X-Pagination-Page-Count": str(ceil(number / self.limit)),
            "X-Pagination-Item-Count": str(number),
        }


def whole(text: str | None, default: int) -> int:
    """Return the positive number in ``text``, or ``default``."""
    return int(text) if text and text.isdecimal() and int(text) else default


def reading_routes(
    history: History, person: Callable[[], Person], said: Callable[[], Stamps]
) -> APIRouter:
    """Return every GET route but those of the history; ``person`` says whose they are.

    ``said`` returns when ratings and the like last changed.
    """
    router = APIRouter()
    maps = Maps(history)

    @router.get("/sync/last_activities")
    async def last_activities() -> Response:
        return told(200, activities(history.stamps(), said()))

    @router.get("/users/settings")
    async def settings() -> Response:
        return told(200, settings_of(person()))

    @router.get("/users/{user}/stats")
    async def totals(user: str) -> Response:
        return told(200, stats(history)) if is_own(user, person()) else refused(404)

    @router.get("/sync/watched/{kind}")
    async def watched(request: Request, kind: str) -> Response:
        if request.query_params.get("extended") != "min" or kind not in KINDS:
            # The longer forms are of no use to the bridge, so they are not simulated.
            return refused(501)
        return mapped(maps, kind, request.query_params)

    return router


def history_routes(history: History, person: Callable[[], Person]) -> APIRouter:
    """Return the routes of the history; ``person`` says whose it is at the moment."""
    router = APIRouter()

    @router.get("/sync/history")
    @router.get("/sync/history/{kind}")
    @router.get("/sync/history/{kind}/{item}")
    async def synced(request: Request, kind: str = "", item: str = "") -> Response:
        return listed(history, request.query_params, kind, item)

    @router.get("/users/{user}/history")
    @router.get("/users/{user}/history/{kind}")
    @router.get("/users/{user}/history/{kind}/{item}")
    async def of_user(request: Request, user: str, kind: str = "", item: str = "") -> Response:
        if not is_own(user, person()):
            return refused(404)
        return listed(history, request.query_params, kind, item)

    return router


def is_own(user: str, person: Person) -> bool:
    """Tell whether ``user``, as a path has it, is the person who asks."""
    return user in {"me", person.username}


def listed(history: History, query: QueryParams, kind: str, item: str) -> Response:
    """Return one page of the history."""
    if kind and kind not in KINDS:
        return refused(404)
    if "sync_id" in query:
        return refused(403)
    try:
        start, end = (
            moment_of(query[name]) if query.get(name) else None for name in ("start_at", "end_at")
        )
    except ValueError:
        return refused(400)
    rows = history.asked(Wanted(kind, item, start, end))
    paging = Paging.of(query)
    full = "full" in query.get("extended", "").split(",")
    answer = told(200, history.items(paging.cut(rows), full=full))
    answer.headers.update(paging.headers(max(0, len(rows) - history.bad_days.uncounted)))
    return answer


def mapped(maps: Maps, kind: str, query: QueryParams) -> Response:
    """Return the map with ``extended=min`` or one page of it; past its end that is ``{}``."""
    specials, numbers = (query.get(name) == "true" for name in ("specials", "season_numbers"))
    times = maps.asked(Form(kind, specials, numbers))
    if "page" not in query and "limit" not in query:
        return told(200, times)
    paging = Paging.of(query)
    answer = told(200, dict(paging.cut(list(times.items()))))
    answer.headers.update(paging.headers(len(times)))
    return answer


def stats(history: History) -> Json:
    """Return the answer of ``/users/me/stats``; as in lists, plays may not have been counted."""
    plays = history.plays()
    films = [play.work.trakt for play in plays if isinstance(play.work, Film)]
    episodes = [play.work for play in plays if isinstance(play.work, EpisodeOf)]
    shows = {episode.show for episode in episodes if episode.show}
    nothing = {"comments": 0, "ratings": 0}
    return {
        "movies": watched_in_all(films, 110, history.bad_days.uncounted),
        "shows": nothing | {"watched": len(shows), "collected": 0},
        "seasons": nothing,
        "episodes": watched_in_all(
            [episode.trakt for episode in episodes], 45, history.bad_days.uncounted
        ),
        "network": dict.fromkeys(("friends", "followers", "following"), 0),
        "ratings": {"total": 0, "distribution": {str(stars): 0 for stars in range(1, 11)}},
    }


def watched_in_all(works: list[int], minutes_each: int, uncounted: int) -> dict[str, int]:
    """Return the totals of films or of episodes, whose plays are ``works``."""
    plays = max(0, len(works) - uncounted)
    return {
        "plays": plays,
        "watched": len(set(works)),
        "minutes": plays * minutes_each,
        "collected": 0,
        "ratings": 0,
        "comments": 0,
    }


def activities(watched: dict[str, datetime], said: Stamps) -> Json:
    """Return the answer of ``/sync/last_activities``: people watch, rate, comment and note here."""
    never = stamp(JOINED)
    answer: dict[str, Json] = {
        kind: dict.fromkeys((f"{what}_at" for what in whats.split()), never)
        for kind, whats in ACTIVITIES.items()
    }
    for (kind, what), moment in said.items():
        answer[kind][what] = stamp(moment)
    answer["movies"]["watched_at"] = stamp(watched["movie"])
    answer["episodes"]["watched_at"] = stamp(watched["episode"])
    return {"all": stamp(max([*watched.values(), *said.values()])), **answer}


ACTIVITIES = {
    "movies": "watched collected rated watchlisted favorited commented paused hidden",
    "episodes": "watched collected rated watchlisted commented paused",
    "shows": "rated watchlisted favorited commented hidden dropped",
    "seasons": "rated watchlisted commented hidden",
    "comments": "liked reacted blocked",
    "lists": "liked reacted updated commented",
    "watchlist": "updated",
    "favorites": "updated",
    "collaborations": "updated",
    "account": "settings followed following pending requested",
    "saved_filters": "updated",
    "notes": "updated",
}


def settings_of(person: Person) -> Json:
    """Return the answer of ``/users/settings``."""
    user: Json = {
        "username": person.username,
        "private": False,
        "name": person.username.title(),
        "vip": True,
        "vip_ep": False,
        "director": False,
        "ids": {"slug": person.username.lower(), "trakt": None, "uuid": person.uuid},
        "joined_at": stamp(JOINED),
        "location": None,
        "about": None,
        "gender": None,
        "age": None,
        "images": {"avatar": {"full": ""}},
        "vip_og": False,
        "vip_years": 1,
    }
    return {
        "user": user,
        "permissions": {"commenting": True, "liking": True, "following": True},
        "account": {
            "timezone": person.timezone,
            "date_format": "dmy",
            "time_24hr": True,
            "cover_image": None,
        },
        "connections": None,
        "sharing_text": None,
        "limits": {
            "list": {"count": 5, "item_count": 250},
            "watchlist": {"item_count": 250},
            "favorites": {"item_count": 250},
        },
    }
