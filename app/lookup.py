"""Recognising our posts among those that a site holds. Values and decisions only.

A post of ours names the viewing it tells of by a marker: ``trakt-watch-id`` in its h-cite, and
the same id as fragment of its ``syndication`` URL, because servers keep different parts. The
page of the work is the same for a rewatch; it counts only together with the minute. Where a
server keeps nothing but the text, the text must do.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

Properties = Mapping[str, Any]

FRAGMENT = re.compile(r"watch-([0-9]{1,20})")
MARKER = re.compile(r"[0-9]{1,20}")
LONGEST_URL = 2000
# Texts with it may be ours: the usual wording holds the link.
TRAKT_HOST = "trakt.tv"
# A site's clock may differ a little from ours.
SLACK = timedelta(minutes=5)
# Beyond this a look has seen enough of a site.
MOST_PAGES = 2000

# Before all posts, and still a date that every database can hold.
BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)

# Where the next page of a site's posts begins: after so many posts, after a mark that the
# server gave, or at an address.
Cursor = int | str


class Way(StrEnum):
    """How a site lets us read what it holds."""

    LIST = "list"
    FEED = "feed"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Entry:
    """A post as a site shows it; each part may be missing.

    ``work_url`` is the page of what was watched, without a fragment; ``content_digest`` stands
    for its text with single spaces. ``may_be_ours``: it may tell of a watch.
    """

    url: str | None = None
    marker: str | None = None
    work_url: str | None = None
    published: datetime | None = None
    content_digest: str | None = None
    may_be_ours: bool = True

    @property
    def place(self) -> str:
        """What sets it apart from the site's other posts."""
        if self.url:
            return self.url
        parts = (self.marker, self.work_url, self.published, self.content_digest)
        return f"digest:{digest(repr(parts))}"


def read_entry(item: object) -> Entry | None:
    """Return the post in one item of a ``q=source`` list; None for what is none. Never raises."""
    if not isinstance(item, Mapping) or not isinstance(item.get("properties"), Mapping):
        return None
    properties = item["properties"]
    return entry_of(properties, text_of(first(properties.get("url"))))


def entry_of(properties: Properties, url: str | None) -> Entry:
    """Return the post with these microformats2 properties."""
    work, inner = cited(properties)
    syndicated = [text for value in many(properties.get("syndication")) if (text := text_of(value))]
    links = [*([work] if work else []), *syndicated]
    trakt = [link for link in links if is_trakt(link)]
    marker = marker_in(inner, links)
    work_url = next((bare(link) for link in [*([work] if work else []), *trakt]), None)
    said = first(properties.get("content"))
    content = plain(said)
    return Entry(
        url=web_url(url),
        marker=marker,
        work_url=work_url,
        published=instant(first(properties.get("published"))),
        content_digest=digest(content) if content else None,
        # In HTML the link is in a tag, not in the text.
        may_be_ours=bool(marker or work_url or TRAKT_HOST in str(said)),
    )


def cited(properties: Properties) -> tuple[str | None, Properties]:
    """Return the page of what was watched and the properties of its h-cite."""
    value = first(properties.get("watch-of"))
    if isinstance(value, Mapping) and isinstance(value.get("properties"), Mapping):
        inner = value["properties"]
        return web_url(text_of(first(inner.get("url")))), inner
    return web_url(text_of(value)), {}


def marker_in(inner: Properties, links: Iterable[str]) -> str | None:
    """Return the id of the viewing that a post names, as text."""
    value = first(inner.get("trakt-watch-id"))
    if isinstance(value, int | str) and not isinstance(value, bool) and is_id(str(value)):
        return str(value)
    for link in links:
        if is_trakt(link) and (found := FRAGMENT.fullmatch(fragment(link))):
            return found[1]
    return None


def is_id(text: str) -> bool:
    """Tell whether ``text`` can be the id of a viewing."""
    return MARKER.fullmatch(text) is not None


def first(value: object) -> object:
    """Return the first of a property's values; a value without its list counts too."""
    return next(iter(many(value)), None)


def many(value: object) -> list[object]:
    """Return a property's values."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def text_of(value: object) -> str | None:
    """Return a value as text: as it is, or what an object says its value is."""
    if isinstance(value, Mapping):
        value = value.get("value")
    return value if isinstance(value, str) else None


def web_url(text: str | None) -> str | None:
    """Return ``text`` if it is an http(s) URL that can be kept."""
    if not text or len(text) > LONGEST_URL or not text.isprintable():
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in {"http", "https"} and parts.netloc else None


def is_trakt(url: str) -> bool:
    """Tell whether ``url`` leads to Trakt."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host == TRAKT_HOST or host.endswith(f".{TRAKT_HOST}")


def fragment(url: str) -> str:
    """Return what follows the ``#`` of a URL."""
    return url.partition("#")[2]


def bare(url: str) -> str:
    """Return the URL of a work in the one form in which two of them are compared."""
    text = url.partition("#")[0].partition("?")[0].rstrip("/")
    scheme, _, rest = text.partition("://")
    return f"https://{rest.removeprefix('www.')}" if scheme in {"http", "https"} else text


def instant(value: object) -> datetime | None:
    """Return the instant a post is dated, in UTC; None where it names none, or no offset."""
    text = text_of(value)
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text.strip())
        return when.astimezone(UTC) if when.tzinfo else None
    except (ValueError, OverflowError):
        return None


def plain(value: object) -> str | None:
    """Return the text of a post's content, whichever form it has."""
    if isinstance(value, Mapping) and "value" not in value and isinstance(value.get("html"), str):
        return spaced(stripped(value["html"]))
    return spaced(text_of(value) or "")


def spaced(text: str) -> str | None:
    """Return ``text`` with single spaces, None when nothing is left."""
    return " ".join(text.split()) or None


BLOCKS = {"blockquote", "br", "details", "div", "li", "p", "summary"}


class Text(HTMLParser):
    """Collects the text of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep apart what stands in different paragraphs."""
        del attrs
        if tag in BLOCKS:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.parts.append(data)


def stripped(html: str) -> str:
    """Return the text of a piece of HTML."""
    reader = Text()
    reader.feed(html)
    reader.close()
    return "".join(reader.parts)


def digest(text: str) -> str:
    """Return a short text that stands for ``text``."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Told:
    """A watch as its post tells of it, to be recognised on the site.

    ``contents`` are the digests of the texts that its post may have. ``since``: a server that
    dates posts by their arrival dates this one no earlier.
    """

    key: str
    work_url: str | None
    watched_at: datetime | None
    contents: frozenset[str] = frozenset()
    since: datetime | None = None


def match(told: Told, entries: Iterable[Entry]) -> Entry | None:
    """Return the one of ``entries`` that tells of this viewing; None if none or several may.

    The marker decides; without one, the work together with the minute; without that, the text.
    An entry with the marker of another viewing is never the one.
    """
    known = list(entries)
    marked = [entry for entry in known if entry.marker == told.key]
    if marked:
        return marked[0]
    unmarked = [entry for entry in known if entry.marker is None]
    dated = [entry for entry in unmarked if is_same_viewing(told, entry)]
    if dated:
        return dated[0]
    texts = [entry for entry in unmarked if entry.work_url is None and is_same_text(told, entry)]
    return texts[0] if len(texts) == 1 else None


def is_by_text(match: Entry) -> bool:
    """Tell whether an entry can be recognised by its text alone."""
    return match.marker is None and match.work_url is None


def may_be_of_another(told: Told, match: Entry, others: Iterable[Told]) -> bool:
    """Tell whether the text alone matches, and may as well be that of another viewing.

    Two viewings of one work may have been told in the same words, and the minute may be that in
    which the post arrived.
    """
    if not is_by_text(match):
        return False
    return any(other != told and is_same_text(other, match) for other in others)


Clue = tuple[str, object, object]


def clue(entry: Entry) -> Clue:
    """Return by what an entry may be recognised, as a key to find it by."""
    if entry.marker is not None:
        return "marker", entry.marker, None
    if entry.work_url is not None:
        return "work", entry.work_url, entry.published and minute_of(entry.published)
    return "text", entry.content_digest, None


def clues(told: Told) -> list[Clue]:
    """Return the keys under which `match` may find the entry of a viewing; all others cannot be."""
    found: list[Clue] = [("marker", told.key, None)]
    if told.work_url is not None and told.watched_at is not None:
        found.append(("work", bare(told.work_url), minute_of(told.watched_at)))
    return found + [("text", text, None) for text in sorted(told.contents)]


def is_same_viewing(told: Told, entry: Entry) -> bool:
    """Tell whether an entry tells of the same work at the same minute."""
    if told.work_url is None or entry.work_url != bare(told.work_url):
        return False
    return is_same_minute(told.watched_at, entry.published)


def is_same_text(told: Told, entry: Entry) -> bool:
    """Tell whether an entry holds the text of the post, and not from before it was sent."""
    if entry.content_digest not in told.contents or entry.published is None:
        return False
    if is_same_minute(told.watched_at, entry.published):
        return True
    return told.since is not None and entry.published >= told.since - SLACK


def is_same_minute(one: datetime | None, other: datetime | None) -> bool:
    """Tell whether two instants lie in one minute, whatever their offsets."""
    if one is None or other is None:
        return False
    return minute_of(one) == minute_of(other)


def minute_of(when: datetime) -> datetime:
    """Return the minute in which an instant lies."""
    return when.replace(second=0, microsecond=0)


def predicted(own_slug: str, others: Iterable[tuple[str, str | None]]) -> str | None:
    """Return where a site would have put a post with this slug, by where it put others.

    ``others`` are pairs of URL and slug; None when no URL ends in its slug.
    """
    for url, slug in others:
        if slug and url.rstrip("/").endswith(f"/{slug}") and not DATED.search(url):
            head, _, tail = url.rpartition(slug)
            return f"{head}{own_slug}{tail}"
    return None


# A path with a date in it says nothing about the post of another day.
DATED = re.compile(r"/\d{4}/\d{1,2}(/|$)")
# A number at its end tells that the slug was taken: an earlier attempt had arrived.
SECOND = re.compile(r"-\d{1,3}/?$")


def is_second(url: str, slug: str) -> bool:
    """Tell whether a site gave a new post the slug of an older one with a number behind."""
    tail = url.rstrip("/").rpartition("/")[2]
    return SECOND.sub("", tail) == slug and tail != slug


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a look at a site has come.

    ``cursor``: where the next page begins. ``depth``: posts older than this need not be read;
    None: all are. ``reached``: the oldest date so far; ``passed``: the newest on the last page,
    because a single backdated post on it says nothing about what follows. ``ours``
    counts posts of ours that kept their marker. ``longest``: so many posts are on a full page.
    ``is_whole``: read to its end. ``is_empty``: the site has a list, and nothing was in it.
    """

    way: Way
    began_at: datetime
    depth: datetime | None
    cursor: Cursor | None = None
    pages: int = 0
    read: int = 0
    ours: int = 0
    reached: datetime | None = None
    passed: datetime | None = None
    is_sorted: bool = True
    last_page: str = ""
    longest: int = 0
    is_done: bool = False
    is_whole: bool = False
    is_empty: bool = False

    @property
    def proven(self) -> datetime | None:
        """All posts dated later than this were read; None when that cannot be said."""
        if self.is_whole:
            return BEGINNING
        return self.passed if self.is_sorted else None

    def to_json(self) -> dict[str, Any]:
        """Return the progress as plain data for the database."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }


def progress_of(data: Mapping[str, Any] | None) -> Progress | None:
    """Return the progress that `Progress.to_json` wrote."""
    if data is None:
        return None
    times = {
        name: datetime.fromisoformat(data[name]) if data.get(name) else None
        for name in ("began_at", "depth", "reached", "passed")
    }
    return Progress(**{**data, **times, "way": Way(data["way"])})


def turned(
    progress: Progress, entries: Sequence[Entry], ours: int, follows: Cursor | None
) -> Progress:
    """Return the progress after one more page; ``ours`` of its posts have markers of ours."""
    page = digest(repr([entry.place for entry in entries]))
    dates = [entry.published for entry in entries if entry.published]
    # Servers that turn pages by marks list by arrival: dates say nothing about what is missing.
    is_sorted = (
        progress.is_sorted
        and is_falling(progress.reached, dates)
        and not (progress.way is Way.LIST and isinstance(follows, str))
    )
    reached = min([*dates, *([progress.reached] if progress.reached else [])], default=None)
    passed = max(dates, default=progress.passed)
    # A server that cannot turn pages gives the same one for ever. The last page, shorter than
    # others, comes again where posts arrive meanwhile and move it on.
    is_again = bool(entries) and page == progress.last_page
    is_tail = is_again and len(entries) < progress.longest
    is_stuck = is_again and not is_tail
    is_end = not entries or follows is None or is_tail
    is_deep = progress.depth is not None and is_sorted and bool(passed and passed < progress.depth)
    return replace(
        progress,
        cursor=follows,
        pages=progress.pages + 1,
        read=progress.read + (0 if is_again else len(entries)),
        ours=progress.ours + (0 if is_again else ours),
        longest=max(progress.longest, len(entries)),
        reached=reached,
        passed=passed,
        is_sorted=is_sorted or (is_again and progress.is_sorted),
        last_page=page,
        is_done=is_stuck or is_end or is_deep or progress.pages + 1 >= MOST_PAGES,
        is_whole=is_end and not is_stuck,
    )


def is_falling(start: datetime | None, dates: Sequence[datetime]) -> bool:
    """Tell whether no date is later than the one before it, as in a list of the newest first."""
    before = start
    for date in dates:
        if before is not None and date > before:
            return False
        before = date
    return True
