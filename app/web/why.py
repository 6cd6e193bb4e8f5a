"""Why a watch was posted, or was not: in sentences, from what was decided at the time."""

from collections.abc import Iterator
from datetime import datetime

from app.outbox import Standing, State, Why
from app.rules import Decision, Then, decision_from_json
from app.tables import PostRow, WatchRow
from app.web.views import local

# What each kind of decision means for a post that is on its way or on the site.
MEANS: dict[Then, str] = {
    Then.PUBLISH: "",
    Then.DRAFT: "So it is sent as a draft.",
    Then.PRIVATE: "So it is published privately.",
    Then.UNLISTED: "So it is published unlisted.",
    Then.SKIP: "So it is not posted.",
}
ALONE: dict[str, str] = {
    Standing.UNREADABLE: "Nobody could read what Trakt said, so there is nothing to be posted.",
    Standing.UNDATED: "Nobody knows when you watched it. Such a watch is not posted by itself.",
}
BUNCH = "Many plays of its show became known at once, so the bridge asks you first."
REMOVED = "Trakt no longer showed it when its turn came, so it was not posted."
SKIPPED = "You decided not to post it."
WANTED = "You asked for it to be posted."
THERE = "It was on your site already when the bridge came to know of it."
DAMAGED = "What your rules decided then cannot be read any more."
NO_RULES = "You had no rules when it was posted."
TO_COME = "It is dated in the future, and waits until then."


def why(
    watch: WatchRow,
    post: PostRow | None,
    start_at: datetime | None,
    zone: str,
    forecast: Decision | None,
) -> Iterator[str]:
    """Yield why a watch is posted or is not.

    ``start_at`` is from when on watches are posted, and ``forecast`` what the rules of today say of
    one whose turn has not come yet.
    """
    if post is None:
        yield ALONE.get(watch.standing) or started(watch, start_at, zone)
        return
    decision = decision_from_json(post.decision)
    if post.why == Why.WANTED or (decision and decision.wanted):
        yield WANTED
    elif watch.watched_at and start_at and watch.watched_at >= start_at:
        yield started(watch, start_at, zone)
    yield from set_apart(post)
    if post.state != State.SKIPPED or post.why == Why.RULE:
        yield from ruled(post, decision, forecast)


def ruled(post: PostRow, decision: Decision | None, forecast: Decision | None) -> Iterator[str]:
    """Yield what the rules decided when a post's turn came, or would decide today."""
    if decision:
        yield from told(decision, "")
    elif post.decision is not None:
        yield DAMAGED
    elif forecast:
        yield from told(forecast, "When its turn comes: ")
    elif post.attempts:
        yield NO_RULES


def started(watch: WatchRow, start_at: datetime | None, zone: str) -> str:
    """Return what the moment from which on watches are posted means for one."""
    if watch.watched_at is None or start_at is None:
        return "It is kept in the archive, and was not asked for."
    is_older = watch.watched_at < start_at
    since = f"You post what you watched from {local(start_at, zone)} on"
    return f"{since}; this one is older." if is_older else f"{since}, this one included."


def set_apart(post: PostRow) -> Iterator[str]:
    """Yield what made a post wait, or kept it from being sent, beside the rules."""
    if post.why == Why.BUNCH:
        yield BUNCH
    elif post.why == Why.REMOVED:
        yield REMOVED
    elif post.state == State.HELD:
        yield TO_COME
    elif post.state == State.SKIPPED and post.why is None:
        yield SKIPPED
    elif post.state == State.PUBLISHED and not post.attempts:
        yield THERE


def told(decision: Decision, begins: str) -> Iterator[str]:
    """Yield what rules decided, and which might have applied."""
    yield from decision.notes
    means = f" {MEANS[decision.then]}".rstrip()
    yield f"{begins}{decision.said}.{means}"
