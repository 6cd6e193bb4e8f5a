"""Ratings, comments and notes of Trakt: its wire format ends here.

What is none of the person's own words about a film or an episode, or is not meant for everyone,
is left out here and kept nowhere: answers to others, words about shows and lists, private notes.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.opinion import BEST, Kind, Opinion, viewing
from app.sources.trakt_history import identity, moment, number, part

PATHS = {
    Kind.FILM_RATING: "/sync/ratings/movies",
    Kind.EPISODE_RATING: "/sync/ratings/episodes",
    Kind.COMMENT: "/users/me/comments/all/all",
    Kind.NOTE: "/users/me/notes/all",
}
# Where ``last_activities`` tells that such a list has changed.
STAMPS = {
    Kind.FILM_RATING: [("movies", "rated_at")],
    Kind.EPISODE_RATING: [("episodes", "rated_at")],
    Kind.COMMENT: [("movies", "commented_at"), ("episodes", "commented_at")],
    Kind.NOTE: [("notes", "updated_at")],
}
# Reviews are long; a post is not a book.
LONGEST_WORDS = 4000
# How Trakt's own page hides a part of a text.
SPOILER_TAG = "[spoiler]"


def read_opinion(kind: Kind, item: object) -> Opinion | None:
    """Read one entry of a list of Trakt; None for what is not told or cannot be read.

    Never raises, whatever the entry is.
    """
    if not isinstance(item, Mapping):
        return None
    match kind:
        case Kind.COMMENT:
            return comment(item, part(item, "comment"))
        case Kind.NOTE:
            # Trakt's contract has notes flat, its example has them nested.
            return note(item, part(item, "note") or item)
        case _:
            return rating(kind, item)


def rating(kind: Kind, item: Mapping[str, Any]) -> Opinion | None:
    """Read a rating."""
    work, given = item_of(item), number(item.get("rating"), BEST)
    if work is None or not given:
        return None
    return Opinion(kind, work, rating=given, at=time(item.get("rated_at")))


def comment(item: Mapping[str, Any], said: Mapping[str, Any]) -> Opinion | None:
    """Read a comment or a review, which every visitor of Trakt can read."""
    work, words = item_of(item), text(said.get("comment"))
    if work is None or words is None or said.get("parent_id"):
        return None
    return Opinion(
        Kind.COMMENT,
        work,
        words=words,
        is_spoiler=is_spoiler(said, words),
        at=time(said.get("created_at")),
    )


def note(item: Mapping[str, Any], said: Mapping[str, Any]) -> Opinion | None:
    """Read a note, if it is one that every visitor of Trakt can read."""
    about = part(item, "attached_to")
    work, words = item_of(item) or item_of(part(item, "item")), text(said.get("notes"))
    if about.get("type") == "history" and (key := known_id(about.get("id"))):
        work = viewing(str(key))
    if work is None or words is None or said.get("privacy") != "public":
        return None
    return Opinion(
        Kind.NOTE,
        work,
        words=words,
        is_spoiler=is_spoiler(said, words),
        at=time(said.get("created_at")),
    )


def item_of(item: Mapping[str, Any]) -> str | None:
    """Return the film or episode that an entry is about, ``movie:481``; None for anything else."""
    kind = item.get("type")
    if kind not in ("movie", "episode"):
        return None
    key = known_id(part(part(item, kind), "ids").get("trakt"))
    return f"{kind}:{key}" if key else None


def known_id(value: object) -> int | None:
    """Return an id, None for anything that is none."""
    try:
        return identity(value)
    except ValueError:
        return None


def is_spoiler(said: Mapping[str, Any], words: str) -> bool:
    """Tell whether a text gives something away, by its mark or by that of a part of it.

    One that does not say so with a plain false is not trusted.
    """
    return said.get("spoiler") is not False or SPOILER_TAG in words.lower()


def time(value: object) -> datetime | None:
    """Return when something was said, None where that is no time."""
    try:
        return moment(value)
    except (TypeError, ValueError):
        return None


def text(value: object) -> str | None:
    """Return a text with its lines but without other control characters; None for nothing."""
    if not isinstance(value, str):
        return None
    # A lone surrogate is legal in JSON and can be stored nowhere.
    clean = value[: 2 * LONGEST_WORDS].encode("utf-8", "replace").decode()
    lines = ("".join(c if c.isprintable() else " " for c in one) for one in clean.splitlines())
    whole = "\n".join(" ".join(line.split()) for line in lines).strip()
    return (whole if len(whole) <= LONGEST_WORDS else f"{whole[: LONGEST_WORDS - 1]}…") or None
