"""Trakt's wire format ends here: history items become watches, or are kept as unreadable.

And its maps become the minutes of every play, by item.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from app.diff import Kind, Minute, Watched, minute
from app.errors import SourceGarbled
from app.watch import About, Episode, Ids, Movie, Show, Unreadable, Watch, Work

SOURCE = "trakt"
# What Trakt answers for a viewing whose date was given as "unknown".
UNKNOWN_DATE = datetime(1970, 1, 1, tzinfo=UTC)
# Nobody watched a film before, and beyond them some time zones leave the calendar.
EARLIEST, LATEST = datetime(1880, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
# Beyond these a number is nonsense, and no database column would hold it.
LARGEST_ID = 2**63 - 1
LARGEST_NUMBER = 100_000
LONGEST_TEXT = 500
MOST_GENRES = 20
# Most of what Trakt says of a title by ``extended=full``, and of no use here.
BULKY = frozenset(
    {
        "available_translations",
        "colors",
        "homepage",
        "overview",
        "social_ids",
        "tagline",
        "trailer",
    }
)


def read_item(item: object) -> Watch | Unreadable:
    """Read one item of ``GET /sync/history``; never raises, whatever the item is.

    Unknown keys are ignored, and unknown titles, years and ids are left out.
    """
    try:
        data = mapping(item)
        return Watch(
            source=SOURCE,
            key=str(identity(data["id"])),
            watched_at=moment(data["watched_at"]),
            work=read_work(data),
            about=read_about(data),
        )
    except KeyError as error:
        reason = f"it has no {error.args[0]}"
    except (TypeError, ValueError) as error:
        reason = str(error)
    return Unreadable(source=SOURCE, key=fallback_key(item), reason=reason)


def read_watched(data: object, kind: Kind) -> Watched:
    """Read an answer of ``GET /sync/watched/{kind}?extended=min``.

    Entries that are no id or no time are left out and counted. Raises `SourceGarbled` when
    nothing of it can be read: an unknown shape must not look like an empty history.
    """
    if not isinstance(data, Mapping):
        raise SourceGarbled("Trakt's map of plays is not an object")
    plays: dict[str, tuple[Minute, ...]] = {}
    shows: dict[str, str] = {}
    skipped = 0
    for item, show, times in entries(data, kind):
        read, odd = minutes(times)
        skipped += odd if item else 1
        if item and read:
            plays[item] = plays.get(item, ()) + read
        if item and read and show:
            shows[item] = show
    if data and not plays:
        raise SourceGarbled("Trakt's map of plays has a shape we do not know")
    return Watched(plays, shows, skipped)


def entries(data: Mapping[Any, Any], kind: Kind) -> Iterator[tuple[str | None, str | None, object]]:
    """Yield each item of a map with its show and its times; None for what has no id."""
    if kind == "movies":
        for movie, times in data.items():
            yield named("movie", movie), None, times
        return
    for show, seasons in data.items():
        for episodes in items_in(seasons).values():
            for episode, times in items_in(episodes).items():
                yield named("episode", episode), digits(show), times


def items_in(value: object) -> Mapping[Any, Any]:
    """Return a JSON object, or for anything else one that holds a single nameless entry."""
    return value if isinstance(value, Mapping) else {None: value}


def named(kind: str, key: object) -> str | None:
    """Return the item with this id, ``movie:481``; None for what is no id."""
    number = digits(key)
    return f"{kind}:{number}" if number else None


def digits(key: object) -> str | None:
    """Return a Trakt id that was written as text, None for anything else."""
    if not isinstance(key, str) or not key.isascii() or not key.isdecimal() or len(key) > 19:
        return None
    return str(int(key)) if 0 < int(key) <= LARGEST_ID else None


def minutes(times: object) -> tuple[tuple[Minute, ...], int]:
    """Return the minutes in a list of times, and how many of them are none."""
    if not isinstance(times, list):
        return (), 1
    read: list[Minute] = []
    for time in times:
        try:
            read.append(minute(moment(time)))
        except (TypeError, ValueError):
            continue
    return tuple(read), len(times) - len(read)


def fallback_key(item: object) -> str:
    """Return the same text for the same unreadable item on every poll."""
    if isinstance(item, Mapping):
        try:
            return str(identity(item.get("id")))
        except ValueError:
            pass
    text = json.dumps(item, sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


def identity(value: object) -> int:
    """Return the id of a play."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST_ID:
        raise ValueError(f"its id is not a positive number: {shortened(value)}")
    return value


def moment(value: object) -> datetime | None:
    """Return when it was watched, None where Trakt says that nobody knows."""
    if value in {"unknown", None}:
        return None
    if not isinstance(value, str):
        raise TypeError(f"watched_at is not a time: {shortened(value)}")
    try:
        when = datetime.fromisoformat(value)
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"watched_at is not a time: {shortened(value)}") from None
    if when == UNKNOWN_DATE:
        return None
    if not EARLIEST <= when <= LATEST:
        raise ValueError(f"watched_at is not a time of films: {shortened(value)}")
    return when


def read_work(item: Mapping[str, Any]) -> Work:
    """Return the film or episode an item speaks of."""
    match item["type"]:
        case "movie":
            movie = mapping(item["movie"])
            return Movie(words(movie.get("title")), number(movie.get("year")), linked(movie))
        case "episode":
            episode = mapping(item["episode"])
            return Episode(
                show=read_show(mapping(item["show"])),
                season=needed(episode, "season"),
                number=needed(episode, "number"),
                title=words(episode.get("title")),
                ids=read_ids(episode),
            )
        case other:
            raise ValueError(f"its type is {shortened(other)}, which this version does not know")


def read_about(item: Mapping[str, Any]) -> About:
    """Return what Trakt knows of the film or episode an item speaks of; never raises.

    An episode has its own rating and length, where Trakt knows them; all else is its show's.
    """
    own = part(item, "movie") or part(item, "episode")
    whole = part(item, "movie") or part(item, "show")
    return About(
        genres=genres(whole.get("genres")),
        rating=rating(own) or rating(whole),
        runtime=number(own.get("runtime")) or number(whole.get("runtime")) or None,
        country=words(whole.get("country")),
        language=words(whole.get("language")),
        poster=poster(whole),
    )


def part(item: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object in an item, an empty one where there is none."""
    value = item.get(name)
    return value if isinstance(value, Mapping) else {}


def genres(value: object) -> tuple[str, ...] | None:
    """Return the genres in a list, None where Trakt does not tell them."""
    if not isinstance(value, list):
        return None
    known = dict.fromkeys(genre.casefold() for each in value if (genre := words(each)))
    return tuple(known)[:MOST_GENRES]


def rating(work: Mapping[str, Any]) -> float | None:
    """Return what people give a title on average; None where nobody has given anything yet."""
    value = work.get("rating")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 10:
        return None
    return None if work.get("votes") == 0 else float(value)


def poster(work: Mapping[str, Any]) -> str | None:
    """Return the URL of the first poster; Trakt writes it without its scheme."""
    found = part(work, "images").get("poster")
    first = words(found[0]) if isinstance(found, list) and found else None
    if first is None:
        return None
    url = first if first.startswith("https://") else f"https://{first}"
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.hostname and "@" not in parts.netloc and " " not in url else None


def trimmed(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item to be kept, without the long texts and all pictures but the first poster."""
    return {
        name: slim(value) if name in {"movie", "episode", "show"} else value
        for name, value in item.items()
    }


def slim(work: object) -> object:
    """Return a title without what makes up most of its size; anything else stays as it is."""
    if not isinstance(work, Mapping):
        return work
    kept = {name: value for name, value in work.items() if name not in BULKY | {"images"}}
    posters = part(work, "images").get("poster")
    return {**kept, "images": {"poster": posters[:1]}} if isinstance(posters, list) else kept


def read_show(show: Mapping[str, Any]) -> Show:
    """Return the show an episode belongs to."""
    return Show(words(show.get("title")), number(show.get("year")), linked(show))


def linked(work: Mapping[str, Any]) -> Ids:
    """Return the ids of a film or show, of which at least one must lead to its page."""
    ids = read_ids(work)
    if ids.slug is None and ids.trakt is None:
        raise ValueError("it has neither a slug nor a Trakt id")
    return ids


def read_ids(work: Mapping[str, Any]) -> Ids:
    """Return the ids of a film, show or episode; an empty text counts as unknown."""
    ids = work.get("ids")
    if not isinstance(ids, Mapping):
        return Ids()
    return Ids(
        trakt=number(ids.get("trakt"), LARGEST_ID),
        slug=words(ids.get("slug")),
        imdb=words(ids.get("imdb")),
        tmdb=number(ids.get("tmdb"), LARGEST_ID),
        tvdb=number(ids.get("tvdb"), LARGEST_ID),
    )


def needed(episode: Mapping[str, Any], key: str) -> int:
    """Return a number without which an episode cannot be told from others."""
    value = number(episode[key])
    if value is None:
        raise ValueError(f"its {key} is not a number: {shortened(episode[key])}")
    return value


def mapping(value: object) -> Mapping[str, Any]:
    """Return ``value`` if it is a JSON object."""
    if not isinstance(value, Mapping):
        raise TypeError(f"a part of it is not an object: {shortened(value)}")
    return value


def number(value: object, largest: int = LARGEST_NUMBER) -> int | None:
    """Return a number that is not negative, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        return None
    return value


def words(value: object) -> str | None:
    """Return a text without control characters, or None for nothing and for anything else."""
    if not isinstance(value, str):
        return None
    # A lone surrogate is legal in JSON and can be stored nowhere.
    clean = value.encode("utf-8", "replace").decode()
    clean = "".join(c if c.isprintable() else " " for c in clean)
    return " ".join(clean.split())[:LONGEST_TEXT] or None


def shortened(value: object) -> str:
    """Return a value as it stands, short enough for a sentence."""
    return ascii(value)[:60]
