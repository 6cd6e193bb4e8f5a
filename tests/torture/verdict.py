"""After the storm: is each viewing on its site exactly once, and the archive Trakt's history?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.demo.site import SimulatedSite
from tests.torture.books import rows, written
from tests.torture.diary import Diary, Viewing
from tests.torture.posts import count, play_of

# How many offenders of each kind are told with their stories.
TOLD = 4
LIVE = """
    SELECT sighting.key, watch.watched_at FROM sighting
    JOIN watch ON watch.id = sighting.watch_id
    JOIN connection ON connection.id = sighting.connection_id
    JOIN account ON account.id = connection.account_id
    WHERE account.me = ? AND sighting.gone_at IS NULL AND watch.removed_at IS NULL
"""
STORY = """
    SELECT event.at, event.said FROM event JOIN sighting ON sighting.watch_id = event.watch_id
    WHERE sighting.key = ? ORDER BY event.at, event.id
"""
STANDING = """
    SELECT watch.id, watch.standing, watch.watched_at, watch.removed_at, post.state, post.attempts,
        post.trouble, post.url, post.why, post.due_at, sighting.seen_at, sighting.gone_at
    FROM sighting JOIN watch ON watch.id = sighting.watch_id
    LEFT JOIN post ON post.id = watch.post_id WHERE sighting.key = ?
"""


@dataclass(frozen=True, slots=True)
class Offence:
    """One viewing of one person that is not as it must be; ``extra`` posts, negative: lacking.

    ``there`` tells of the posts of it that are on the site.
    """

    me: str
    said: str
    plays: tuple[str, ...]
    extra: int = 0
    there: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found."""

    posts: int
    offences: tuple[Offence, ...]

    @property
    def lost(self) -> int:
        """How many posts are missing."""
        return -sum(one.extra for one in self.offences if one.extra < 0)

    @property
    def doubled(self) -> int:
        """How many posts are too many."""
        return sum(one.extra for one in self.offences if one.extra > 0)

    @property
    def told(self) -> tuple[Offence, ...]:
        """The first few of each person and kind, by what is said of them without its figures."""
        kinds: dict[tuple[str, str], list[Offence]] = {}
        for one in self.offences:
            kinds.setdefault((one.me, re.sub(r"\d", "", one.said)), []).append(one)
        return tuple(one for alike in kinds.values() for one in alike[:TOLD])


def judged(database: str, people: list[tuple[Diary, SimulatedSite]]) -> Verdict:
    """Compare sites and archive with the truth."""
    offences = [
        offence
        for diary, site in people
        for offence in (*of_site(diary, site), *of_archive(database, diary, site))
    ]
    return Verdict(sum(count(site).total() for _, site in people), tuple(offences))


def of_site(diary: Diary, site: SimulatedSite) -> Iterator[Offence]:
    """Yield what is wrong with the posts on a site."""
    there = count(site)
    for viewing, wanted in diary.expected():
        found = sum(there.pop(str(play), 0) for play in viewing.ids)
        if found in wanted:
            continue
        extra = found - wanted[0] if found < wanted[0] else found - wanted[-1]
        said = f"{found} posts instead of {wanted[0]} to {wanted[-1]}, {told(viewing)}"
        plays = tuple(map(str, viewing.ids))
        yield Offence(site.me, said, plays, extra, tuple(posts_of(site, plays)))
    for play, number in there.items():
        yield Offence(site.me, f"{number} posts of a play that never was", (play,), number)


def posts_of(site: SimulatedSite, plays: tuple[str, ...]) -> Iterator[str]:
    """Yield what a site says of its posts of these plays."""
    for post in site.posts:
        if not post.deleted and play_of(post.body) in plays:
            yield f"{post.url} came at {post.created_at}, dated {post.published}"


def of_archive(database: str, diary: Diary, site: SimulatedSite) -> Iterator[Offence]:
    """Yield what the archive holds otherwise than Trakt does."""
    kept = dict(rows(database, LIVE, site.me))
    wanted = {key: written(when) for key, when in diary.plays().items()}
    for key in kept.keys() | wanted.keys():
        if key not in kept:
            yield Offence(site.me, "not in the archive", (key,))
        elif key not in wanted:
            yield Offence(site.me, "in the archive and no longer on Trakt", (key,))
        elif kept[key] != wanted[key]:
            said = f"in the archive at {kept[key]} instead of {wanted[key]}"
            yield Offence(site.me, said, (key,))


def told(viewing: Viewing) -> str:
    """Return a viewing in a few words."""
    dates = " then ".join(f"{when:%Y-%m-%d %H:%M}" for when in viewing.dates)
    return f"watched {dates}{', removed' if viewing.is_removed else ''}"


def stories(database: str, verdict: Verdict) -> Iterator[str]:
    """Yield the lines that tell what became of the first offenders."""
    for offence in verdict.told:
        yield f"{offence.me} plays {', '.join(offence.plays)}: {offence.said}"
        yield from (f"    on the site: {post}" for post in offence.there)
        for play in offence.plays:
            yield from (f"    play {play}: {row}" for row in rows(database, STANDING, play))
            yield from (f"        {row[0]} {row[1]}" for row in rows(database, STORY, play))
    if more := len(verdict.offences) - len(verdict.told):
        yield f"and {more} more"
