"""What a person thinks of what they watched: a rating, and words. Values and decisions only."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# Of a title that is rated, out of so many.
BEST = 10
# Words may be written while one still watches; those of before are about another viewing.
BEFORE = timedelta(days=1)


class Kind(StrEnum):
    """The ways to say it: each is a list of its own at a source."""

    FILM_RATING = "film-rating"
    EPISODE_RATING = "episode-rating"
    COMMENT = "comment"
    NOTE = "note"


RATINGS = (Kind.FILM_RATING, Kind.EPISODE_RATING)
# Of two texts about one viewing, that of the first kind is told.
WORDS = (Kind.COMMENT, Kind.NOTE)


@dataclass(frozen=True, slots=True)
class Opinion:
    """One rating from 1 to 10, or one text, of which the other is None.

    ``item`` names the work as the source's maps do, ``movie:481``, or a single viewing,
    ``watch:3373536619``. ``at`` is when it was said; None: the source does not tell.
    """

    kind: Kind
    item: str
    rating: int | None = None
    words: str | None = None
    is_spoiler: bool = False
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What is told of a person's opinion with one viewing."""

    rating: int | None = None
    words: str | None = None
    is_spoiler: bool = False


def viewing(key: str) -> str:
    """Return what an opinion about a single viewing is kept under."""
    return f"watch:{key}"


def said(opinions: Iterable[Opinion], watched_at: datetime | None) -> Said:
    """Return what is told with a viewing, of all that was said of it and of its work.

    A rating is the person's, whenever they gave it. Words of long ago are about another viewing;
    of the others the latest counts, a comment before a note.
    """
    known = list(opinions)
    rating = next((one.rating for one in known if one.rating), None)
    texts = [one for one in known if one.words and is_about(one, watched_at)]
    if not texts:
        return Said(rating)
    text = min(texts, key=lambda one: (WORDS.index(one.kind), -age(one)))
    return Said(rating, text.words, text.is_spoiler)


def is_about(text: Opinion, watched_at: datetime | None) -> bool:
    """Tell whether a text may be about the viewing of then."""
    if text.item.startswith("watch:"):
        return True
    return text.at is not None and watched_at is not None and text.at >= watched_at - BEFORE


def age(text: Opinion) -> float:
    """Return a number that grows with the time at which it was said."""
    return text.at.timestamp() if text.at else 0.0


def newest(opinions: Iterable[Opinion]) -> list[Opinion]:
    """Return of each work and kind what was said last."""
    last: dict[tuple[Kind, str], Opinion] = {}
    for one in opinions:
        before = last.get((one.kind, one.item))
        if before is None or age(one) > age(before):
            last[one.kind, one.item] = one
    return list(last.values())
