"""How many questions we may still ask Trakt: per person, and for this process's address."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from datetime import timedelta

PERIOD = 300.0  # seconds; Trakt counts in windows of five minutes
PER_PERSON = 500
MINUTE = timedelta(minutes=1)


def affordable(wish: timedelta, connections: int, limit: int, addresses: int) -> timedelta:
    """Return how often each of many connections can be asked: as wished, or more seldom.

    To find nothing new costs one request, and each address has ``limit`` of them in five minutes.
    What is longer than wished is whole minutes.
    """
    needed = timedelta(seconds=PERIOD * connections / (limit * addresses))
    return wish if needed <= wish else timedelta(minutes=math.ceil(needed / MINUTE))


class Budget:
    """A sliding window of five minutes over the GET requests of this process.

    The limit counts per person, and Trakt's edge counts per address whatever the token; so the
    process as a whole keeps to ``limit`` and each person to 500. ``clock`` counts seconds.
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.limit = limit
        self.clock = clock
        self.spent: deque[float] = deque()
        # In step with `spent`, so that forgetting costs nothing for those who did not ask.
        self.people: deque[str] = deque()
        self.by_person: dict[str, deque[float]] = {}
        self.closed_from = self.closed_until = 0.0

    def close(self, wait: timedelta) -> None:
        """Let nobody ask for so long: Trakt blocks this address or this app."""
        now = self.clock()
        until = now + wait.total_seconds()
        if self.closed_for():
            until = max(until, self.closed_until)
        self.closed_from, self.closed_until = now, until

    def closed_for(self) -> timedelta | None:
        """Return how long nobody may ask, None when everybody may."""
        now = self.clock()
        # A clock that was set back to before the closing opens again: better than for ever.
        is_closed = self.closed_from <= now < self.closed_until
        return timedelta(seconds=self.closed_until - now) if is_closed else None

    def left(self) -> int:
        """Return how many requests may be sent now, whoever asks."""
        self.forget()
        return 0 if self.closed_for() else max(0, self.limit - len(self.spent))

    async def take(self, person: str, *, patient: bool) -> None:
        """Wait until one more request is within the budget, and count it.

        A ``patient`` caller, such as an archive run, leaves a fifth of it to the others.
        """
        # Others take from the budget while we wait, so look again.
        while (wait := self.wait(person, patient=patient)) > 0:  # noqa: ASYNC110 - time passes
            await asyncio.sleep(wait)
        now = self.clock()
        self.spent.append(now)
        self.people.append(person)
        self.by_person.setdefault(person, deque()).append(now)

    def wait(self, person: str, *, patient: bool) -> float:
        """Return the seconds until a request would be within the budget; 0 when it is now."""
        self.forget()
        share = 0.8 if patient else 1.0
        mine = self.by_person.get(person, deque())
        return max(
            self.until_free(self.spent, int(self.limit * share)),
            self.until_free(mine, int(min(self.limit, PER_PERSON) * share)),
        )

    def until_free(self, spent: deque[float], limit: int) -> float:
        """Return the seconds until ``spent`` holds fewer than ``limit`` requests."""
        if len(spent) < limit:
            return 0.0
        return spent[len(spent) - limit] + PERIOD - self.clock()

    def forget(self) -> None:
        """Drop what lies more than a period back, or ahead, after a clock was set back."""
        now = self.clock()
        while self.spent and not now - PERIOD < self.spent[0] <= now:
            self.spent.popleft()
            person = self.people.popleft()
            mine = self.by_person[person]
            mine.popleft()
            if not mine:
                del self.by_person[person]
