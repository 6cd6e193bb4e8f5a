"""What the shut gate of a site keeps back.

Watches after ``gate_reached`` leave all the same: they are younger than the moment at which all
of Trakt had been read since the gate was shut, or the site has been read that far. What was known
before its date is no younger: a clock ahead of time may have had it posted.
"""

from sqlalchemy import ColumnElement, or_, true
from sqlmodel import col

from app.outbox import State
from app.tables import PostRow, SiteRow

WAITING = (State.QUEUED, State.HELD)


def behind(site: SiteRow) -> list[ColumnElement[bool]]:
    """Return what makes a post one that the shut gate of ``site`` keeps back."""
    reached = site.gate_reached
    when = col(PostRow.watched_at)
    has_time = (col(PostRow.state) == State.HELD) & col(PostRow.why).is_(None)
    early = [has_time] if is_unread(site) else []
    return [
        col(PostRow.account_id) == site.account_id,
        col(PostRow.state).in_(WAITING),
        or_(when.is_(None), when <= reached, *early) if reached else true(),
    ]


def is_behind(site: SiteRow, post: PostRow) -> bool:
    """Tell whether the gate of a site keeps a post from leaving."""
    if site.gate_at is None or post.state not in WAITING:
        return False
    if site.gate_reached is None or post.watched_at is None:
        return True
    has_time = post.state == State.HELD and post.why is None
    return post.watched_at <= site.gate_reached or (has_time and is_unread(site))


def is_unread(site: SiteRow) -> bool:
    """Tell whether nothing has been read yet of what the site of a shut gate holds."""
    shut_at, reached = site.gate_shut_at, site.gate_reached
    return shut_at is None or reached is None or reached >= shut_at


def stay(site: SiteRow, post: PostRow) -> None:
    """Let a gate that keeps a post back do so when the date of the post has come."""
    if site.gate_reached and post.watched_at and is_behind(site, post):
        site.gate_reached = max(site.gate_reached, post.watched_at)
