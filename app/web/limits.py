"""How often somebody may ask: decisions without side effects, and a table that cannot grow.

Each limit is a bucket of ``burst`` requests that fills again by one every so often. All that
need be known of a bucket is when it will be full again; once it is, it can be forgotten.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests at once, and from then on one more ``every`` so often."""

    name: str
    burst: int
    every: timedelta


# What costs us a page, what changes something, and what makes us ask another server. Nobody who
# reads and clicks comes near them, and whoever does waits for seconds, never for hours.
LOOK = Rate("look", 200, timedelta(seconds=0.1))
ACT = Rate("act", 60, timedelta(seconds=1))
ASK = Rate("ask", 30, timedelta(seconds=5))
STATIC = Rate("static", 1000, timedelta(seconds=0.01))
# Each poster is up to 1 MiB from the database, and a page of a website may show a hundred.
POSTER = Rate("poster", 200, timedelta(seconds=0.1))
# Here nobody is signed in, so that no session is looked up.
FOR_ALL = frozenset({STATIC, POSTER})
# Of everybody together. It only spares us work: the right code is never refused because of it.
WRONG_CODES = Rate("wrong codes", 100, timedelta(seconds=30))
# How often the log tells that somebody asks too often: a flood shall not fill the disk as well.
TOLD = Rate("told", 1, timedelta(minutes=1))

ASKING = frozenset(
    {
        "/signin",
        "/callback",
        "/trakt/callback",
        "/trakt/connect",
        "/poll",
        "/check",
        "/settings/notifications/test",
        "/settings/site/ask",
        "/settings/site/test",
        "/settings/site/test/delete",
    }
)
# An attacker may own more addresses than we can remember. Forgetting the one that was silent
# longest gives nobody more than such a fresh address gives them anyway.
MOST_BUCKETS = 10_000


def rate_of(method: str, path: str) -> Rate:
    """Return the limit that a request counts towards."""
    # A platform that is refused its look at our health would end us: what a flood is for.
    if path.startswith("/static/") or path == "/healthz":
        return STATIC
    if path.startswith("/posters/"):
        return POSTER
    if path in ASKING:
        return ASK
    if method in {"GET", "HEAD"}:
        return LOOK
    return ASK if path.endswith("/look") else ACT


def taken(rate: Rate, full_at: datetime | None, now: datetime) -> tuple[datetime, timedelta]:
    """Take one request out of a bucket; return when it is full again, and how long to wait.

    No wait: the request may pass. Otherwise nothing was taken, so that trying too early does not
    make the wait longer. A clock that was set back does not either.
    """
    room = rate.burst * rate.every
    full_at = min(max(full_at or now, now), now + room)
    after = full_at + rate.every
    wait = after - now - room
    return (full_at, wait) if wait > timedelta() else (after, timedelta())


@dataclass(slots=True)
class Limits:
    """The buckets that are not full, those used last at the end."""

    most: int = MOST_BUCKETS
    buckets: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def wait(self, rate: Rate, who: str, now: datetime) -> timedelta:
        """Count a request of ``who``; return how long it must wait, nothing if it may pass."""
        key = (rate.name, who)
        full_at, wait = taken(rate, self.buckets.pop(key, None), now)
        self.buckets[key] = full_at
        if len(self.buckets) > self.most:
            del self.buckets[next(iter(self.buckets))]
        return wait
