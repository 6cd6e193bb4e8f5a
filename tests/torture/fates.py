"""What may happen to one request of the bridge, or to the bridge while it asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum


class Where(StrEnum):
    """A kind of request; the bridge's lives count each kind on its own."""

    CREATE = "create"
    LOOK = "look"
    SITE_TOKEN = "site-token"
    TRAKT = "trakt"
    TRAKT_TOKEN = "trakt-token"


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection breaks, before or after what was asked has been done."""

    done: bool


@dataclass(frozen=True, slots=True)
class Half:
    """What was asked is done, and the connection breaks in the middle of the answer."""


@dataclass(frozen=True, slots=True)
class Truncated:
    """What was asked is done, and half of the answer comes as if it were the whole."""


@dataclass(frozen=True, slots=True)
class Held:
    """No answer comes before the bridge gives up."""

    done: bool


@dataclass(frozen=True, slots=True)
class Late:
    """The connection breaks; what was asked is done some minutes later."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class Instead:
    """Another answer than the true one; ``until`` adds a Retry-After that is a date."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    done: bool = False
    until: timedelta | None = None

    def named(self, now: datetime) -> dict[str, str]:
        """Return the headers as they are sent at ``now``; any server names the time."""
        when = {} if self.until is None else {"Retry-After": http_date(now + self.until)}
        return {"Date": http_date(now), **self.headers, **when}


@dataclass(frozen=True, slots=True)
class Killed:
    """The bridge dies: when its request has arrived, is done, half or wholly answered."""

    when: str


Fate = Cut | Half | Truncated | Held | Late | Instead | Killed

MOMENTS = ("arrived", "done", "answering", "answered")
HTML = {"Content-Type": "text/html; charset=utf-8"}
CHALLENGE = "<!DOCTYPE html><title>Just a moment</title><h1>One moment, please</h1>"
JSON = {"Content-Type": "application/json"}
GARBAGE = "{]\x01 this is no answer"


def http_date(when: datetime) -> str:
    """Return ``when`` as HTTP writes it."""
    return format_datetime(when, usegmt=True)


def is_lossy(fate: Fate) -> bool:
    """Tell whether a create that meets this fate is not done, and the bridge cannot know."""
    match fate:
        case Cut(done=False) | Held(done=False) | Late() | Killed():
            return True
        case Instead(status=status, done=False):
            return status == 200 or (status >= 500 and status != 503) or is_bare_503(fate)
        case _:
            return False


def is_bare_503(fate: Instead) -> bool:
    """Tell whether this is a 503 that names no time, so that anything may have happened."""
    return fate.status == 503 and fate.until is None and "Retry-After" not in fate.headers


BUSY = (
    Instead(429, {"Retry-After": "240"}),
    Instead(429, until=timedelta(minutes=9)),
    Instead(429, {**HTML}, CHALLENGE),
    Instead(503, {"Retry-After": "90"}),
    Instead(503, until=timedelta(minutes=4)),
)
BROKEN = (
    Cut(done=False),
    Cut(done=True),
    Half(),
    Held(done=False),
    Held(done=True),
    Instead(500),
    Instead(500, HTML, CHALLENGE, done=True),
    Instead(502, HTML, CHALLENGE),
    Instead(503),
)
# What each kind of request may meet besides a kill.
FATES: Mapping[Where, tuple[Fate, ...]] = {
    Where.CREATE: (
        *BUSY,
        *BROKEN,
        Late(timedelta(minutes=8)),
        Instead(200, HTML, CHALLENGE),
        Instead(200, HTML, CHALLENGE, done=True),
        Instead(200, JSON, GARBAGE, done=True),
        Instead(201, done=True),
        Instead(202, done=True),
        Instead(401, JSON, '{"error": "invalid_token"}'),
    ),
    Where.LOOK: (
        *BUSY,
        *BROKEN,
        Truncated(),
        Instead(200, HTML, CHALLENGE),
        Instead(200, JSON, '{"items": []}'),
        Instead(400, JSON, '{"error": "invalid_request"}'),
    ),
    # Nobody waits for a token endpoint as long as for the others, so none is held.
    Where.SITE_TOKEN: (Cut(done=False), Cut(done=True), Half(), Instead(500), Instead(503)),
    Where.TRAKT: (
        *BUSY,
        *BROKEN,
        Truncated(),
        Instead(504, HTML, CHALLENGE),
        Instead(200, HTML, CHALLENGE),
    ),
    Where.TRAKT_TOKEN: (
        Cut(done=False),
        Cut(done=True),
        Half(),
        Instead(500),
        Instead(504, HTML, CHALLENGE),
        Instead(429, {"Retry-After": "60"}),
        Instead(200, HTML, CHALLENGE),
    ),
}
