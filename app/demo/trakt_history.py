"""What one person of the simulated Trakt has watched, and the ways in which Trakt tells it.

Times are kept to the minute and a play without a date is one of 1970.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Literal

from app.demo.catalogue import CATALOGUE, EpisodeOf, Film, Json, Work

FIRST_ID = 3_373_536_619
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
JOINED = datetime(2020, 1, 1, tzinfo=UTC)
KINDS = {"movies": "movie", "shows": "episode", "seasons": "episode", "episodes": "episode"}


@dataclass(frozen=True, slots=True)
class BadDays:
    """The ways in which Trakt's lists are wrong now and then; the default is a good day.

    ``uncounted`` plays are missing from Item-Count and Page-Count (when negative, so many removed
    ones are still counted). ``shuffled_ties`` gives plays of one minute an arbitrary order.
    ``coarse_stamps`` rounds last_activities down to the minute. ``novelties`` adds keys that no
    document mentions. Short pages come from `History.hide`.
    """

    uncounted: int = 0
    shuffled_ties: bool = False
    coarse_stamps: bool = False
    novelties: bool = False


@dataclass(frozen=True, slots=True)
class Play:
    """One viewing; ``watched_at`` is a whole minute in UTC."""

    id: int
    watched_at: datetime
    work: Work
    action: Literal["scrobble", "checkin", "watch"] = "watch"

    @property
    def kind(self) -> str:
        """``movie`` or ``episode``."""
        return "movie" if isinstance(self.work, Film) else "episode"

    def item(self) -> Json:
        """Return the play as an item of ``GET /sync/history``."""
        item: Json = {
            "id": self.id,
            "watched_at": stamp(self.watched_at),
            "action": self.action,
            "type": self.kind,
            self.kind: self.work.json(),
        }
        if isinstance(self.work, EpisodeOf) and self.work.show:
            item["show"] = self.work.show.json()
        return item


@dataclass(frozen=True, slots=True)
class RawPlay:
    """A history item in a shape that Trakt never promised."""

    id: int
    watched_at: datetime
    raw: Mapping[str, object]

    @property
    def kind(self) -> str:
        """What the item calls its type."""
        return str(self.raw.get("type"))

    def item(self) -> Json:
        """Return the item as it was given."""
        return dict(self.raw)


Row = Play | RawPlay


@dataclass(frozen=True, slots=True)
class Wanted:
    """The part of the history that one request asks for; both times are inclusive."""

    kind: str = ""
    item: str = ""
    start: datetime | None = None
    end: datetime | None = None

    def includes(self, row: Row) -> bool:
        """Tell whether ``row`` belongs to it."""
        return (
            (not self.kind or row.kind == KINDS[self.kind])
            and (not self.item or self.item in ids(row, self.kind))
            and (self.start is None or row.watched_at >= self.start)
            and (self.end is None or row.watched_at <= self.end)
        )


class History:
    """The plays of one person, newest first, and the stamps of their last change."""

    def __init__(self, now: Callable[[], datetime], bad_days: BadDays) -> None:
        self.now = now
        self.bad_days = bad_days
        self.rows: list[Row] = []
        self.changed = {"movie": JOINED, "episode": JOINED}
        self.hidden: set[Work] = set()
        self.next_ids = count(FIRST_ID)

    def watch(self, work: Work, at: datetime | Literal["unknown"] | None = None) -> int:
        """Add a play, by default of now; return its id."""
        moment = UNKNOWN_TIME if at == "unknown" else minute(at or self.now())
        play = Play(next(self.next_ids), moment, work)
        self.add(play)
        return play.id

    def add(self, row: Row) -> None:
        """Put ``row`` where its time belongs; last_activities moves."""
        insort(self.rows, row, key=newest_first)
        self.touch([row])

    def add_raw(self, item: Mapping[str, object]) -> None:
        """Add a history item of any shape, dated now unless it holds a readable time."""
        try:
            moment = moment_of(str(item.get("watched_at")))
        except ValueError:
            moment = self.now()
        self.add(RawPlay(next(self.next_ids), moment, item))

    def fill(self, number: int) -> None:
        """Add ``number`` old plays, one an hour, going back from a day ago."""
        start = minute(self.now()) - timedelta(days=1)
        works = [CATALOGUE[index % len(CATALOGUE)] for index in range(number)]
        plays = [
            Play(next(self.next_ids), start - index * timedelta(hours=1), work)
            for index, work in enumerate(works)
        ]
        self.rows = sorted([*self.rows, *plays], key=newest_first)
        self.touch(plays[: len(CATALOGUE)])

    def remove(self, wanted: Callable[[Play], bool]) -> list[Play]:
        """Take the plays away for which ``wanted`` is true and return them."""
        gone = [play for play in self.plays() if wanted(play)]
        ids_gone = {play.id for play in gone}
        self.rows = [row for row in self.rows if row.id not in ids_gone]
        self.touch(gone)
        return gone

    def hide(self, work: Work) -> None:
        """Make ``work`` unresolvable, as Trakt does when it deletes, merges or hides a title.

        Its plays keep their place and still count, yet no list shows them: pages come back
        short. No stamp moves.
        """
        self.hidden.add(work)

    def touch(self, rows: Iterable[Row]) -> None:
        """Move the stamps of ``rows``, which were just added or removed."""
        for kind in {row.kind for row in rows} & self.changed.keys():
            self.changed[kind] = self.now()

    def plays(self) -> list[Play]:
        """Return the plays, newest first, without raw items."""
        return [row for row in self.rows if isinstance(row, Play)]

    def asked(self, wanted: Wanted) -> list[Row]:
        """Return what belongs to ``wanted``, in Trakt's order, unresolvable rows included."""
        rows = self.rows
        if wanted != Wanted():
            rows = [row for row in rows if wanted.includes(row)]
        return sorted(rows, key=shuffled) if self.bad_days.shuffled_ties else rows

    def items(self, rows: Iterable[Row]) -> list[Json]:
        """Return ``rows`` as Trakt shows them: those it cannot resolve are left out."""
        shown = [row.item() for row in rows if not self.is_hidden(row)]
        return [item | NOVELTY for item in shown] if self.bad_days.novelties else shown

    def is_hidden(self, row: Row) -> bool:
        """Tell whether ``row`` belongs to a title that Trakt cannot resolve."""
        return isinstance(row, Play) and row.work in self.hidden

    def watched(self) -> Iterator[Play]:
        """Yield the plays that the maps of ``/sync/watched`` hold."""
        return (play for play in self.plays() if play.work not in self.hidden)

    def stamps(self) -> dict[str, datetime]:
        """Return the last change for ``movie`` and ``episode``, as last_activities has it."""
        if self.bad_days.coarse_stamps:
            return {kind: minute(moment) for kind, moment in self.changed.items()}
        return dict(self.changed)

    def known_works(self) -> list[Work]:
        """Return every work this Trakt has heard of."""
        return list(dict.fromkeys([*CATALOGUE, *(play.work for play in self.plays())]))

    def next_work(self) -> Work:
        """Return the work of the catalogue that comes after the latest one added."""
        latest = max(self.plays(), key=lambda play: play.id, default=None)
        if latest is None or latest.work not in CATALOGUE:
            return CATALOGUE[0]
        return CATALOGUE[(CATALOGUE.index(latest.work) + 1) % len(CATALOGUE)]

    def latest(self, number: int) -> list[Play]:
        """Return the ``number`` newest plays."""
        return list(islice(self.watched(), number))


NOVELTY: Json = {"mood": "cosy", "sources": [{"plex": {"guid": None}}]}


def minute(moment: datetime) -> datetime:
    """Return the beginning of the minute of ``moment``, in UTC."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def stamp(moment: datetime) -> str:
    """Return ``moment`` as Trakt writes it: UTC with ``.000Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def moment_of(text: str) -> datetime:
    """Return the instant that a query or body names; a bare date is its midnight in UTC.

    Raises:
        ValueError: it is no ISO 8601 time.

    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def newest_first(row: Row) -> tuple[float, int]:
    """Return the key of Trakt's order on a good day."""
    return -row.watched_at.timestamp(), -row.id


def shuffled(row: Row) -> tuple[float, int]:
    """Return the key of an order in which plays of one minute lie as they like."""
    return -row.watched_at.timestamp(), row.id * 2_654_435_761 % 2**32


def ids(row: Row, kind: str) -> set[str]:
    """Return the ids by which ``/sync/history/{kind}/{id}`` finds ``row``."""
    match row:
        case Play(work=Film(trakt=trakt, slug=slug)):
            return {str(trakt), slug}
        case Play(work=EpisodeOf(show=show)) if kind == "shows" and show:
            return {str(show.trakt), show.slug}
        case Play(work=EpisodeOf() as episode) if kind == "seasons":
            return {str(episode.season_id)}
        case Play(work=EpisodeOf(trakt=trakt)) if kind == "episodes":
            return {str(trakt)}
        case _:
            return set()
