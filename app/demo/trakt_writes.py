"""Writing to the simulated Trakt: POST /sync/history and /sync/history/remove.

Nothing has to be unique, the ids of new plays are not told, and what Trakt does not know comes
back as it was sent.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from app.demo.catalogue import EpisodeOf, Film, Json, Show, Work
from app.demo.trakt_door import refused, told
from app.demo.trakt_history import History, moment_of

Item = Mapping[str, Any]
KINDS = ("movies", "shows", "seasons", "episodes")


def writing_routes(history: History) -> APIRouter:
    """Return the two POST routes."""
    router = APIRouter()

    @router.post("/sync/history")
    async def add(request: Request) -> Response:
        try:
            return told(200, added(history, await request.json()))
        except ValueError:
            return refused(422)

    @router.post("/sync/history/remove")
    async def remove(request: Request) -> Response:
        try:
            return told(200, removed(history, await request.json()))
        except ValueError:
            return refused(422)

    return router


def added(history: History, body: Item) -> Json:
    """Add what ``body`` names and return Trakt's answer.

    Raises:
        ValueError: a time is not readable; nothing was added.

    """
    not_found: dict[str, list[Item]] = {kind: [] for kind in KINDS}
    viewings: list[tuple[Work, datetime | Literal["unknown"]]] = []
    for kind, item in sent(body):
        found = list(meant(history, kind, item))
        viewings += [(work, time_of(work, text, history.now())) for work, text in found]
        if not found:
            not_found[kind].append(item)
    for work, moment in viewings:
        history.watch(work, moment)
    return {
        "added": counted(work for work, _ in viewings),
        "updated": counted([]),
        "not_found": not_found,
    }


def removed(history: History, body: Item) -> Json:
    """Remove single plays by id and all plays of the media in ``body``; return Trakt's answer."""
    asked = set(body.get("ids") or [])
    gone = history.remove(asked)
    not_found: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    not_found["ids"] = sorted(asked - {play.id for play in gone})
    for kind, item in sent(body):
        taken = history.remove_all({work for work, _ in meant(history, kind, item)})
        gone += taken
        if not taken:
            not_found[kind].append(item)
    return {"deleted": counted(play.work for play in gone), "not_found": not_found}


def sent(body: Item) -> Iterator[tuple[str, Item]]:
    """Yield the items of ``body`` with the list they stand in."""
    return ((kind, item) for kind in KINDS for item in body.get(kind) or [])


def counted(works: Iterable[Work]) -> Json:
    """Return how many films and episodes ``works`` holds."""
    numbers = Counter("movies" if isinstance(work, Film) else "episodes" for work in works)
    return {"movies": numbers["movies"], "episodes": numbers["episodes"]}


def meant(history: History, kind: str, item: Item) -> Iterator[tuple[Work, str | None]]:
    """Yield the works that ``item`` stands for, each with its ``watched_at`` as it was sent."""
    for work in history.known_works():
        match kind, work:
            case ("movies", Film()) | ("episodes", EpisodeOf()) if has_id(work, item):
                yield work, item.get("watched_at")
            case "seasons", EpisodeOf(season_id=season) if item.get("ids") == {"trakt": season}:
                yield work, item.get("watched_at")
            case "shows", EpisodeOf(show=Show() as show) if has_id(show, item):
                yield from of_show(work, item)


def of_show(episode: EpisodeOf, item: Item) -> Iterator[tuple[Work, str | None]]:
    """Yield ``episode`` as often as the show ``item`` names it; a bare show names all."""
    if "seasons" not in item:
        yield episode, item.get("watched_at")
    for season in item.get("seasons") or []:
        if season.get("number") != episode.season:
            continue
        when = season.get("watched_at", item.get("watched_at"))
        if "episodes" not in season:
            yield episode, when
        for named in season.get("episodes") or []:
            if named.get("number") == episode.number:
                yield episode, named.get("watched_at", when)


def has_id(thing: Film | EpisodeOf | Show, item: Item) -> bool:
    """Tell whether one of the ids of ``item`` is one of ``thing``."""
    asked = item.get("ids") or {}
    names = ("trakt", "slug", "imdb", "tmdb", "tvdb")
    return any(asked.get(name) and asked[name] == getattr(thing, name, None) for name in names)


def time_of(work: Work, text: str | None, now: datetime) -> datetime | Literal["unknown"]:
    """Return the time that ``watched_at`` of a request means.

    Raises:
        ValueError: it means none.

    """
    match text, work:
        case None, _:
            return now
        case "unknown", _:
            return "unknown"
        case "released", EpisodeOf(show=Show(year=int() as year)):
            return datetime(year, 1, 1, tzinfo=UTC)
        case _:
            return moment_of(text)
