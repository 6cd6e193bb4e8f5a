"""Tokens that run out, and when to renew them. Decisions only; `app.refresh` acts on them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

# Thirty years, in seconds: beyond that it is not a life but a way to say "for ever".
LONGEST_LIFE = 10**9
# Longer than any answer of a token endpoint may take.
REFRESH_LEASE = timedelta(minutes=2)
# Why nothing is asked with a key that no SECRET_KEY opens. It begins what a locked row says, so
# that a start with the right SECRET_KEY knows what it may unlock.
UNREADABLE = "The bridge can no longer read the key it had, because its SECRET_KEY has changed"


@dataclass(frozen=True, slots=True)
class Pair:
    """An access token with its refresh token. ``expires_at`` None: nobody knows its life."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    issued_at: datetime
    expires_at: datetime | None


class Step(Enum):
    """What to do before a token is used."""

    USE = auto()
    REFRESH = auto()
    WAIT = auto()
    LOST = auto()


def step(
    pair: Pair | None, refreshing_until: datetime | None, now: datetime, refused: str | None
) -> Step:
    """Decide what to do before ``pair`` is used.

    ``refused`` is an access token that was just not accepted. A token is renewed when a quarter
    of its life is left, so that a neighbour in trouble leaves time to try again; one without a
    refresh token is never dropped by the clock, because some servers tell nonsense about it.
    """
    if pair is None:
        return Step.LOST
    if pair.access != refused and not is_ageing(pair, now):
        return Step.USE
    if pair.refresh is None:
        return Step.LOST if pair.access == refused else Step.USE
    if refreshing_until is None or is_over(refreshing_until, now):
        return Step.REFRESH
    return Step.USE if is_usable(pair, now, refused) else Step.WAIT


def is_over(refreshing_until: datetime, now: datetime) -> bool:
    """Tell whether the lease of a refresh has run out.

    One that would last longer than any can was written before the clock was set back.
    """
    return not now < refreshing_until <= now + 2 * REFRESH_LEASE


def is_ageing(pair: Pair, now: datetime) -> bool:
    """Tell whether a quarter of the token's life, or less, is left."""
    if pair.expires_at is None:
        return False
    return now >= pair.expires_at - (pair.expires_at - pair.issued_at) / 4


def is_usable(pair: Pair, now: datetime, refused: str | None) -> bool:
    """Tell whether the access token may still serve while it cannot be renewed."""
    return pair.access != refused and (pair.expires_at is None or now < pair.expires_at)


def expiry(expires_in: object, now: datetime) -> datetime | None:
    """Return when a token runs out by its ``expires_in`` in seconds; nonsense means unknown."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int) or expires_in <= 0:
        return None
    return now + timedelta(seconds=min(expires_in, LONGEST_LIFE))
