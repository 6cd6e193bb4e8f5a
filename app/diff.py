"""What differs between a source's maps and what we know, and what follows, as pure decisions.

Trakt has no list of changes, but it has maps: the minute of every play, by film and episode. They
are compared with our sightings as multisets of (item, minute); only for items that differ is the
history asked, by id. What the history says is the truth, the maps only show where to look:

    maps + newest pages ──compare──► difference ──plan──► history by id ──reconcile──► findings

Nothing is removed on one look: what is absent is asked for by id once more, later.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from app.tables import ConnectionRow
from app.watch import Episode, Stamps, Unreadable, Watch, Work, kind_of

Kind = Literal["movies", "shows"]
KINDS: tuple[Kind, ...] = ("movies", "shows")
# How the items of a kind begin.
PREFIXES: dict[Kind, str] = {"movies": "movie:", "shows": "episode:"}
# A play of an item, to the minute; None: nobody knows when.
Minute = datetime | None
Play = tuple[str, Minute]
# One item of the history, and the same word for word.
Read = tuple[Watch | Unreadable, Any]

# Asking for more than so many films, or shows, costs more than reading the history's pages.
MOST_BY_ID = 50
# More than so many removals at once are more likely a fault of the source.
MOST_ABSENT = 20
# So many of them are asked for by id, to see whether the map or the history is at fault.
SAMPLE = 5


@dataclass(frozen=True, slots=True)
class Watched:
    """What a map says: the minutes of each item's plays, and which show an episode is of.

    ``skipped`` counts entries that are no id or no time.
    """

    plays: Mapping[str, tuple[Minute, ...]]
    shows: Mapping[str, str]
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Scope:
    """What a turn has to read: the newest pages or none, and the maps of these kinds."""

    pages: bool
    kinds: tuple[Kind, ...]

    @property
    def is_check(self) -> bool:
        """Whether everything is compared."""
        return self.kinds == KINDS


@dataclass(frozen=True, slots=True)
class Known:
    """A sighting, as far as a comparison needs it."""

    id: int
    watch_id: int
    key: str
    item: str | None
    show: str | None
    at: Minute
    confirm_at: datetime | None = None
    is_gone: bool = False
    is_readable: bool = True

    @property
    def play(self) -> Play | None:
        """What the maps know it by."""
        return (self.item, self.at) if self.item else None

    @property
    def is_counted(self) -> bool:
        """Whether it is neither gone nor doubted."""
        return not self.is_gone and self.confirm_at is None


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """What the history can be asked for by id: ``movies``, ``shows`` or ``episodes``."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Items of which the source tells plays that we do not know, and our plays it does not tell."""

    unknown: frozenset[str] = frozenset()
    missing: Counter[Play] = field(default_factory=Counter)

    @property
    def lacking(self) -> set[str]:
        """The items of the missing plays."""
        return {item for item, _ in self.missing}

    @property
    def items(self) -> frozenset[str]:
        """All items that differ."""
        return self.unknown.union(self.lacking)

    def without(self, items: Collection[str]) -> "Difference":
        """Return the difference in all other items."""
        missing = {play: n for play, n in self.missing.items() if play[0] not in items}
        return Difference(self.unknown.difference(items), Counter(missing))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask for by id, and how far the answers may be believed.

    ``withheld``: items whose new plays may be corrected dates, which only a later turn can tell.
    ``many``: so many plays are missing that only a sample of their items is asked for; 0: all are.
    ``anew``: too much is unknown, all pages are to be read. ``left``: the next turn goes on.
    """

    targets: frozenset[Target] = frozenset()
    missing: Counter[Play] = field(default_factory=Counter)
    withheld: frozenset[str] = frozenset()
    many: int = 0
    anew: bool = False
    left: bool = False
    believes: bool = False


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of a comparison, and the newest pages of the history.

    ``ours`` are the plays that are known and not doubted, ``known`` our sightings of what is on
    the ``newest`` pages, ``shows`` the show of each episode, ``doubted`` the items of all plays in
    doubt.
    """

    theirs: Watched
    ours: Counter[Play]
    shows: Mapping[str, str]
    newest: Mapping[str, Read]
    known: Sequence[Known]
    doubted: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """Where the sides differ, apart from what is odd and known to be, and what to ask for."""

    difference: Difference
    odd: frozenset[str]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Findings:
    """What a turn has found out.

    ``moved``: a play that vanished, and the new play of the same item that stands for it.
    ``corrected``: a known play that is told with another time, under another item, or readably.
    ``back``: was missing or gone and is told again. ``absent``: not told, for the first time;
    ``gone``: for the second. ``unbelieved`` counts the plays that were too many to believe.
    """

    added: tuple[Read, ...] = ()
    moved: tuple[tuple[Known, Read], ...] = ()
    corrected: tuple[tuple[Known, Read], ...] = ()
    back: tuple[Known, ...] = ()
    absent: tuple[Known, ...] = ()
    gone: tuple[Known, ...] = ()
    unbelieved: int = 0


def scope(row: ConnectionRow, stamps: Stamps, now: datetime, daily: timedelta) -> Scope:
    """Decide what a turn has to read: what changed, or everything where a day has passed.

    Nothing is compared before the whole history was read once.
    """
    moved: list[Kind] = []
    if row.movies_stamp != stamps.movies:
        moved.append("movies")
    if row.episodes_stamp != stamps.episodes:
        moved.append("shows")
    is_whole = row.archive_page is None
    is_asked_for = row.diff_due_at is not None and row.diff_due_at <= now
    if is_whole and (is_asked_for or is_over(row.checked_at, now, daily)):
        return Scope(pages=True, kinds=KINDS)
    pages = bool(moved) or is_over(row.looked_at, now, daily)
    return Scope(pages=pages, kinds=tuple(moved) if is_whole else ())


def is_over(since: datetime | None, now: datetime, span: timedelta) -> bool:
    """Tell whether ``span`` has passed; it has where nothing ever happened."""
    return since is None or now - since >= span


def item_of(work: Work) -> str | None:
    """Return what the maps know a work by, ``movie:481``; None where it has no Trakt id."""
    return f"{kind_of(work)}:{work.ids.trakt}" if work.ids.trakt else None


def show_of(work: Work) -> str | None:
    """Return the Trakt id of the show that an episode is of."""
    trakt = work.show.ids.trakt if isinstance(work, Episode) else None
    return str(trakt) if trakt else None


def minute(when: datetime | None) -> Minute:
    """Return the minute of a play, as precise as the maps are."""
    return when.replace(second=0, microsecond=0) if when else None


def play_of(item: Watch | Unreadable) -> Play | None:
    """Return the play that an item of the history tells of, None where it names none."""
    if isinstance(item, Unreadable) or (named := item_of(item.work)) is None:
        return None
    return named, minute(item.watched_at)


def plays_of(read: Iterable[Read]) -> Counter[Play]:
    """Return the plays that items of the history tell of."""
    return Counter(play for item, _ in read if (play := play_of(item)))


def target_of(item: str, show: str | None) -> Target:
    """Return by what the history is asked for an item: an episode by its show."""
    kind, _, key = item.partition(":")
    if kind == "movie":
        return Target("movies", key)
    return Target("shows", show) if show else Target("episodes", key)


def by_key(read: Iterable[Read]) -> dict[str, Read]:
    """Return items of the history by the ids of their plays, each once."""
    return {item.key: (item, payload) for item, payload in read}


def judge(sides: Sides, row: ConnectionRow, now: datetime, daily: timedelta) -> Judged:
    """Compare both sides and decide what to ask for by id."""
    difference = compare(sides)
    odd = odd_items(row.oddities or {}, sides.theirs, now, daily)
    known = {one.key for one in sides.known}
    fresh = [read for key, read in sides.newest.items() if key not in known]
    asked = plan(
        difference.without(odd),
        sides.shows,
        items_of(fresh),
        unclear=unclear(sides, fresh),
        believes=row.believes_absences,
    )
    return Judged(difference.without(odd), frozenset(odd & difference.items), asked)


def unclear(sides: Sides, fresh: Iterable[Read]) -> set[str]:
    """Return the items of new plays that may stand for older ones which nothing shows missing.

    A map that does not show a new play yet may still show one whose date was corrected to that;
    and a play in doubt is not compared.
    """
    times, told = sides.theirs.plays, plays_of(fresh)
    late = {item for item, at in told if at not in times.get(item, ())}
    lagging = late & {item for item, _ in sides.ours} if late else late
    return lagging.union(item for item, _ in told if item in sides.doubted)


def compare(sides: Sides) -> Difference:
    """Return where a map differs from what is known.

    What the history itself shows on its newest pages need not be in the map, which may lag.
    """
    theirs = Counter((item, at) for item, times in sides.theirs.plays.items() for at in times)
    theirs -= plays_of(sides.newest.values())
    ours = sides.ours - Counter(one.play for one in sides.known if one.play and one.is_counted)
    return Difference(frozenset(item for item, _ in theirs - ours), ours - theirs)


def plan(
    difference: Difference,
    shows: Mapping[str, str],
    told: Collection[str],
    *,
    unclear: Collection[str],
    believes: bool,
) -> Plan:
    """Decide what to ask for by id; ``told`` are the items of new plays on the newest pages.

    Items with both missing and new plays come first, and the ``unclear`` ones: only asking by id
    shows corrected dates. ``believes``: a person has said that what is missing is gone indeed.
    """
    lacking = difference.lacking
    mixed = (lacking & difference.unknown.union(told)).union(unclear)
    absent = targets(lacking - mixed, shows)
    number = sum(n for (item, _), n in difference.missing.items() if item not in mixed)
    many = 0 if believes or number <= MOST_ABSENT else number
    added = targets(difference.unknown - mixed, shows)
    kinds = Counter(target.kind for target in added)
    anew = any(n > MOST_BY_ID for n in kinds.values())
    wanted = [*targets(mixed, shows), *(absent[:SAMPLE] if many else absent)]
    wanted = list(dict.fromkeys([*wanted, *([] if anew else added)]))
    asked = frozenset(wanted[:MOST_BY_ID])
    left = len(wanted) > MOST_BY_ID
    return Plan(
        targets=asked,
        missing=difference.missing,
        withheld=frozenset(i for i in mixed if target_of(i, shows.get(i)) not in asked),
        many=many,
        anew=anew and not left,
        left=left,
        believes=believes,
    )


def unasked(read: Mapping[str, Read], asked: Collection[Target]) -> dict[str, Read]:
    """Return what was read of items that were not asked for by id after it.

    The later answer counts alone: a date may be corrected in between, and both would be told.
    """
    return {key: one for key, one in read.items() if target_in(one[0]) not in asked}


def target_in(item: Watch | Unreadable) -> Target | None:
    """Return what the history is asked for about an item of it, None where it names nothing."""
    if isinstance(item, Unreadable) or (named := item_of(item.work)) is None:
        return None
    return target_of(named, show_of(item.work))


def to_post(
    told: Mapping[str, Read], known: Iterable[Known], start_at: datetime
) -> dict[str, Target]:
    """Return the items of plays that are new and would be posted, and what to ask for them by."""
    ours = {one.key for one in known}
    return {
        item: target_of(item, show_of(watch.work))
        for key, (watch, _) in told.items()
        if key not in ours and isinstance(watch, Watch) and (item := item_of(watch.work))
        if watch.watched_at and watch.watched_at >= start_at
    }


def targets(items: Iterable[str], shows: Mapping[str, str]) -> list[Target]:
    """Return what to ask for to learn about ``items``, each once."""
    return sorted({target_of(item, shows.get(item)) for item in items})


def reconcile(
    told: Mapping[str, Read], known: Sequence[Known], plan: Plan, now: datetime
) -> Findings:
    """Decide what follows from all that the history has told, by the id of each play.

    ``known`` are our sightings of these ids, and those of all that ``plan`` asked for.
    """
    ours = {one.key: one for one in known}
    fresh = [read for key, read in told.items() if key not in ours]
    unseen = [one for one in known if one.key not in told and is_asked_for(one, plan)]
    # An id that a new one of the same item and minute stands for was not removed either.
    new = plays_of(fresh)
    moved = paired([one for one in unseen if is_missed(one, plan) or one.play in new], fresh)
    taken = {read[0].key for _, read in moved}
    moved_ids = {one.id for one, _ in moved}
    vanished = [one for one in unseen if is_missed(one, plan) and one.id not in moved_ids]
    absent = [one for one in vanished if one.confirm_at is None]
    believed, unbelieved = credible(absent, plan, told, known)
    added = [read for read in fresh if read[0].key not in taken]
    doubted = contested([one for one in unseen if one.id not in moved_ids], added, plan)
    withheld = plan.withheld.union(one.item or "" for one in doubted)
    return Findings(
        added=tuple(read for read in added if not is_withheld(read, withheld)),
        moved=tuple(moved),
        corrected=tuple((ours[key], told[key]) for key in told if is_corrected(ours, told, key)),
        back=tuple(one for one in known if one.key in told and (one.confirm_at or one.is_gone)),
        absent=(*believed, *doubted),
        gone=tuple(one for one in vanished if one.confirm_at and one.confirm_at <= now),
        unbelieved=unbelieved,
    )


def is_asked_for(one: Known, plan: Plan) -> bool:
    """Tell whether the history was asked for all plays of the item of a sighting."""
    return (
        one.item is not None and not one.is_gone and target_of(one.item, one.show) in plan.targets
    )


def is_missed(one: Known, plan: Plan) -> bool:
    """Tell whether a sighting is in doubt, or the map does not show it."""
    return one.confirm_at is not None or one.play in plan.missing


def contested(unseen: Iterable[Known], fresh: Iterable[Read], plan: Plan) -> list[Known]:
    """Return the plays that a map shows, the history does not, and a new one may stand for.

    The map may lag behind a corrected date, or the answer may lack a play: the second look tells.
    """
    items = items_of(fresh)
    return [one for one in unseen if one.item in items and not is_missed(one, plan)]


def is_withheld(read: Read, withheld: Collection[str]) -> bool:
    """Tell whether a new play may be a corrected date that a later turn will tell."""
    play = play_of(read[0])
    return play is not None and play[0] in withheld


def is_corrected(ours: Mapping[str, Known], told: Mapping[str, Read], key: str) -> bool:
    """Tell whether a known play is told otherwise than we know it."""
    one, item = ours.get(key), told[key][0]
    if one is None or isinstance(item, Unreadable):
        return False
    now_told = (item_of(item.work), show_of(item.work), minute(item.watched_at))
    return not one.is_readable or now_told != (one.item, one.show, one.at)


def paired(vanished: Iterable[Known], fresh: Iterable[Read]) -> list[tuple[Known, Read]]:
    """Return which new play stands for which vanished one: of one item, the nearest in time."""
    by_item: dict[str, list[Known]] = {}
    for one in vanished:
        by_item.setdefault(one.item or "", []).append(one)
    pairs = []
    for read in fresh:
        play = play_of(read[0])
        if play and (candidates := by_item.get(play[0])):
            nearest = min(candidates, key=lambda one: distance(one.at, play[1]))
            candidates.remove(nearest)
            pairs.append((nearest, read))
    return pairs


def distance(one: Minute, other: Minute) -> timedelta:
    """Return how far two minutes are from each other; an unknown one is far from all others."""
    if one is None or other is None:
        return timedelta() if one is other else timedelta.max
    return abs(one - other)


def credible(
    absent: list[Known], plan: Plan, told: Mapping[str, Read], known: Sequence[Known]
) -> tuple[list[Known], int]:
    """Return the absences to believe for now, and how many were too many to believe."""
    if plan.many:
        # Where the history shows one of the sample, the map is at fault, and nothing is missing.
        is_shown = any(one.key in told and one.play in plan.missing for one in known)
        return [], 0 if is_shown else plan.many
    if len(absent) > MOST_ABSENT and not plan.believes:
        return [], len(absent)
    return absent, 0


def items_of(read: Iterable[Read]) -> set[str]:
    """Return the items that parts of the history tell of."""
    return {item for item, _ in plays_of(read)}


def asked_about(items: Iterable[str], shows: Mapping[str, str], plan: Plan) -> list[str]:
    """Return those of ``items`` whose history is asked for."""
    return [item for item in items if target_of(item, shows.get(item)) in plan.targets]


def odd_items(
    remembered: Mapping[str, Any], theirs: Watched, now: datetime, daily: timedelta
) -> set[str]:
    """Return the items that need no asking: their history was read, and their entry is the same.

    After a day they are asked for again.
    """
    return {
        item
        for item, said in remembered.items()
        if said["times"] == texts(theirs.plays.get(item, ()))
        and not is_over(datetime.fromisoformat(said["at"]), now, daily)
    }


def oddities(
    before: Mapping[str, Any],
    sides: Sides,
    judged: Judged,
    told: Mapping[str, Read],
    now: datetime,
) -> dict[str, Any]:
    """Return the items to be remembered, whose map and history say different things.

    ``before`` were remembered before, and ``told`` is all that the history has shown in this turn.
    What is to be found on all pages of the history counts too: whatever is not there is odd.
    """
    shown: dict[str, Counter[Minute]] = {}
    for (item, at), number in plays_of(told.values()).items():
        shown.setdefault(item, Counter())[at] = number
    differing, plan = judged.difference.items, judged.plan
    asked = {i for i in differing if target_of(i, sides.shows.get(i)) in plan.targets}
    times = {item: sides.theirs.plays.get(item, ()) for item in differing}
    odd = {item for item in asked if Counter(times[item]) != shown.get(item, Counter())}
    paged = judged.difference.unknown - asked if plan.anew else set()
    kept = {item: said for item, said in before.items() if item in judged.odd}
    return kept | {
        item: {"times": texts(times[item]), "at": now.isoformat()} for item in sorted(odd | paged)
    }


def texts(times: Iterable[Minute]) -> list[str]:
    """Return minutes as text, in one order; an unknown one is empty."""
    return sorted(at.isoformat() if at else "" for at in times)


def others(remembered: Mapping[str, Any] | None, kinds: Collection[Kind]) -> dict[str, Any]:
    """Return what is remembered of items of other kinds than these."""
    compared = tuple(PREFIXES[kind] for kind in kinds)
    return {i: said for i, said in (remembered or {}).items() if not i.startswith(compared)}
