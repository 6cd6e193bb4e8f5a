"""The truth about one person's viewings, whatever Trakt's play ids say of them."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from app.demo.catalogue import EpisodeOf, Film, Show, Work
from app.demo.trakt import SimulatedTrakt
from tests.torture.plans import Deed

UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
# Beyond this many plays of one show at once the bridge asks.
BUNCH = 34


@dataclass(slots=True)
class Viewing:
    """One viewing of one work; each change of its date may give it a new play id on Trakt."""

    work: Work
    ids: list[int]
    dates: list[datetime]
    is_removed: bool = False

    @property
    def at(self) -> datetime:
        """The minute that Trakt tells now; 1970 where nobody knows it."""
        return self.dates[-1]


@dataclass(slots=True)
class Diary:
    """One person's viewings. ``start`` is when Trakt was connected: from then on they are posted.

    ``known`` are the play ids in the copy of the database that may be put back, or that was and
    has not caught up; None otherwise. A play that it does not know must not get another id, or
    nobody could tell that its post, already on the site, is of the same viewing.
    """

    trakt: SimulatedTrakt
    viewings: list[Viewing] = field(default_factory=list)
    start: datetime | None = None
    known: set[int] | None = None
    retired: set[int] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    acts: int = 0

    def fill(self, number: int, now: datetime) -> None:
        """Watch ``number`` films and episodes before connecting, one every two hours."""
        begins = now - timedelta(days=2)
        for index in range(number):
            works = [self.film()] if index % 2 else [self.episode(self.show(), 1)]
            self.watch(works[0], begins - index * timedelta(hours=2))

    def watch(self, work: Work, at: datetime | None) -> None:
        """Write one viewing down, here and on Trakt; None: nobody knows when."""
        play = self.trakt.watch(work, "unknown" if at is None else at)
        self.viewings.append(Viewing(work, [play], [floored(at) if at else UNKNOWN]))

    def film(self) -> Film:
        """Return a film that nobody has watched yet."""
        number = next(self.numbers)
        year = 1930 + number % 95
        slug = f"film-{number}-{year}"
        return Film(f"Film {number}", year, 1_000_000 + number, slug, None, 10_000 + number)

    def show(self) -> Show:
        """Return a show that nobody has watched yet."""
        number = next(self.numbers)
        return Show(f"Show {number}", 2001, 2_000_000 + number, f"show-{number}", None, number)

    def episode(self, show: Show, number: int) -> EpisodeOf:
        """Return an episode of the first season of ``show``."""
        trakt = show.trakt * 1000 + number
        return EpisodeOf(show, 1, number, f"Part {number}", trakt, None, trakt)

    def do(self, deed: Deed, pick: float, now: datetime) -> None:
        """Do what a person does on Trakt."""
        self.acts += 1
        DEEDS[deed](self, pick, now)

    def changeable(self, pick: float) -> Viewing | None:
        """Return a viewing whose play may be taken away or moved; None if there is none.

        It is the only one of its work, for ever: with another one, nobody could tell a new date
        of this one from a new viewing.
        """
        works: dict[int, list[Viewing]] = {}
        for viewing in self.viewings[-400:]:
            works.setdefault(viewing.work.trakt, []).append(viewing)
        fit = [
            only[0]
            for work, only in works.items()
            if len(only) == 1 and self.is_changeable(work, only[0])
        ]
        return fit[int(pick * len(fit))] if fit else None

    def is_changeable(self, work: int, viewing: Viewing) -> bool:
        """Tell whether a viewing may be taken away or moved."""
        is_known = self.known is None or viewing.ids[-1] in self.known
        return work not in self.retired and is_known and viewing.at != UNKNOWN

    def is_known_by(self, plays: set[int]) -> bool:
        """Tell whether all that Trakt holds now is among these plays."""
        return all(one.ids[-1] in plays for one in self.viewings if not one.is_removed)

    def retire(self, viewing: Viewing) -> None:
        """Never watch this work again, nor change this viewing once more."""
        self.retired.add(viewing.work.trakt)

    def redate(self, viewing: Viewing, at: datetime) -> None:
        """Move a viewing as other apps do: take the play away and add a new one."""
        viewing.ids.append(self.trakt.redate(viewing.ids[-1], at))
        viewing.dates.append(floored(at))

    def expected(self) -> Iterator[tuple[Viewing, range]]:
        """Yield each viewing with how many posts of it may be on the site."""
        for viewing in self.viewings:
            yield viewing, self.posts_of(viewing)

    def posts_of(self, viewing: Viewing) -> range:
        """Return how many posts a viewing may have on the site.

        One that was moved from before the start or after it, or taken away, may have been seen
        in time or not.
        """
        start = self.start or datetime.max.replace(tzinfo=UTC)
        posted = [when != UNKNOWN and when >= start for when in viewing.dates]
        if viewing.is_removed or (any(posted) and not posted[-1]):
            return range(2)
        return range(1, 2) if posted[-1] else range(1)

    def plays(self) -> dict[str, datetime | None]:
        """Return what the archive must hold: the minute of each play id that Trakt still has."""
        return {
            str(viewing.ids[-1]): None if viewing.at == UNKNOWN else viewing.at
            for viewing in self.viewings
            if not viewing.is_removed
        }


def floored(at: datetime) -> datetime:
    """Return the minute of ``at``, in UTC, as Trakt keeps it."""
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def watch_new(diary: Diary, pick: float, now: datetime) -> None:
    work = diary.film() if pick < 0.5 else diary.episode(diary.show(), 1)
    diary.watch(work, now)


def watch_again(diary: Diary, pick: float, now: datetime) -> None:
    seen = [one for one in diary.viewings[-200:] if one.work.trakt not in diary.retired]
    diary.watch(seen[int(pick * len(seen))].work if seen else diary.film(), now)


def watch_twice(diary: Diary, pick: float, now: datetime) -> None:
    work = diary.film()
    for _ in range(2 + int(pick * 2)):
        diary.watch(work, now)


def watch_season(diary: Diary, pick: float, now: datetime) -> None:
    show = diary.show()
    for number in range(1, 5 + int(pick * 8)):
        diary.watch(diary.episode(show, number), now)


def watch_bunch(diary: Diary, _: float, now: datetime) -> None:
    show = diary.show()
    for number in range(1, BUNCH + 1):
        diary.watch(diary.episode(show, number), now - number * MINUTE)


def backdate(diary: Diary, pick: float, now: datetime) -> None:
    since = now - (diary.start or now)
    diary.watch(diary.film(), (diary.start or now) + MINUTE + since * pick * 0.9)


def backdate_far(diary: Diary, pick: float, now: datetime) -> None:
    begins = diary.start or now
    diary.watch(diary.film(), begins - timedelta(days=3 + 3000 * pick))


def backdate_series(diary: Diary, pick: float, now: datetime) -> None:
    show, begins = diary.show(), (diary.start or now) - timedelta(days=400)
    for number in range(1, 40 + int(pick * 60)):
        diary.watch(diary.episode(show, number), begins + number * timedelta(hours=1))


def undated(diary: Diary, _: float, __: datetime) -> None:
    diary.watch(diary.film(), None)


def future(diary: Diary, pick: float, now: datetime) -> None:
    diary.watch(diary.film(), now + timedelta(minutes=30 + 600 * pick))


def remove(diary: Diary, pick: float, _: datetime) -> None:
    if viewing := diary.changeable(pick):
        diary.retire(viewing)
        diary.trakt.remove(viewing.ids[-1])
        viewing.is_removed = True


def redate(diary: Diary, pick: float, now: datetime) -> None:
    if viewing := diary.changeable(pick):
        diary.retire(viewing)
        diary.redate(viewing, moved(diary, viewing, pick, now))


def correct(diary: Diary, pick: float, now: datetime) -> None:
    if viewing := diary.changeable(pick):
        diary.retire(viewing)
        at = moved(diary, viewing, pick, now)
        diary.trakt.correct(viewing.ids[-1], at)
        viewing.dates.append(floored(at))


def moved(diary: Diary, viewing: Viewing, pick: float, now: datetime) -> datetime:
    """Return another minute for a viewing, mostly on the same side of the start."""
    start = diary.start or now
    if pick > 0.85 or viewing.at >= start:
        return start + MINUTE + (now - start) * (1 - pick) * 0.9
    return viewing.at - timedelta(minutes=1 + int(pick * 5000))


DEEDS: dict[Deed, Callable[[Diary, float, datetime], None]] = {
    Deed.WATCH: watch_new,
    Deed.WATCH_AGAIN: watch_again,
    Deed.TWICE_IN_ONE_MINUTE: watch_twice,
    Deed.SEASON: watch_season,
    Deed.BUNCH: watch_bunch,
    Deed.BACKDATE: backdate,
    Deed.BACKDATE_FAR: backdate_far,
    Deed.BACKDATE_SERIES: backdate_series,
    Deed.UNDATED: undated,
    Deed.FUTURE: future,
    Deed.REMOVE: remove,
    Deed.REDATE: redate,
    Deed.CORRECT: correct,
}


def markers(viewings: Collection[Viewing]) -> dict[str, Viewing]:
    """Return each viewing by all the ids it ever had, as posts name them."""
    return {str(play): viewing for viewing in viewings for play in viewing.ids}
