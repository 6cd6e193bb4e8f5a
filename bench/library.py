"""One person with a long life of films and series, at the honest simulated Trakt of `app.demo`."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from app.demo.catalogue import EpisodeOf, Film, Show, Work
from app.demo.trakt import SimulatedTrakt

START = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
# Of ten plays one is a film; a show has so many episodes.
EPISODES = 90


class Library:
    """The simulated Trakt with a clock that is set from outside, and a count of its requests."""

    def __init__(self, plays: int) -> None:
        self.moment = START
        self.asked = 0
        self.trakt = SimulatedTrakt(
            client_id="bench", redirect_uri="http://localhost:8000/trakt/callback", now=self.now
        )
        self.trakt.fill(plays, list(islice(works(), plays)))

    def now(self) -> datetime:
        """Return the time that all clocks show."""
        return self.moment

    async def counted(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's three
        """Be Trakt's API, and count."""
        self.asked += 1
        await self.trakt.api(scope, receive, send)


def make(plays: int, _origins: Sequence[str]) -> tuple[Library, list[Any]]:
    """Return a library of so many plays with its one app."""
    library = Library(plays)
    return library, [library.counted]


def works() -> Iterator[Work]:
    """Yield films and episodes without end, none of them twice."""
    number = 0
    while True:
        number += 1
        if number % 10 == 0:
            yield film(number)
        else:
            of, which = divmod(number, EPISODES)
            yield episode(show(of), which + 1)


def film(number: int) -> Film:
    """Return the film with this number."""
    return Film(f"Film {number}", 1990, number, f"film-{number}", f"tt{number:07}", number)


def show(number: int) -> Show:
    """Return the show with this number."""
    return Show(f"Show {number}", 1990, number, f"show-{number}")


def episode(of: Show, number: int) -> EpisodeOf:
    """Return an episode; a season has ten."""
    season, place = divmod(number - 1, 10)
    return EpisodeOf(of, season + 1, place + 1, f"Episode {number}", of.trakt * 1000 + number)


# What is asked of the library over the line.


def asked(library: Library) -> int:
    """Return how many requests there were."""
    return library.asked


def token(library: Library) -> str:
    """Return a token that is good to use."""
    return library.trakt.tokens.issue().access


def set_clock(moment: datetime, library: Library) -> None:
    """Let all clocks show ``moment``."""
    library.moment = moment


def add_film(number: int, library: Library) -> None:
    """Add a play of 30 days before the start, of a film that was never seen."""
    library.trakt.watch(film(1_000_000 + number), at=START - timedelta(days=30, minutes=number))


def add_series(number: int, episodes: int, library: Library) -> None:
    """Add all episodes of a new show, an hour between them, beginning ten years ago."""
    of = show(1_000_000 + number)
    for place in range(episodes):
        at = START - timedelta(days=3650) + timedelta(hours=place)
        library.trakt.watch(episode(of, place + 1), at=at)


def remove_one(number: int, library: Library) -> None:
    """Take a play from the middle of the library."""
    plays = library.trakt.plays
    library.trakt.remove(plays[len(plays) // 2 + number].id)
