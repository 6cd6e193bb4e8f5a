"""What happens in each life of the bridge, drawn from the seed and the life's number alone."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from random import Random

from app.demo.trakt_history import BadDays
from tests.torture.fates import FATES, MOMENTS, Fate, Killed, Where


class Deed(StrEnum):
    """What a person does on Trakt; most of it makes, moves or takes away plays."""

    WATCH = "watch"
    WATCH_AGAIN = "watch-again"
    TWICE_IN_ONE_MINUTE = "twice-in-one-minute"
    SEASON = "season"
    BUNCH = "bunch"
    BACKDATE = "backdate"
    BACKDATE_FAR = "backdate-far"
    BACKDATE_SERIES = "backdate-series"
    UNDATED = "undated"
    FUTURE = "future"
    REMOVE = "remove"
    REDATE = "redate"
    CORRECT = "correct"


WEIGHTS = {
    Deed.WATCH: 30,
    Deed.WATCH_AGAIN: 8,
    Deed.TWICE_IN_ONE_MINUTE: 4,
    Deed.SEASON: 2,
    Deed.BUNCH: 1,
    Deed.BACKDATE: 8,
    Deed.BACKDATE_FAR: 4,
    Deed.BACKDATE_SERIES: 1,
    Deed.UNDATED: 1,
    Deed.FUTURE: 2,
    Deed.REMOVE: 4,
    Deed.REDATE: 4,
    Deed.CORRECT: 4,
}


@dataclass(frozen=True, slots=True)
class Form:
    """How long a storm is.

    It goes on until there are so many ``kills`` and ``posts``, for at most ``most_lives``.
    ``births`` come before it, while the database is made. ``old_plays`` are those each person
    has watched before connecting; the last person has the most and does something only in every
    ``busy_every``-th life. Every ``copy_every`` lives an old copy of the database is put back,
    which was taken some lives before, and every ``downtime_every`` lives nobody runs the bridge
    for a while. The bridge is given ``longest_beat`` seconds for what one beat brings. With
    ``workers``, on PostgreSQL alone, the work is theirs, handed out as jobs if ``with_jobs``.
    """

    name: str
    kills: int
    most_lives: int
    births: int
    old_plays: tuple[int, ...]
    posts: int
    most_acts: int
    longest_beat: float
    busy_every: int
    copy_every: int
    downtime_every: int
    database: str = "sqlite"
    workers: int = 0
    with_jobs: bool = False


SHORT = Form(
    name="short",
    kills=27,
    most_lives=60,
    births=3,
    old_plays=(300, 40, 120, 40, 600),
    posts=60,
    most_acts=4,
    longest_beat=1.2,
    busy_every=3,
    copy_every=12,
    downtime_every=10,
)
# Where several processes share the work, each life ends with the kill of all of them.
BRIEF = Form(
    name="brief",
    kills=32,
    most_lives=40,
    births=1,
    old_plays=(40, 10, 20, 10, 120),
    posts=15,
    most_acts=4,
    longest_beat=4,
    busy_every=3,
    copy_every=8,
    downtime_every=10,
)
LONG = Form(
    name="long",
    kills=1000,
    most_lives=1600,
    births=20,
    old_plays=(3000, 1500, 1500, 1500, 92_000),
    posts=5000,
    most_acts=6,
    longest_beat=2.5,
    busy_every=25,
    copy_every=40,
    downtime_every=30,
)


@dataclass(frozen=True, slots=True)
class Act:
    """One deed of one person; ``pick``, from 0 to 1, chooses what it is done with."""

    who: int
    deed: Deed
    pick: float


@dataclass(frozen=True, slots=True)
class Beat:
    """Some deeds, then time passes: the world's by ``step``, the bridge's is ``wrong`` by more.

    ``checks`` is the person who then presses “Check now”, None if nobody does.
    """

    acts: tuple[Act, ...]
    step: timedelta
    wrong: timedelta
    checks: int | None


class Part(StrEnum):
    """What a process does: all, as ``serve`` does, or the one half of it."""

    ALL = "all"
    PAGES = "pages"
    WORK = "work"
    JOBS = "jobs"


class Point(StrEnum):
    """What the dying process counts."""

    BEFORE_COMMIT = "before-commit"
    AFTER_COMMIT = "after-commit"
    STATEMENT = "statement"


@dataclass(frozen=True, slots=True)
class Death:
    """The bridge kills itself at the ``nth`` such point of its life."""

    point: Point
    nth: int


@dataclass(frozen=True, slots=True)
class Meeting:
    """The ``nth`` request of its kind, in one life, meets a fate."""

    where: Where
    nth: int
    fate: Fate


@dataclass(frozen=True, slots=True)
class Life:
    """All that happens between one start of the bridge and its end, and before that start.

    ``weather`` is how Trakt tells the history of the person ``under_it``. ``visits`` is the
    person who looks at the dashboard first. A life that nothing has ended before ends by
    SIGKILL, or by SIGTERM where it ``is_asked_to_end``.
    """

    number: int
    weather: BadDays
    under_it: int
    downtime: timedelta
    takes_copy: bool
    puts_copy_back: bool
    death: Death | None
    meetings: tuple[Meeting, ...]
    beats: tuple[Beat, ...]
    visits: int
    is_asked_to_end: bool


KINDS = (Where.CREATE, Where.LOOK, Where.SITE_TOKEN, Where.TRAKT, Where.TRAKT_TOKEN)
OFTEN = (10, 4, 2, 6, 2)
# A life has about so many requests of each kind; each start begins with a few of most kinds.
MOST = {
    Where.CREATE: 5,
    Where.LOOK: 15,
    Where.SITE_TOKEN: 2,
    Where.TRAKT: 30,
    Where.TRAKT_TOKEN: 4,
}
NO_TIME = timedelta()
# The ways in which Trakt's lists are wrong now and then.
WEATHER = (
    BadDays(uncounted=3),
    BadDays(uncounted=-40),
    BadDays(shuffled_ties=True),
    BadDays(coarse_stamps=True),
    BadDays(novelties=True),
    BadDays(empty_maps=True),
    BadDays(shortened_maps=True),
    BadDays(stale_maps=4),
)


def birth(seed: str, number: int) -> Life:
    """Return a life that ends while the database is made, or soon after."""
    random = rng(seed, f"birth {number}")
    death = Death(random.choice(list(Point)), random.randint(1, 4))
    if death.point is Point.STATEMENT:
        death = Death(Point.STATEMENT, random.randint(1, 90))
    return Life(
        number=number,
        weather=BadDays(),
        under_it=0,
        downtime=NO_TIME,
        takes_copy=False,
        puts_copy_back=False,
        death=death,
        meetings=(),
        beats=(),
        visits=0,
        is_asked_to_end=False,
    )


def life(seed: str, number: int, form: Form) -> Life:
    """Return what happens in the life of this number, from 1."""
    random = rng(seed, f"life {number}")
    people = len(form.old_plays)
    is_asked = random.random() < 0.06
    turn = number % form.copy_every
    return Life(
        number=number,
        weather=random.choice(WEATHER) if random.random() < 0.3 else BadDays(),
        under_it=random.randrange(people),
        downtime=downtime(random) if number % form.downtime_every == 5 else NO_TIME,
        takes_copy=turn == 2,
        puts_copy_back=turn == 2 + min(6, form.copy_every // 2),
        death=death(random) if not is_asked and random.random() < 0.4 else None,
        meetings=meetings(random, dies=not is_asked),
        beats=tuple(beat(random, form, number) for _ in range(random.choice((1, 2, 2, 3)))),
        visits=number % people,
        is_asked_to_end=is_asked,
    )


def rng(seed: str, what: str) -> Random:
    """Return the dice of one life."""
    return Random(f"{seed} {what}")  # noqa: S311 - dice, no secret


def downtime(random: Random) -> timedelta:
    """Return how long nobody runs the bridge: hours or days."""
    return timedelta(minutes=random.choice((90, 300, 1500, 7000)) * random.uniform(0.7, 1.3))


def death(random: Random) -> Death:
    """Return a point at which the process dies by its own hand."""
    point = random.choices(list(Point), (4, 4, 1))[0]
    most = 600 if point is Point.STATEMENT else 100
    # Half of them soon after the start, the others wherever the life has come to.
    return Death(point, 1 + int(most * random.random() ** 2))


def meetings(random: Random, *, dies: bool) -> tuple[Meeting, ...]:
    """Return what the requests of one life meet; one of them may be a kill."""
    met = [fault(random) for _ in range(random.choice((0, 2, 3, 4, 6)))]
    if dies and random.random() < 0.6:
        where = random.choices(KINDS, OFTEN)[0]
        met.append(Meeting(where, nth(random, where), Killed(random.choice(MOMENTS))))
    return tuple(met)


def fault(random: Random) -> Meeting:
    """Return one fault."""
    where = random.choices(KINDS, OFTEN)[0]
    return Meeting(where, nth(random, where), random.choice(FATES[where]))


def nth(random: Random, where: Where) -> int:
    """Return which request of its kind."""
    return random.randint(1, MOST[where])


def beat(random: Random, form: Form, number: int) -> Beat:
    """Return what is done and how much time passes; a rest of a few minutes is most usual."""
    acts = tuple(act(random, form, number) for _ in range(random.randint(0, form.most_acts)))
    minutes = random.choice((2, 5, 10, 20, 35, 35, 50))
    return Beat(
        acts=acts,
        step=timedelta(minutes=minutes * random.uniform(0.8, 1.2)),
        wrong=wrong(random),
        checks=random.randrange(len(form.old_plays)) if random.random() < 0.25 else None,
    )


def act(random: Random, form: Form, number: int) -> Act:
    """Return one deed of somebody; the person with the long history is seldom busy."""
    people = len(form.old_plays) - (number % form.busy_every != 0)
    deed = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    return Act(random.randrange(people), deed, random.random())


def wrong(random: Random) -> timedelta:
    """Return by how much the bridge's clock is wrong: mostly by nothing."""
    if random.random() > 0.08:
        return NO_TIME
    return timedelta(minutes=random.choice((-20, -7, 45, 300, 3000)))
