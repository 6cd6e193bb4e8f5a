"""From a watch to the post that tells of it: the body of a Micropub create request.

The usual shape is the one that the most servers understand: no top-level ``name`` (it would turn
the note into an article), ``photo`` or ``uid``; always ``content`` and ``summary``; every value a
list and every number a text. Whatever the shape, ``syndication`` carries the marker.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app import languages, wording
from app.languages import Language
from app.style import Posters, Shape, Style
from app.watch import Episode, Movie, Show, Watch, Work, kind_of, name, show_name
from app.wording import Count, Facts

Mf2 = dict[str, Any]

TRAKT = "https://trakt.tv"
TAGS = {"movie": "movie", "episode": "tv"}
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Rewatch:
    """Which time of watching a work this is, and how many whole years after the last."""

    number: int
    years: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """What a person wrote about a work; ``spoiler``: it gives something away."""

    text: str
    spoiler: bool = False


@dataclass(frozen=True, slots=True)
class Poster:
    """A picture of a work, at an address that may be shown, and what is to be seen on it."""

    url: str
    alt: str


@dataclass(frozen=True, slots=True)
class Telling:
    """How one post is told: the person's zone and style, and what else there is to tell.

    ``again``: the work was seen before. ``tags`` come beside our own. ``targets``: None says
    nothing about syndication, so that the server decides; an empty tuple asks for none, which only
    servers that cross-post by themselves (Micro.blog) understand. ``rating`` is the person's own,
    from 1 to 10. What the style does not tell is not told, even if it is here.
    """

    zone: tzinfo
    again: bool = False
    style: Style = field(default_factory=Style)
    tags: tuple[str, ...] = ()
    targets: tuple[str, ...] | None = None
    status: Literal["published", "draft"] = "published"
    visibility: Literal["public", "unlisted", "private"] = "public"
    rewatch: Rewatch | None = None
    rating: int | None = None
    note: Note | None = None
    poster: Poster | None = None


def hentry(watch: Watch, telling: Telling) -> Mf2:
    """Return the h-entry of ``watch``, ready to be sent as JSON (Micropub §3.3).

    Raises ValueError when a template of the person's own cannot be filled in.
    """
    watch, telling = fitting(watch, telling)
    style = telling.style
    when = watch.watched_at and watch.watched_at.astimezone(telling.zone)
    facts = all_facts(watch, when, telling)
    text = content_of(facts, watch.work, style)
    properties: Mf2 = {
        "summary": [facts.summary],
        "content": [{"html": text} if style.html else text],
        "category": list(dict.fromkeys(["watch", TAGS[kind_of(watch.work)], *telling.tags])),
        "watch-of": watch_of(watch, telling),
        "syndication": [marker(watch)],
        "mp-slug": [slug_of(facts, watch, style)],
        "published": [when.isoformat(timespec="seconds")] if when else [],
        "post-status": ["draft"] if telling.status == "draft" else [],
        "visibility": [telling.visibility] if telling.visibility != "public" else [],
        **spoken_of(telling),
    }
    told = {name: values for name, values in properties.items() if values}
    if telling.targets is not None:
        told["mp-syndicate-to"] = list(telling.targets) or [""]
    return {"type": ["h-entry"], "properties": told}


def body(watch: Watch, telling: Telling) -> tuple[str, str]:
    """Return the exact text of the request and the slug in it. Raises ValueError as `hentry`."""
    entry = hentry(watch, telling)
    own_slug: str = entry["properties"]["mp-slug"][0]
    if telling.style.shape is Shape.FORM:
        return form(entry), own_slug
    return json.dumps(entry, ensure_ascii=False), own_slug


def form(entry: Mf2) -> str:
    """Return an h-entry as a form (Micropub §3.2); it holds texts only."""
    fields: list[tuple[str, str]] = [("h", "entry")]
    for key, values in entry["properties"].items():
        named = key if len(values) == 1 else f"{key}[]"
        fields += [(named, value) for value in values]
    return urlencode(fields)


def known(watch: Watch, telling: Telling) -> dict[str, Any]:
    """Return by its variable all that a template can tell of ``watch``. Raises as `hentry`."""
    watch, telling = fitting(watch, telling)
    when = watch.watched_at and watch.watched_at.astimezone(telling.zone)
    return all_facts(watch, when, telling).variables()


def content_type(text: str) -> str:
    """Return as what a body is to be sent: each tells by its first sign what it is.

    There is no charset: some servers compare the type as a whole.
    """
    return JSON if text.startswith("{") else FORM


def properties_of(text: str) -> Mf2:
    """Return the properties in a body that `body` made."""
    if content_type(text) == JSON:
        found: Mf2 = json.loads(text)["properties"]
        return found
    properties: Mf2 = {}
    # The first says that it is an h-entry.
    for key, value in parse_qsl(text, keep_blank_values=True)[1:]:
        properties.setdefault(key.removesuffix("[]"), []).append(value)
    return properties


def fitting(watch: Watch, telling: Telling) -> tuple[Watch, Telling]:
    """Return what may be told: no title that gives something away, and what the style wants."""
    style = telling.style
    if isinstance(watch.work, Episode) and style.is_quiet(watch.work):
        watch = replace(watch, work=replace(watch.work, title=None))
    return watch, replace(
        telling,
        rewatch=telling.rewatch if style.tells_rewatch else None,
        rating=telling.rating if style.tells_rating else None,
        note=telling.note if style.tells_note else None,
        poster=telling.poster if style.posters is not Posters.OFF else None,
    )


def watch_of(watch: Watch, telling: Telling) -> list[Any]:
    """Return what was watched, in the shape of the style; a form can hold its address only."""
    match telling.style.shape:
        case Shape.NESTED:
            return [cite(watch, telling.poster)]
        case Shape.URL | Shape.FORM:
            return [url(watch.work)]
        case Shape.NOTE:
            return []


def spoken_of(telling: Telling) -> Mf2:
    """Return what the properties say of the rating and of a rewatch; a rating is from 1 to 5."""
    rating = telling.rating
    return {
        "rating": [f"{rating / 2:g}"] if rating else [],
        "best": ["5"] if rating else [],
        "rewatch": ["true"] if telling.rewatch and telling.rewatch.number > 1 else [],
    }


def all_facts(watch: Watch, when: datetime | None, telling: Telling) -> Facts:
    """Return all that a template can tell, the summary among it."""
    facts = facts_of(watch, when, telling)
    style = telling.style
    own = style.templates(watch.work).summary
    usual = wording.default_summary(style.language)
    said = wording.one_line(wording.rendered(own, facts)) if own else ""
    return replace(facts, summary=said or wording.rendered(usual, facts))


def content_of(facts: Facts, work: Work, style: Style) -> str:
    """Return the text of the post; it is never empty, which some servers do not survive."""
    own = style.templates(work).content
    usual = wording.default_content(style.language, html=style.html)
    said = wording.rendered(own, facts, html=style.html).strip() if own else ""
    return said or wording.rendered(usual, facts, html=style.html)


def slug_of(facts: Facts, watch: Watch, style: Style) -> str:
    """Return the slug: whatever a template makes of it, it ends in the viewing's own id."""
    own = style.templates(watch.work).slug
    said = wording.slugged(wording.rendered(own, facts)) if own else ""
    return f"{said}-{short_id(watch)}" if said else slug(watch)


def facts_of(watch: Watch, when: datetime | None, telling: Telling) -> Facts:
    """Return all that a template can tell but the summary."""
    work, style = watch.work, telling.style
    known = work.ids.known()
    rating, note, poster = telling.rating or 0, telling.note, telling.poster
    rewatch = telling.rewatch or Rewatch(0)
    return Facts(
        kind=kind_of(work),
        caption=languages.caption(work, style.language),
        title=work.title or "",
        **of_show(work),
        url=url(work),
        imdb=known.get("imdb", ""),
        tmdb=known.get("tmdb", ""),
        tvdb=known.get("tvdb", ""),
        **moment(when, style.language),
        again=telling.again,
        times=Count(rewatch.number),
        years=Count(rewatch.years),
        repeat=languages.repeat(rewatch.number, rewatch.years, style.language),
        rating=Count(rating),
        stars="★" * (rating // 2) + "½" * (rating % 2),
        note=note.text if note else "",
        spoilers=bool(note and note.spoiler),
        # A nested h-cite shows it already.
        poster=poster.url if poster and style.shape is not Shape.NESTED else "",
        alt=poster.alt if poster else "",
        id=short_id(watch),
    )


def moment(when: datetime | None, language: Language) -> dict[str, Any]:
    """Return what can be said of the time of a watch; nothing of a time that nobody knows."""
    if when is None:
        return {"date": "", "weekday": "", "time": "", "iso_date": ""}
    return {
        "date": languages.day(when, language),
        "weekday": languages.SPEECH[language].weekdays[when.weekday()],
        "time": f"{when:%H:%M}",
        "iso_date": f"{when:%Y-%m-%d}",
    }


def of_show(work: Work) -> dict[str, Any]:
    """Return what there is to tell of an episode's place, and the year."""
    match work:
        case Movie(year=year):
            nothing = {"show": "", "season": 0, "episode": 0, "code": "", "show_url": ""}
            return {**nothing, "year": Count(year or 0)}
        case Episode(show=show, season=season, number=number):
            return {
                "show": show.title or "",
                "season": season,
                "episode": number,
                "code": f"S{season:02}E{number:02}",
                "show_url": show_url(show),
                "year": Count(show.year or 0),
            }


def slug(watch: Watch) -> str:
    """Return a slug that is the viewing's own, and the same whenever it is computed."""
    return f"watch-{short_id(watch)}"


def short_id(watch: Watch) -> str:
    """Return the source's id of the viewing in base 36, which is short.

    It survives the loss of our database.
    """
    number, text = int(watch.key), ""
    while number:
        number, digit = divmod(number, 36)
        text = BASE36[digit] + text
    return text or "0"


def marker(watch: Watch) -> str:
    """Return the URL of the work at its source with the viewing's id as fragment.

    The plain URL is the same for a rewatch; with the fragment it names this viewing, by which
    the post can be found again on the site.
    """
    return f"{url(watch.work)}#watch-{watch.key}"


def cite(watch: Watch, poster: Poster | None = None) -> Mf2:
    """Return the h-cite of what was watched."""
    work = watch.work
    properties = {
        "name": [name(work)],
        "url": [url(work)],
        "uid": uid(work),
        "trakt-watch-id": [watch.key],
        "trakt-ids": ids(work),
        "featured": [poster.url] if poster else [],
        "photo": [{"value": poster.url, "alt": poster.alt}] if poster else [],
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


def rewatch(
    watched_at: datetime, earlier: Sequence[datetime | None], where: tzinfo
) -> Rewatch | None:
    """Return what a viewing is after all ``earlier`` ones of its work; None for the first.

    One without a date counts, but may have been yesterday: then nobody knows the years.
    """
    if not earlier:
        return None
    dated = [when for when in earlier if when]
    if len(dated) < len(earlier):
        return Rewatch(len(earlier) + 1)
    then, now = max(dated).astimezone(where), watched_at.astimezone(where)
    is_ahead = (now.month, now.day) < (then.month, then.day)
    return Rewatch(len(earlier) + 1, max(0, now.year - then.year - is_ahead))


def zone(name: str) -> ZoneInfo | None:
    """Return the time zone called ``name``, None when nobody knows it."""
    if name in {"Factory", "localtime"}:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
