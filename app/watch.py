"""What a source tells: what was watched, by whom, and when that last changed.

Values only; nothing here knows a service, a database or a website.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

Id = int | str


@dataclass(frozen=True, slots=True)
class Ids:
    """What the catalogues of the world call a work; each may be unknown."""

    trakt: int | None = None
    slug: str | None = None
    imdb: str | None = None
    tmdb: int | None = None
    tvdb: int | None = None

    def known(self) -> dict[str, str]:
        """Return the known ids as text, e.g. ``{"trakt": "481", "slug": "dune-2021"}``."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Movie:
    """One film."""

    title: str | None
    year: int | None
    ids: Ids


@dataclass(frozen=True, slots=True)
class Show:
    """One series."""

    title: str | None
    year: int | None
    ids: Ids


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of a show; season 0 holds the specials."""

    show: Show
    season: int
    number: int
    title: str | None
    ids: Ids


Work = Movie | Episode


@dataclass(frozen=True, slots=True)
class About:
    """What a source knows of a film, or of an episode and its show; each may be unknown.

    ``genres`` are the source's own words, such as ``science-fiction``; none at all is known too.
    ``rating`` is what its people give on average, from 1 to 10, ``runtime`` is in minutes,
    ``country`` and ``language`` are codes of two letters, and ``poster`` is a URL.
    """

    genres: tuple[str, ...] | None = None
    rating: float | None = None
    runtime: int | None = None
    country: str | None = None
    language: str | None = None
    poster: str | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """One viewing of one work. Watching it again is another Watch.

    ``key`` is the source's id of this viewing. ``watched_at`` is aware and in UTC; None means
    that nobody knows when, and no time is ever invented for it. ``about`` is None where the source
    was not asked for more than names.
    """

    source: str
    key: str
    watched_at: datetime | None
    work: Work
    about: About | None = None

    def __post_init__(self) -> None:
        """Reject a naive time here, where the mistake is, not in a post years later."""
        if self.watched_at is not None and self.watched_at.tzinfo is None:
            raise ValueError(f"watched_at must be aware, got {self.watched_at!r}")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something a source said that we cannot read (yet); the payload is kept beside it."""

    source: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who granted us access at a source. ``key`` stays the same when they rename themselves.

    ``now`` is the source's clock, by which posting starts; None when it does not tell.
    """

    source: str
    key: str
    name: str
    timezone: str
    now: datetime | None


@dataclass(frozen=True, slots=True)
class Stamps:
    """When the history last changed, word for word, and the source's clock at the answer.

    ``opinions`` are those of ratings and the like, see `app.opinion.Kind`, as far as it told them.
    """

    movies: str
    episodes: str
    now: datetime | None
    opinions: Mapping[str, str] = field(default_factory=dict)


def name(work: Work) -> str:
    """Return what the work itself is called: ``Dune``, ``Secrets``, ``Episode 3``."""
    match work:
        case Movie(title=title):
            return title or "Untitled film"
        case Episode(title=title, number=number):
            return title or f"Episode {number}"


def caption(work: Work) -> str:
    """Return the work as one would say it: ``Dune (2021)``, ``Dark S01E02 “Lies”``."""
    match work:
        case Movie(year=None):
            return name(work)
        case Movie(year=year):
            return f"{name(work)} ({year})"
        case Episode(season=season, number=number, title=title):
            said = f"{show_name(work.show)} S{season:02}E{number:02}"
            return f"{said} “{title}”" if title else said


def show_name(show: Show) -> str:
    """Return what a show is called, even if its source did not say."""
    return show.title or "Untitled show"


def work_key(work: Work) -> str | None:
    """Return the same text for the same work every time, or None when nothing identifies it."""
    kind = kind_of(work)
    for catalogue, value in work.ids.known().items():
        return f"{kind}:{catalogue}:{value}"
    if isinstance(work, Episode):
        for catalogue, value in work.show.ids.known().items():
            return f"episode-of:{catalogue}:{value}:{work.season}:{work.number}"
    return None


def kind_of(work: Work) -> Literal["movie", "episode"]:
    """Return the kind of work in one word."""
    return "movie" if isinstance(work, Movie) else "episode"


def to_json(work: Work) -> dict[str, Any]:
    """Return ``work`` as plain data for the database."""
    return {"kind": kind_of(work), **asdict(work)}


def from_json(data: dict[str, Any]) -> Work:
    """Return the work that `to_json` wrote. Raises ValueError for anything else."""
    try:
        ids = Ids(**data["ids"])
        if data["kind"] == "movie":
            return Movie(data["title"], data["year"], ids)
        show = data["show"]
        return Episode(
            show=Show(show["title"], show["year"], Ids(**show["ids"])),
            season=data["season"],
            number=data["number"],
            title=data["title"],
            ids=ids,
        )
    except (KeyError, TypeError) as error:
        raise ValueError("its row is damaged") from error


def about_to_json(about: About) -> dict[str, Any]:
    """Return what is known of a work as plain data for the database."""
    return {name: value for name, value in asdict(about).items() if value is not None}


def about_from_json(data: dict[str, Any] | None) -> About | None:
    """Return what `about_to_json` wrote; what another version knew beyond that is left out."""
    if data is None:
        return None
    known = {one.name: data[one.name] for one in fields(About) if one.name in data}
    if isinstance(known.get("genres"), list):
        known["genres"] = tuple(known["genres"])
    return About(**known)
