"""What needs a person: what has stopped, and what is asked, as far as it is still so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from app.notices import Kind
from app.store import undecided
from app.store.accounts import BY_OPERATOR
from app.tables import ConnectionRow, NoticeRow, SiteRow

# These are about a question; the others are about something that has stopped.
QUESTIONS = (Kind.GATE, Kind.START, Kind.BUNCH, Kind.ABSENT, Kind.UNSURE)


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that waits for a person; ``key`` is the notice that an answer is given to.

    ``is_theirs``: the person can do something about it.
    """

    kind: Kind
    said: str
    key: int | None = None
    is_theirs: bool = True

    @property
    def is_question(self) -> bool:
        """Whether the person is asked something; otherwise something has stopped."""
        return self.kind in QUESTIONS


def needs(
    site: SiteRow,
    connection: ConnectionRow | None,
    lost: int,
    notices: Sequence[NoticeRow],
    *,
    owns: bool = False,
) -> list[Need]:
    """Return all that waits for a person, what has stopped first.

    ``lost``: of so many posts only the person can tell. ``owns``: they run the bridge. A notice
    may lag behind what it is about, so that itself is asked where it can be.
    """
    closed = [Need(Kind.CLOSED, one.said) for one in notices if one.kind == Kind.CLOSED]
    return [
        *(closed if owns else ()),
        *stopped(site, connection),
        *asked(site, connection, lost, notices),
    ]


def stopped(site: SiteRow, connection: ConnectionRow | None) -> Iterable[Need]:
    """Yield what does not go on without the person."""
    trakt = connection.locked if is_linked(connection) else None
    if BY_OPERATOR in {trakt, site.locked}:
        said = f"{BY_OPERATOR}. Nothing is lost meanwhile, and it goes on when they let it."
        yield Need(Kind.PAUSED, said, is_theirs=False)
    if trakt and trakt != BY_OPERATOR:
        yield Need(Kind.TRAKT, trakt)
    if site.locked and site.locked != BY_OPERATOR:
        yield Need(Kind.SITE, site.locked)
    if site.paused:
        yield Need(Kind.PAUSED, site.paused)


def asked(
    site: SiteRow,
    connection: ConnectionRow | None,
    lost: int,
    notices: Sequence[NoticeRow],
) -> Iterable[Need]:
    """Yield the questions that can be answered now."""
    can_be_answered = {
        Kind.GATE: site.gate_at is not None,
        # Posting starts somewhere only once there is something to post.
        Kind.START: is_linked(connection),
        Kind.BUNCH: True,
        Kind.ABSENT: is_linked(connection) and connection.locked is None,
        Kind.UNSURE: lost > 0,
    }
    for kind in QUESTIONS:
        for notice in notices:
            if notice.kind == kind and can_be_answered[kind]:
                said = undecided.said(lost) if kind is Kind.UNSURE else notice.said
                yield Need(kind, said, notice.id)


def is_linked(connection: ConnectionRow | None) -> TypeGuard[ConnectionRow]:
    """Tell whether Trakt is connected."""
    return connection is not None and connection.sealed_tokens is not None
