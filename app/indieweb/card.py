"""Name and photo of a person, as their page or their server tells them. For display only."""

import re
from dataclasses import dataclass

from app.indieweb.profile import web_url

LONGEST_NAME = 100
# Control characters, half surrogates, and those that turn the direction of the text around it.
UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Card:
    """What a page says about its person; a photo is always an http(s) URL."""

    name: str | None = None
    photo: str | None = None


def shown_name(text: object) -> str | None:
    """Return a name fit for one line, or None."""
    if not isinstance(text, str):
        return None
    return " ".join(UNSHOWABLE.sub(" ", text).split())[:LONGEST_NAME].strip() or None


def http_url(url: object) -> str | None:
    """Return an http(s) URL in canonical form, or None."""
    try:
        return web_url(url) if isinstance(url, str) else None
    except ValueError:
        return None
