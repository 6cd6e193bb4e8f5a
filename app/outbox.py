"""The life of one post on its way to a website, as decisions without side effects.

    watch ──► held ──► queued ──► sending ──► published
                          ▲          ├──────► refused      the site said no: the person must act
                          └── busy ──┤
                                     └──────► unsure       sent, answer lost: never sent blindly
                                                │
                      published ◄── it is there ┤ by looks at the site,
                         queued ◄── it is not ──┘ or by a person's word

``skipped`` is where a person, or a rule of theirs, puts a post that must not be sent. Micropub has
no idempotency key, so "exactly once" is ours to keep: nothing here leads from ``unsure`` back to
``queued`` without a person's word or looks at the site.
"""

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from app.errors import SiteBusy, SiteError, SiteLocked, SiteMoved, SiteRefused, SiteSilent
from app.waits import USUAL, Waits

# A play dated a little ahead is a clock that runs fast; one dated far ahead waits for its time.
FUTURE = timedelta(hours=1)
REMOVED = "Trakt no longer shows this watch, so it was not posted."
# When a lost post is sent again: a month; whoever wants to wait longer rather looks themselves.
LONGEST_HOURS = 720


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


class Why(StrEnum):
    """Why a post is held, skipped or asked about, where more than its state must be known."""

    # Many plays of one show became known at once; the person decides over all of them.
    BUNCH = "bunch"
    # The source no longer shows the watch, so it was not posted.
    REMOVED = "removed"
    # The person was told that nobody knows whether it arrived.
    TOLD = "told"
    # The person said that it is on the site; nothing else shows it.
    SAID = "said"
    # A rule of the person's says that it is not posted.
    RULE = "rule"
    # The person asked for this very post, whatever the rules say.
    WANTED = "wanted"


class Unsure(StrEnum):
    """What a person wants done with a post of which nobody can tell whether it arrived."""

    ASK = "ask"
    AGAIN = "again"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Post:
    """What the site shows, or shall show, of one watch.

    ``due_at`` is when something is to be done next: sending when queued, releasing when held,
    the end of the lease when sending. ``attempts`` counts those begun; the last one began at
    ``sent_at``, and the site was looked at ``looks`` times since. ``is_resent``: it was sent again
    because it was not there, which is done by itself at most once.
    """

    state: State
    due_at: datetime
    attempts: int = 0
    url: str | None = None
    trouble: str | None = None
    rediscovered: bool = False
    sent_at: datetime | None = None
    looks: int = 0
    is_resent: bool = False
    why: str | None = None
    second_url: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one look at a site can prove about a post that it did not show.

    ``reached``: all posts dated later than this were read; None when nothing can be said.
    ``shows_ours``: another post of ours was there with its marker. ``began_at``: when it was.
    """

    is_list: bool
    shows_ours: bool
    reached: datetime | None
    may_see_all: bool
    began_at: datetime
    said: str


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
    return replace(post, state=State.QUEUED, due_at=now, trouble=None, why=None)


def begun(post: Post, now: datetime, waits: Waits = USUAL) -> Post:
    """Return the post as it must be saved before the request leaves."""
    return replace(
        post,
        state=State.SENDING,
        due_at=now + waits.sending_lease,
        attempts=post.attempts + 1,
        sent_at=now,
        looks=0,
        why=None,
    )


def published(post: Post, url: str | None, now: datetime) -> Post:
    """Return the post after the site took it; ``url`` is None when it did not say where."""
    trouble = None if url else "The site took the post but did not say where it is."
    return replace(post, state=State.PUBLISHED, due_at=now, url=url, trouble=trouble)


def failed(post: Post, error: SiteError, now: datetime, waits: Waits = USUAL) -> Post:
    """Decide what becomes of a post whose attempt ended in ``error``."""
    after = replace(post, trouble=str(error))
    match error:
        case SiteBusy(retry_after=asked):
            wait = max(asked or timedelta(), backoff(after.attempts, waits))
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


def removed(post: Post, now: datetime) -> Post:
    """Return a post whose watch is no more at its source: it is not sent."""
    return replace(post, state=State.SKIPPED, due_at=now, trouble=REMOVED, why=Why.REMOVED)


def ruled_out(post: Post, said: str, now: datetime) -> Post:
    """Return a post that a rule keeps unposted; ``said`` are its words."""
    return replace(post, state=State.SKIPPED, due_at=now, trouble=said, why=Why.RULE)


def abandoned(post: Post, now: datetime) -> Post:
    """Return a post whose worker died while sending: nobody knows whether it arrived."""
    return failed(post, SiteSilent("The bridge stopped while it was sending this post."), now)


def found(post: Post, url: str | None, now: datetime) -> Post:
    """Return a post that the site shows; what it says outweighs all we thought."""
    trouble = None if url or post.url else "Your site shows the post but not where it is."
    return replace(
        post, state=State.PUBLISHED, due_at=now, url=post.url or url, trouble=trouble, why=None
    )


def said_there(post: Post, now: datetime) -> Post:
    """Return a post of which the person says that it is on the site."""
    return replace(found(post, None, now), trouble="You said that it is there.", why=Why.SAID)


def not_found(
    post: Post,
    watched_at: datetime | None,
    evidence: Evidence,
    now: datetime,
    choice: tuple[Unsure, timedelta] = (Unsure.ASK, timedelta()),
    waits: Waits = USUAL,
) -> Post:
    """Decide what becomes of a post that a look did not find.

    An unsure one is sent again by itself at most once: when it is certainly not there, or when
    nobody can tell and the person chose to send it again after a while.
    """
    since = now - (post.sent_at or now)
    # Looks that were made early, because of another post, do not count.
    is_due = post.looks < len(waits.looks) and since >= waits.looks[post.looks]
    after = replace(post, looks=post.looks + is_due)
    wants, wait = choice
    if post.is_resent or post.state is not State.UNSURE:
        return after
    if after.looks >= 2 and since >= waits.absent_after and proves_absence(evidence, watched_at):
        trouble = "It is not on your site, so it is sent once more."
    elif wants is Unsure.AGAIN and since >= wait:
        trouble = "Nobody can tell whether it arrived; it is sent once more, as you chose."
    else:
        return after
    return replace(after, state=State.QUEUED, due_at=now, is_resent=True, trouble=trouble, why=None)


def proves_absence(evidence: Evidence, watched_at: datetime | None) -> bool:
    """Tell whether a look that did not show a post proves that it is not there.

    Only a list does that which shows other posts of ours with their markers, to a token that
    sees published posts, and which was read past the date of the post.
    """
    if not evidence.is_list or not evidence.shows_ours or not evidence.may_see_all:
        return False
    if evidence.reached is None:
        return False
    return watched_at is None or evidence.reached < watched_at


def next_look(
    post: Post,
    choice: tuple[Unsure, timedelta] = (Unsure.ASK, timedelta()),
    waits: Waits = USUAL,
) -> datetime | None:
    """Return when to look at the site for a post next, None when that is of no use any more.

    For an unsure post, and for one that is published where nobody said.
    """
    if post.sent_at is None or not wants_look(post):
        return None
    spans = list(waits.looks[post.looks :])
    wants, wait = choice
    if post.state is State.UNSURE and wants is Unsure.AGAIN and not post.is_resent:
        spans.append(wait)
    return post.sent_at + min(spans) if spans else None


def wants_look(post: Post) -> bool:
    """Tell whether a look at the site could tell more about a post."""
    return post.state is State.UNSURE or (post.state is State.PUBLISHED and post.url is None)


def backoff(attempts: int, waits: Waits = USUAL) -> timedelta:
    """Return the wait before the next attempt: the first, doubling, up to the longest.

    ``attempts`` counts those already made, so it is at least 1.
    """
    # Bound the doublings first: 2**1024 minutes does not fit into a timedelta.
    factor: int = 2 ** min(attempts - 1, 10)
    return min(waits.first_retry * factor, waits.longest_retry)


def is_away(post: Post, waits: Waits = USUAL) -> bool:
    """Tell whether a site has not taken a post for a day, by the waits between its attempts."""
    waited = sum((backoff(made, waits) for made in range(1, post.attempts)), timedelta())
    return waited >= timedelta(days=1)


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
    State.UNSURE: (Action.PUBLISH, Action.RETRY, Action.SKIP),
    State.SKIPPED: (Action.PUBLISH,),
}


def actions(standing: str, state: str | None) -> tuple[Action, ...]:
    """Return what a person may decide about a watch with such a post."""
    return ACTIONS.get(state or standing, ())


def acted(post: Post | None, action: Action, now: datetime) -> Post:
    """Return the post after the person's decision; None: there was none yet."""
    if action is Action.SKIP:
        return replace(post or Post(State.SKIPPED, now), state=State.SKIPPED, due_at=now, why=None)
    if post is not None and post.state is State.UNSURE and action is Action.PUBLISH:
        return said_there(post, now)
    again = post or Post(State.QUEUED, now)
    # The person's word beats their rules, as far as it was for this post and not for a new try.
    why = Why.WANTED if action is Action.PUBLISH or again.why == Why.WANTED else None
    return replace(again, state=State.QUEUED, due_at=now, trouble=None, rediscovered=False, why=why)
