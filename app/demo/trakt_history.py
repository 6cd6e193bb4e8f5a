"""What one person of the simulated Trakt has watched, and the ways in which Trakt tells it.

Times are kept to the minute and a play without a date is one of 1970.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Literal

from app.demo.catalogue import CATALOGUE, EpisodeOf, Film, Json, Work
from app.demo.trakt_full import IMAGES, full_episode, full_film, full_show

FIRST_ID = 3_373_536_619
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
JOINED = datetime(2020, 1, 1, tzinfo=UTC)
KINDS = {"movies": "movie", "shows": "episode", "seasons": "episode", "episodes": "episode"}
# So many changes can be taken back for a map that is behind the times.
CHANGES_KNOWN = 100


@dataclass(frozen=True, slots=True)
class BadDays:
    """The ways in which Trakt's lists are wrong now and then; the default is a good day.

    ``uncounted`` plays are missing from Item-Count and Page-Count (when negative, so many removed
    ones are still counted). ``shuffled_ties`` gives plays of one minute an arbitrary order.
    ``coarse_stamps`` rounds last_activities down to the minute. ``novelties`` adds keys that no
    document mentions. Short pages come from `History.hide`.

    The maps of ``/sync/watched`` can be empty (``empty_maps``), end after half of their items
    (``shortened_maps``), or not know the last ``stale_maps`` changes, at most 100.
    """

    uncounted: int = 0
    shuffled_ties: bool = False
    coarse_stamps: bool = False
    novelties: bool = False
    empty_maps: bool = False
    shortened_maps: bool = False
    stale_maps: int = 0


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

    def item(self, at: str | None = None) -> Json:
        """Return the play as an item of ``GET /sync/history``.

        ``at``: by ``extended=full``, which tells of pictures on that host.
        """
        item: Json = {
            "id": self.id,
            "watched_at": stamp(self.watched_at),
            "action": self.action,
            "type": self.kind,
        }
        match self.work:
            case Film() as film:
                item["movie"] = full_film(film, at) if at else film.json()
            case EpisodeOf(show=show) as episode:
                item["episode"] = full_episode(episode, at) if at else episode.json()
                if show:
                    item["show"] = full_show(show, at) if at else show.json()
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

    def item(self, at: str | None = None) -> Json:
        """Return the item as it was given, however it is asked for."""
        del at
        return dict(self.raw)


Row = Play | RawPlay


@dataclass(frozen=True, slots=True)
class Change:
    """What one act of the person, or of Trakt, did to the history."""

    added: tuple[Row, ...] = ()
    gone: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The part of the history that one request asks for; both times are inclusive."""

    kind: str = ""
    item: str = ""
    start: datetime | None = None
    end: datetime | None = None

    @property
    def drawer(self) -> tuple[str, str]:
        """Where its rows are kept."""
        return (self.kind, self.item) if self.item else (KINDS.get(self.kind, ""), "")

    def cut(self, rows: list[Row]) -> list[Row]:
        """Return those of ``rows``, which are newest first, that lie between its times."""
        first = bisect_left(rows, -self.end.timestamp(), key=age) if self.end else 0
        last = bisect_right(rows, -self.start.timestamp(), key=age) if self.start else len(rows)
        return rows[first:last]


class History:
    """The plays of one person, newest first, and the stamps of their last change."""

    def __init__(self, now: Callable[[], datetime], bad_days: BadDays) -> None:
        self.now = now
        self.bad_days = bad_days
        self.by_id: dict[int, Row] = {}
        # Every list that can be asked for, newest first, so that 100,000 plays stay workable.
        self.drawers: dict[tuple[str, str], list[Row]] = {}
        self.changes: deque[Change] = deque(maxlen=CHANGES_KNOWN)
        self.changed = {"movie": JOINED, "episode": JOINED}
        self.works = dict.fromkeys(CATALOGUE)
        self.hidden: set[Work] = set()
        # The host of the pictures that it names.
        self.pictures_at = IMAGES
        self.next_ids = count(FIRST_ID)
        # Grows with everything that can change an answer, so that answers can be kept meanwhile.
        self.version = 0

    def watch(self, work: Work, at: datetime | Literal["unknown"] | None = None) -> int:
        """Add a play, by default of now; return its id."""
        moment = self.now() if at is None else at
        play = Play(next(self.next_ids), minute_of(moment), work)
        self.apply(Change(added=(play,)))
        return play.id

    def add_raw(self, item: Mapping[str, object]) -> None:
        """Add a history item of any shape, dated now unless it holds a readable time."""
        try:
            moment = moment_of(str(item.get("watched_at")))
        except ValueError:
            moment = self.now()
        self.apply(Change(added=(RawPlay(next(self.next_ids), moment, item),)))

    def fill(self, number: int, works: Sequence[Work] = CATALOGUE) -> None:
        """Add ``number`` old plays of ``works`` in turn, one an hour, back from a day ago."""
        start = minute(self.now()) - timedelta(days=1)
        plays = (
            Play(next(self.next_ids), start - index * timedelta(hours=1), works[index % len(works)])
            for index in range(number)
        )
        self.apply(Change(added=tuple(plays)))

    def remove(self, play_ids: Iterable[int]) -> list[Play]:
        """Take plays away and return those that were there."""
        known = (self.by_id.get(play_id) for play_id in dict.fromkeys(play_ids))
        gone = [row for row in known if isinstance(row, Play)]
        if gone:
            self.apply(Change(gone=tuple(gone)))
        return gone

    def remove_all(self, works: set[Work]) -> list[Play]:
        """Take every play of ``works`` away and return them."""
        return self.remove([play.id for play in self.plays() if play.work in works])

    def correct(self, play_id: int, at: datetime | Literal["unknown"]) -> None:
        """Give a play another time; it keeps its id. Raises `KeyError` for an unknown play."""
        play = self.play(play_id)
        self.apply(Change((replace(play, watched_at=minute_of(at)),), (play,)))

    def merge(self, old: Work, new: Work) -> None:
        """Make ``old`` a part of ``new``, as Trakt does with titles that it had twice.

        The plays keep their ids and become plays of ``new``. No stamp moves.
        """
        plays = [play for play in self.plays() if play.work == old]
        moved = tuple(replace(play, work=new) for play in plays)
        self.change(Change(moved, tuple(plays)))
        self.works.pop(old, None)

    def hide(self, work: Work) -> None:
        """Make ``work`` unresolvable, as Trakt does when it deletes, merges or hides a title.

        Its plays keep their place and still count, yet no list shows them: pages come back
        short. No stamp moves.
        """
        self.hidden.add(work)
        self.version += 1

    def unhide(self, work: Work) -> None:
        """Let ``work`` be found again. No stamp moves."""
        self.hidden.discard(work)
        self.version += 1

    def apply(self, change: Change) -> None:
        """Carry out ``change``; last_activities moves."""
        self.change(change)
        for kind in {row.kind for row in (*change.added, *change.gone)} & self.changed.keys():
            self.changed[kind] = self.now()

    def change(self, change: Change) -> None:
        """Carry out ``change`` without a word to anyone."""
        self.changes.append(change)
        self.version += 1
        for row in change.gone:
            del self.by_id[row.id]
        self.take(change.gone)
        self.by_id |= {row.id: row for row in change.added}
        self.works |= {row.work: None for row in change.added if isinstance(row, Play)}
        self.put(change.added)

    def take(self, rows: Sequence[Row]) -> None:
        """Take ``rows`` out of their drawers."""
        for drawer, gone in sorted_into_drawers(rows).items():
            kept = self.drawers[drawer]
            if len(gone) == 1:
                del kept[bisect_left(kept, newest_first(gone[0]), key=newest_first)]
            else:
                ids_gone = {row.id for row in gone}
                self.drawers[drawer] = [row for row in kept if row.id not in ids_gone]

    def put(self, rows: Sequence[Row]) -> None:
        """Put ``rows`` where their times belong."""
        for drawer, new in sorted_into_drawers(rows).items():
            kept = self.drawers.setdefault(drawer, [])
            if len(new) == 1:
                insort(kept, new[0], key=newest_first)
            else:
                kept += new
                kept.sort(key=newest_first)

    def play(self, play_id: int) -> Play:
        """Return one play. Raises `KeyError` when there is none."""
        row = self.by_id[play_id]
        if isinstance(row, Play):
            return row
        raise KeyError(play_id)

    def plays(self) -> list[Play]:
        """Return the plays, newest first, without raw items."""
        return [row for row in self.drawers.get(("", ""), []) if isinstance(row, Play)]

    def asked(self, wanted: Wanted) -> list[Row]:
        """Return what belongs to ``wanted``, in Trakt's order, unresolvable rows included."""
        rows = wanted.cut(self.drawers.get(wanted.drawer, []))
        return sorted(rows, key=shuffled) if self.bad_days.shuffled_ties else rows

    def items(self, rows: Iterable[Row], *, full: bool = False) -> list[Json]:
        """Return ``rows`` as Trakt shows them: those it cannot resolve are left out."""
        shown = [
            row.item(self.pictures_at if full else None) for row in rows if not self.is_hidden(row)
        ]
        return [item | NOVELTY for item in shown] if self.bad_days.novelties else shown

    def is_hidden(self, row: Row) -> bool:
        """Tell whether ``row`` belongs to a title that Trakt cannot resolve."""
        return bool(self.hidden) and isinstance(row, Play) and row.work in self.hidden

    def watched(self, before: int = 0) -> Iterator[Play]:
        """Yield the plays that can be resolved, as they were ``before`` so many changes."""
        rows = self.rows_before(before) if before else self.drawers.get(("", ""), [])
        return (row for row in rows if isinstance(row, Play) and not self.is_hidden(row))

    def rows_before(self, number: int) -> list[Row]:
        """Return the rows as they were before the last ``number`` changes, newest first."""
        known = dict(self.by_id)
        for change in islice(reversed(self.changes), number):
            for row in change.added:
                del known[row.id]
            known |= {row.id: row for row in change.gone}
        return sorted(known.values(), key=newest_first)

    def stamps(self) -> dict[str, datetime]:
        """Return the last change for ``movie`` and ``episode``, as last_activities has it."""
        if self.bad_days.coarse_stamps:
            return {kind: minute(moment) for kind, moment in self.changed.items()}
        return dict(self.changed)

    def known_works(self) -> list[Work]:
        """Return every work this Trakt has heard of."""
        return list(self.works)

    def next_work(self) -> Work:
        """Return the work of the catalogue that comes after the latest one added."""
        latest = self.by_id[max(self.by_id)] if self.by_id else None
        if not isinstance(latest, Play) or latest.work not in CATALOGUE:
            return CATALOGUE[0]
        return CATALOGUE[(CATALOGUE.index(latest.work) + 1) % len(CATALOGUE)]

    def latest(self, number: int) -> list[Play]:
        """Return the ``number`` newest plays."""
        return list(islice(self.watched(), number))


NOVELTY: Json = {"mood": "cosy", "sources": [{"plex": {"guid": None}}]}


def minute(moment: datetime) -> datetime:
    """Return the beginning of the minute of ``moment``, in UTC."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def minute_of(at: datetime | Literal["unknown"]) -> datetime:
    """Return the time that Trakt notes for a play: a whole minute, 1970 for an unknown one."""
    return UNKNOWN_TIME if at == "unknown" else minute(at)


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


def age(row: Row) -> float:
    """Return a number that is the smaller the newer ``row`` is."""
    return -row.watched_at.timestamp()


def newest_first(row: Row) -> tuple[float, int]:
    """Return the key of Trakt's order on a good day."""
    return age(row), -row.id


def shuffled(row: Row) -> tuple[float, int]:
    """Return the key of an order in which plays of one minute lie as they like."""
    return age(row), row.id * 2_654_435_761 % 2**32


def sorted_into_drawers(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return ``rows`` by the lists that hold them."""
    drawers: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for drawer in drawers_of(row):
            drawers.setdefault(drawer, []).append(row)
    return drawers


def drawers_of(row: Row) -> set[tuple[str, str]]:
    """Return the lists that hold ``row``: everything, its kind, and those of single titles."""
    general = {("", ""), (row.kind, "")}
    match row:
        case Play(work=Film(trakt=trakt, slug=slug)):
            return general | {("movies", str(trakt)), ("movies", slug)}
        case Play(work=EpisodeOf(show=show) as episode):
            of_show = {("shows", str(show.trakt)), ("shows", show.slug)} if show else set()
            season = ("seasons", str(episode.season_id))
            return general | of_show | {season, ("episodes", str(episode.trakt))}
        case _:
            return general
