"""The life of one post on its way to a website, as decisions without side effects.

    watch ──► held ──► queued ──► sending ──► published
                          ▲          ├──────► refused      the site said no: the person must act
                          └── busy ──┤
                                     └──────► unsure       sent, answer lost: never sent blindly

``skipped`` is where a person puts a post that must not be sent. Micropub has no idempotency key,
so "exactly once" is ours to keep: nothing here leads from ``unsure`` back to ``queued`` without
a person's word or a look at the site.
"""

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from app.errors import SiteBusy, SiteError, SiteLocked, SiteMoved, SiteRefused, SiteSilent

# The whole request may take this long: WordPress fetches pictures while it answers.
SEND_DEADLINE = timedelta(seconds=90)
# Looking for an endpoint that has moved may take as long.
SEARCH_DEADLINE = timedelta(seconds=60)
# A worker that dies leaves its post in ``sending``. Nobody else may judge it before a healthy
# worker would certainly have given up: it may renew the token and send a second time, and look
# for the endpoint.
LEASE = 2 * SEND_DEADLINE + SEARCH_DEADLINE + timedelta(minutes=2)

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)
# A play dated a little ahead is a clock that runs fast; one dated far ahead waits for its time.
FUTURE = timedelta(hours=1)


class State(StrEnum):
    """Where a post stands."""

    HELD = "held"
    QUEUED = "queued"
    SENDING = "sending"
    PUBLISHED = "published"
    REFUSED = "refused"
    UNSURE = "unsure"
    SKIPPED = "skipped"


class Standing(StrEnum):
    """Where a watch stands; with ``posted``, its post tells the rest."""

    POSTED = "posted"
    ARCHIVED = "archived"
    UNDATED = "undated"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Post:
    """What the site shows, or shall show, of one watch.

    ``due_at`` is when something is to be done next: sending when queued, releasing when held,
    the end of the lease when sending. ``attempts`` counts those begun.
    """

    state: State
    due_at: datetime
    attempts: int = 0
    url: str | None = None
    trouble: str | None = None
    rediscovered: bool = False


def planned(
    watched_at: datetime | None, start_at: datetime, now: datetime
) -> tuple[Standing, Post | None]:
    """Decide what becomes of a watch that has just become known."""
    if watched_at is None:
        return Standing.UNDATED, None
    if watched_at < start_at:
        return Standing.ARCHIVED, None
    if watched_at > now + FUTURE:
        trouble = (
            f"Dated {watched_at:%d %B %Y %H:%M} UTC, which is still to come; waits until then."
        )
        return Standing.POSTED, Post(State.HELD, due_at=watched_at, trouble=trouble)
    return Standing.POSTED, Post(State.QUEUED, due_at=now)


def released(post: Post, now: datetime) -> Post:
    """Return a held post as queued."""
    return replace(post, state=State.QUEUED, due_at=now, trouble=None)


def begun(post: Post, now: datetime) -> Post:
    """Return the post as it must be saved before the request leaves."""
    return replace(post, state=State.SENDING, due_at=now + LEASE, attempts=post.attempts + 1)


def published(post: Post, url: str | None, now: datetime) -> Post:
    """Return the post after the site took it; ``url`` is None when it did not say where."""
    trouble = None if url else "The site took the post but did not say where it is."
    return replace(post, state=State.PUBLISHED, due_at=now, url=url, trouble=trouble)


def failed(post: Post, error: SiteError, now: datetime) -> Post:
    """Decide what becomes of a post whose attempt ended in ``error``."""
    after = replace(post, trouble=str(error))
    match error:
        case SiteBusy(retry_after=asked):
            wait = max(asked or timedelta(), backoff(after.attempts))
            return replace(after, state=State.QUEUED, due_at=now + wait)
        case SiteLocked():
            # It leaves again as soon as the person has signed in again.
            return replace(after, state=State.QUEUED, due_at=now)
        case SiteMoved() if not post.rediscovered:
            return replace(after, state=State.QUEUED, due_at=now, rediscovered=True)
        case SiteMoved() | SiteRefused():
            return replace(after, state=State.REFUSED, due_at=now)
        case SiteSilent():
            return replace(after, state=State.UNSURE, due_at=now)
        case _:
            raise error


def abandoned(post: Post, now: datetime) -> Post:
    """Return a post whose worker died while sending: nobody knows whether it arrived."""
    return failed(post, SiteSilent("The bridge stopped while it was sending this post."), now)


def backoff(attempts: int) -> timedelta:
    """Return the wait before the next attempt: one minute, doubling, at most six hours.

    ``attempts`` counts those already made, so it is at least 1.
    """
    # Bound the doublings first: 2**1024 minutes does not fit into a timedelta.
    factor: int = 2 ** min(attempts - 1, 10)
    return min(FIRST_WAIT * factor, LONGEST_WAIT)


def jittered(wait: timedelta, spread: float = 0.1) -> timedelta:
    """Return ``wait``, up to ``spread`` longer, so that many do not come back at one moment."""
    return wait * (1 + spread * random.random())  # noqa: S311 - spreads load, hides nothing


class Action(StrEnum):
    """What a person may decide about a watch."""

    RETRY = "retry"
    SKIP = "skip"
    PUBLISH = "publish"


ACTIONS: dict[str, tuple[Action, ...]] = {
    Standing.ARCHIVED: (Action.PUBLISH,),
    Standing.UNDATED: (Action.PUBLISH,),
    Standing.UNREADABLE: (Action.RETRY,),
    State.HELD: (Action.PUBLISH, Action.SKIP),
    State.QUEUED: (Action.SKIP,),
    State.REFUSED: (Action.RETRY, Action.SKIP),
    State.UNSURE: (Action.RETRY, Action.SKIP),
    State.SKIPPED: (Action.PUBLISH,),
}


def actions(standing: str, state: str | None) -> tuple[Action, ...]:
    """Return what a person may decide about a watch with such a post."""
    return ACTIONS.get(state or standing, ())


def acted(post: Post | None, action: Action, now: datetime) -> Post:
    """Return the post after the person's decision; None: there was none yet."""
    if action is Action.SKIP:
        return replace(post or Post(State.SKIPPED, now), state=State.SKIPPED, due_at=now)
    again = post or Post(State.QUEUED, now)
    return replace(again, state=State.QUEUED, due_at=now, trouble=None, rediscovered=False)
