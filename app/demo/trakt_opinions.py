"""What one person of the simulated Trakt thinks: ratings, comments, and notes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Literal

from fastapi import APIRouter, Request, Response

from app.demo.catalogue import EpisodeOf, Film, Json, Show
from app.demo.trakt_api import Paging, Person, is_own
from app.demo.trakt_door import refused, told
from app.demo.trakt_history import stamp

KINDS = {"movies": "movie", "shows": "show", "seasons": "season", "episodes": "episode"}
Rated = Film | EpisodeOf | Show


@dataclass(frozen=True, slots=True)
class Rating:
    """From 1 to 10."""

    work: Rated
    rating: int
    at: datetime

    def item(self) -> Json:
        """Return it as an entry of ``GET /sync/ratings``."""
        return {"rated_at": stamp(self.at), "rating": self.rating, **of(self.work)}


@dataclass(frozen=True, slots=True)
class Text:
    """A comment, a review or a note; ``parent`` is the comment that it answers, 0 for none.

    A note may belong to one ``play`` instead of to all of its title.
    """

    id: int
    work: Rated
    words: str
    at: datetime
    is_spoiler: bool = False
    privacy: Literal["private", "friends", "public"] = "public"
    parent: int = 0
    play: int | None = None


class Opinions:
    """The ratings and texts of one person, newest first.

    ``pages_ratings``: ratings come in pages, like everything else, and not all at once.
    ``flat_notes``: notes look as in Trakt's contract, and not as in its example.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.ratings: dict[Rated, Rating] = {}
        self.comments: list[Text] = []
        self.notes: list[Text] = []
        self.changed: dict[tuple[str, str], datetime] = {}
        self.pages_ratings = False
        self.flat_notes = False
        self.next_ids = count(267)

    def rate(self, work: Rated, rating: int) -> None:
        """Give ``work`` a rating, in place of the one before."""
        self.ratings = {
            work: Rating(work, rating, self.now()),
            **{other: old for other, old in self.ratings.items() if other != work},
        }
        self.change(work, "rated_at")

    def unrate(self, work: Rated) -> None:
        """Take a rating away."""
        del self.ratings[work]
        self.change(work, "rated_at")

    def comment(
        self, work: Rated, words: str, *, is_spoiler: bool = False, parent: int = 0
    ) -> None:
        """Say something of ``work`` that everyone can read."""
        text = Text(next(self.next_ids), work, words, self.now(), is_spoiler, parent=parent)
        self.comments.insert(0, text)
        self.change(work, "commented_at")

    def note(
        self,
        work: Rated,
        words: str,
        privacy: Literal["private", "friends", "public"],
        *,
        is_spoiler: bool = False,
        play: int | None = None,
    ) -> None:
        """Note something about ``work``, or about one play of it."""
        text = Text(next(self.next_ids), work, words, self.now(), is_spoiler, privacy, play=play)
        self.notes.insert(0, text)
        self.changed["notes", "updated_at"] = self.now()

    def change(self, work: Rated, what: str) -> None:
        """Let last_activities tell of it."""
        names = {"movie": "movies", "show": "shows", "episode": "episodes"}
        self.changed[names[kind_of(work)], what] = self.now()

    def stamps(self) -> Mapping[tuple[str, str], datetime]:
        """Return when what last changed, by the names of last_activities."""
        return self.changed


def opinion_routes(opinions: Opinions, person: Callable[[], Person]) -> APIRouter:
    """Return the GET routes of ratings, comments and notes."""
    router = APIRouter()

    @router.get("/sync/ratings/{kind}")
    async def ratings(request: Request, kind: str) -> Response:
        if kind not in KINDS:
            return refused(404)
        found = [r for r in opinions.ratings.values() if kind_of(r.work) == KINDS[kind]]
        items = [rating.item() for rating in found]
        return paged(request, items) if opinions.pages_ratings else told(200, items)

    @router.get("/users/{user}/comments/{which}/{kind}")
    async def comments(request: Request, user: str, which: str, kind: str) -> Response:
        if not is_own(user, person()) or which != "all" or kind not in {"all", *KINDS}:
            return refused(404)
        replies = request.query_params.get("include_replies", "false")
        found = [
            comment
            for comment in opinions.comments
            if kind in {"all", f"{kind_of(comment.work)}s"}
            and (replies == "true" or bool(comment.parent) == (replies == "only"))
        ]
        return paged(request, [comment_item(one, opinions, person()) for one in found])

    @router.get("/users/{user}/notes/{kind}")
    async def notes(request: Request, user: str, kind: str) -> Response:
        if not is_own(user, person()):
            return refused(404)
        found = [one for one in opinions.notes if kind in {"all", f"{kind_of(one.work)}s"}]
        item = flat_note if opinions.flat_notes else nested_note
        return paged(request, [item(one, person()) for one in found])

    return router


def paged(request: Request, items: list[Json]) -> Response:
    """Return one page of a list."""
    paging = Paging.of(request.query_params)
    answer = told(200, paging.cut(items))
    answer.headers.update(paging.headers(len(items)))
    return answer


def kind_of(work: Rated) -> str:
    """Return what Trakt calls such a title."""
    match work:
        case Film():
            return "movie"
        case Show():
            return "show"
        case EpisodeOf():
            return "episode"


def of(work: Rated) -> Json:
    """Return the part of an entry that tells what it is about."""
    about: Json = {"type": kind_of(work), kind_of(work): work.json()}
    return about | ({"show": work.show.json()} if isinstance(work, EpisodeOf) and work.show else {})


def comment_item(text: Text, opinions: Opinions, person: Person) -> Json:
    """Return a comment as an entry of ``GET /users/{id}/comments``."""
    rated = opinions.ratings.get(text.work)
    comment: Json = {
        "id": text.id,
        "parent_id": text.parent,
        "created_at": stamp(text.at),
        "updated_at": stamp(text.at),
        "comment": text.words,
        "spoiler": text.is_spoiler,
        "review": len(text.words.split()) >= 200,
        "replies": 0,
        "likes": 0,
        "language": "en",
        "user_rating": rated.rating if rated else None,
        "user_stats": {
            "rating": rated.rating if rated else None,
            "play_count": 1,
            "completed_count": 1,
        },
        "user": user_of(person),
    }
    return {**of(text.work), "comment": comment}


def nested_note(text: Text, person: Person) -> Json:
    """Return a note as Trakt's example has it."""
    attached: Json = (
        {"type": "history", "id": text.play} if text.play else {"type": kind_of(text.work)}
    )
    return {"attached_to": attached, **of(text.work), "note": note_of(text, person)}


def flat_note(text: Text, person: Person) -> Json:
    """Return a note as Trakt's contract has it."""
    return {**note_of(text, person), "item": of(text.work)}


def note_of(text: Text, person: Person) -> Json:
    """Return a note itself."""
    return {
        "id": text.id,
        "notes": text.words,
        "privacy": text.privacy,
        "spoiler": text.is_spoiler,
        "created_at": stamp(text.at),
        "updated_at": stamp(text.at),
        "user": user_of(person),
    }


def user_of(person: Person) -> Json:
    """Return who said it."""
    return {
        "username": person.username,
        "private": False,
        "deleted": False,
        "name": person.username.title(),
        "vip": True,
        "vip_ep": False,
        "director": False,
        "ids": {"slug": person.username.lower(), "trakt": 1, "uuid": person.uuid},
    }
