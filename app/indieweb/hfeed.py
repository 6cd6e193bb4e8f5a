"""The posts that a page shows in its h-feed, and where the next page is."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from urllib.parse import urlsplit

import httpx2
import mf2py
from bs4 import BeautifulSoup, Tag

from app.indieweb.flat import NESTED, flat
from app.indieweb.page import elements, html_document, page_links
from app.indieweb.rels import resolved, words
from app.lookup import Entry, entry_of, web_url

MOST_ENTRIES = 200
MOST_CITES = 10
# An entry beyond this is no note about a film.
MOST_PARTS = 3000
KEPT = ("p-", "u-", "dt-")
WATCH_OF = frozenset({"u-watch-of", "p-watch-of"})


def read(url: str, response: httpx2.Response) -> tuple[tuple[Entry, ...], str | None]:
    """Return the posts on a page, and where the next one is. Slow. Never raises."""
    document = html_document(response.content, response.headers.get("Content-Type", ""))
    if document is None:
        return (), None
    links = page_links(document, url, response.headers.get_list("Link"))
    follows = links.get("next") or anchored_next(document, url)
    return tuple(entries(document, url)), same_origin(follows, url)


def origin(url: str) -> tuple[str, str] | None:
    """Return scheme and host of a URL, None for what is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.scheme, parts.netloc


def anchored_next(document: BeautifulSoup, url: str) -> str | None:
    """Return where the page's own ``<a rel=next>`` leads, as most blogs have it."""
    for link in elements(document, {"a"}):
        if "next" in words(link.get("rel")) and link.get("href"):
            return resolved(url, str(link.get("href")))
    return None


def same_origin(target: str | None, url: str) -> str | None:
    """Return ``target`` if it belongs to the same website and is another page."""
    if target is None or web_url(target) is None:
        return None
    return target if origin(target) == origin(url) and target != url else None


def entries(document: BeautifulSoup, url: str) -> Iterator[Entry]:
    """Yield the posts on a page, in its order; what is inside of one is somebody's comment."""
    for element in document.find_all(class_="h-entry", limit=MOST_ENTRIES):
        is_small = len(list(islice(element.descendants, MOST_PARTS + 1))) <= MOST_PARTS
        is_own = element.find_parent(class_="h-entry") is None
        if is_small and is_own and (found := read_element(element, url)):
            yield found


def read_element(element: Tag, url: str) -> Entry | None:
    """Return the post that an h-entry shows, None when mf2py stumbles over it."""
    work = watched(element, url)
    try:
        # What is inside says nothing that we want to know, but for the work.
        items = mf2py.parse(doc=flat(element, "h-entry", KEPT), url=url)["items"]
        properties = dict(items[0]["properties"]) if items else {}
    except Exception:  # noqa: BLE001 - strangers' markup against a parser that promises nothing
        return None
    if work:
        properties["watch-of"] = [work]
    own = (properties.get("url") or [None])[0]
    if not isinstance(own, str):
        # Without an address of this site nobody knows whose words these are.
        return replace(entry_of(properties, None), marker=None)
    return entry_of(properties, own) if origin(own) == origin(url) else None


def watched(entry: Tag, url: str) -> str | None:
    """Return the page of what an entry says was watched: an h-cite's URL, or a plain link."""
    for cite in entry.find_all(class_=list(WATCH_OF), limit=MOST_CITES):
        if is_inside_another(cite, entry):
            continue
        for link in [cite, *cite.find_all(class_="u-url", limit=1), *cite.find_all("a", limit=1)]:
            if href := link.get("href"):
                return resolved(url, str(href))
    return None


def is_inside_another(cite: Tag, entry: Tag) -> bool:
    """Tell whether a property belongs to something inside of an entry, such as a comment."""
    for parent in cite.parents:
        if parent is entry:
            return False
        if not NESTED.isdisjoint(words(parent.get("class"))):
            return True
    return True
