"""From a watch to the post that tells of it: the body of a Micropub create request.

The shape is the one that the most servers understand: no top-level ``name`` (it would turn the
note into an article), ``photo`` or ``uid``; always ``content`` and ``summary``; every value a
list and every number a text.
"""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.watch import Episode, Movie, Show, Watch, Work, caption, kind_of, name, show_name

Mf2 = dict[str, Any]

TRAKT = "https://trakt.tv"
TAGS = {"movie": "movie", "episode": "tv"}
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Telling:
    """How one person's posts are told: their time zone, whether this work was seen before.

    ``silent`` keeps a server that cross-posts by default (Micro.blog) from doing so.
    """

    zone: tzinfo
    again: bool = False
    silent: bool = False


def hentry(watch: Watch, telling: Telling) -> Mf2:
    """Return the h-entry of ``watch``, ready to be sent as JSON (Micropub §3.3)."""
    when = watch.watched_at and watch.watched_at.astimezone(telling.zone)
    properties: Mf2 = {
        "summary": [summary(watch.work, telling)],
        "content": [content(watch.work, when, telling)],
        "category": ["watch", TAGS[kind_of(watch.work)]],
        "watch-of": [cite(watch)],
        "syndication": [marker(watch)],
        "mp-slug": [slug(watch)],
    }
    if when:
        properties["published"] = [when.isoformat(timespec="seconds")]
    if telling.silent:
        properties["mp-syndicate-to"] = [""]
    return {"type": ["h-entry"], "properties": properties}


def summary(work: Work, telling: Telling) -> str:
    """Return the post in one line: ``Watched Dune (2021)``."""
    return f"Watched {caption(work)}{' again' if telling.again else ''}"


def content(work: Work, when: datetime | None, telling: Telling) -> str:
    """Return the text that must stand alone on a server which keeps nothing else.

    A rewatch names its day: the text then differs from that of the first viewing.
    """
    day = f" on {when.day} {when:%B %Y}" if telling.again and when else ""
    return f"🎬 {summary(work, telling)}{day} {url(work)}"


def slug(watch: Watch) -> str:
    """Return a slug that is the viewing's own, and the same whenever it is computed.

    The source's id survives the loss of our database; in base 36 it stays short.
    """
    number, text = int(watch.key), ""
    while number:
        number, digit = divmod(number, 36)
        text = BASE36[digit] + text
    return f"watch-{text or '0'}"


def marker(watch: Watch) -> str:
    """Return the URL of the work at its source with the viewing's id as fragment.

    The plain URL is the same for a rewatch; with the fragment it names this viewing, by which
    the post can be found again on the site.
    """
    return f"{url(watch.work)}#watch-{watch.key}"


def cite(watch: Watch) -> Mf2:
    """Return the h-cite of what was watched."""
    work = watch.work
    properties = {
        "name": [name(work)],
        "url": [url(work)],
        "uid": uid(work),
        "trakt-watch-id": [watch.key],
        "trakt-ids": ids(work),
    }
    match work:
        case Movie(year=year):
            properties["published"] = [str(year)] if year else []
        case Episode(show=show, season=season, number=number):
            properties |= {
                "season": [str(season)],
                "episode": [str(number)],
                "publication": [show_name(show)],
                "episode-of": [cite_show(show)],
            }
    return h_cite(properties)


def cite_show(show: Show) -> Mf2:
    """Return the h-cite of the show an episode belongs to."""
    return h_cite(
        {
            "name": [show_name(show)],
            "url": [show_url(show)],
            "trakt-ids": ids(show),
            "published": [str(show.year)] if show.year else [],
        }
    )


def h_cite(properties: Mf2) -> Mf2:
    """Return an h-cite without its empty properties."""
    return {"type": ["h-cite"], "properties": {k: v for k, v in properties.items() if v}}


def uid(work: Work) -> list[str]:
    """Return the name of the work in the best-known catalogue that has it."""
    known = work.ids.known()
    if "tmdb" in known:
        return [f"tmdb:{kind_of(work)}:{known['tmdb']}"]
    if "imdb" in known:
        return [f"imdb:{known['imdb']}"]
    return [f"trakt:{kind_of(work)}:{known['trakt']}"] if "trakt" in known else []


def ids(work: Work | Show) -> list[dict[str, str]]:
    """Return all ids as a list of one object, which is how mf2 JSON can hold them."""
    known = work.ids.known()
    return [known] if known else []


def url(work: Work) -> str:
    """Return the page of ``work`` on Trakt; a number serves where the slug is unknown."""
    match work:
        case Movie(ids=known):
            return f"{TRAKT}/movies/{known.slug or known.trakt or ''}"
        case Episode(show=show, season=season, number=number):
            return f"{show_url(show)}/seasons/{season}/episodes/{number}"


def show_url(show: Show) -> str:
    """Return the page of ``show`` on Trakt."""
    return f"{TRAKT}/shows/{show.ids.slug or show.ids.trakt or ''}"


def zone(name: str) -> ZoneInfo | None:
    """Return the time zone called ``name``, None when nobody knows it."""
    if name in {"Factory", "localtime"}:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
