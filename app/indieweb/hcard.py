"""Name and photo of the person a page is about: its representative h-card. For display only."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import mf2py
from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

from app.indieweb.card import Card, http_url, shown_name
from app.indieweb.flat import flat
from app.indieweb.page import elements
from app.indieweb.rels import resolved, words

# A card beyond these bounds is a page in itself.
MOST_CARDS = 10
MOST_PARTS = 1000
LONGEST_TEXT = 20_000
KEPT = ("p-", "u-")


def representative(document: BeautifulSoup, url: str) -> Card:
    """Return the representative h-card of the page at ``url``, or an empty one. Never raises.

    The rules are those of microformats.org/wiki/representative-h-card-parsing: a card whose uid
    and url are the page, else one whose url is a ``rel=me`` of the page, else the only card if
    its url is the page.
    """
    cards = list(islice(parsed_cards(document, url), MOST_CARDS))
    mine = canonical(resolved(url, str(link.get("href"))) for link in rel_me(document))
    chosen = (
        [card for card in cards if url in urls(card, "url") and url in urls(card, "uid")]
        or [card for card in cards if not mine.isdisjoint(urls(card, "url"))]
        or [card for card in cards if len(cards) == 1 and url in urls(card, "url")]
    )
    if not chosen:
        return Card()
    return Card(shown_name(first(chosen[0], "name")), http_url(first(chosen[0], "photo")))


def rel_me(document: BeautifulSoup) -> Iterator[Tag]:
    """Yield the links that say "this is me as well"."""
    for link in elements(document, {"a", "link"}):
        if "me" in words(link.get("rel")) and link.get("href"):
            yield link


def parsed_cards(document: BeautifulSoup, url: str) -> Iterator[Mapping[str, Any]]:
    """Yield the properties of each h-card that is small enough to be one."""
    for element in document.find_all(class_="h-card", limit=MOST_CARDS):
        if is_small(element):
            yield properties(flat(element, "h-card", KEPT), url)


def is_small(element: Tag) -> bool:
    """Tell whether ``element`` has the size of a card rather than of a page."""
    parts = list(islice(element.descendants, MOST_PARTS + 1))
    text = sum(len(part) for part in parts if isinstance(part, NavigableString))
    return len(parts) <= MOST_PARTS and text <= LONGEST_TEXT


def properties(element: Tag, url: str) -> Mapping[str, Any]:
    """Return the properties of the h-card ``element``, none when mf2py stumbles over it."""
    try:
        items = mf2py.parse(doc=element, url=url)["items"]
    except Exception:  # noqa: BLE001 - strangers' markup against a parser that promises nothing
        return {}
    return items[0]["properties"] if items else {}


def values(card: Mapping[str, Any], name: str) -> list[str]:
    """Return the texts of one property; an embedded microformat counts by its value."""
    found = [
        value.get("value") if isinstance(value, dict) else value for value in card.get(name, ())
    ]
    return [value for value in found if isinstance(value, str)]


def first(card: Mapping[str, Any], name: str) -> str | None:
    """Return the first text of one property, if there is one."""
    return next(iter(values(card, name)), None)


def urls(card: Mapping[str, Any], name: str) -> set[str]:
    """Return the values of a property that are URLs, in canonical form."""
    return canonical(values(card, name))


def canonical(texts: Iterable[str]) -> set[str]:
    """Return those of ``texts`` that are http(s) URLs, in canonical form."""
    return {url for text in texts if (url := http_url(text))}
