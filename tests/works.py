"""Works and watches for tests; each factory names only what a test is about."""

from datetime import UTC, datetime

from app.watch import Episode, Ids, Movie, Show, Watch, Work

EVENING = datetime(2026, 11, 20, 20, 14, tzinfo=UTC)
DUNE = Movie("Dune", 2021, Ids(trakt=287071, slug="dune-2021", imdb="tt1160419", tmdb=438631))
DARK = Show("Dark", 2017, Ids(trakt=118145, slug="dark", tmdb=70523))


def an_episode(title: str | None = "Lies", season: int = 1, number: int = 2) -> Episode:
    return Episode(DARK, season, number, title, Ids(trakt=2570049, tmdb=1395150))


def a_watch(work: Work = DUNE, at: datetime | None = EVENING, key: str = "3373536619") -> Watch:
    return Watch("trakt", key, at, work)
