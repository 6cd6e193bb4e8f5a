"""Films and shows that everybody knows, as Trakt would describe them.

The ids look like Trakt's; whether they are the real ones does not matter here. Two films share
the title “Dune”, one show has a special, one episode has no title: lists of real people do too.
"""

from dataclasses import dataclass

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Film:
    """One film; ``trakt`` and ``slug`` are the ids that Trakt always gives."""

    title: str
    year: int | None
    trakt: int
    slug: str
    imdb: str | None = None
    tmdb: int | None = None
    genres: tuple[str, ...] = ()
    rating: float = 0

    def json(self) -> Json:
        """Return the ``movie`` object of a history item."""
        ids = {"trakt": self.trakt, "slug": self.slug, "imdb": self.imdb, "tmdb": self.tmdb}
        return {"title": self.title, "year": self.year, "ids": ids}


@dataclass(frozen=True, slots=True)
class Show:
    """A show, of which people watch an `EpisodeOf`."""

    title: str
    year: int | None
    trakt: int
    slug: str
    imdb: str | None = None
    tmdb: int | None = None
    tvdb: int | None = None
    genres: tuple[str, ...] = ()
    rating: float = 0

    def json(self) -> Json:
        """Return the ``show`` object of a history item."""
        ids = {
            "trakt": self.trakt,
            "slug": self.slug,
            "tvdb": self.tvdb,
            "imdb": self.imdb,
            "tmdb": self.tmdb,
        }
        return {"title": self.title, "year": self.year, "ids": ids}


@dataclass(frozen=True, slots=True)
class EpisodeOf:
    """One episode; season 0 holds the specials. Without ``show`` Trakt has lost the show."""

    show: Show | None
    season: int
    number: int
    title: str | None
    trakt: int
    imdb: str | None = None
    tmdb: int | None = None
    tvdb: int | None = None
    rating: float = 0

    @property
    def season_id(self) -> int:
        """The Trakt id of its season, the same for all its episodes."""
        return (self.show.trakt if self.show else 0) * 100 + self.season

    def json(self) -> Json:
        """Return the ``episode`` object of a history item."""
        ids = {"trakt": self.trakt, "tvdb": self.tvdb, "imdb": self.imdb, "tmdb": self.tmdb}
        return {"season": self.season, "number": self.number, "title": self.title, "ids": ids}


Work = Film | EpisodeOf


def series(show: Show) -> list[EpisodeOf]:
    """Return two seasons of a show, as somebody marks them all at once."""
    return [
        EpisodeOf(show, season, number, None, show.trakt * 10_000 + season * 100 + number)
        for season in (1, 2)
        for number in range(1, 21)
    ]


def name(work: Work) -> str:
    """Return the work as its page on Trakt would head it."""
    match work:
        case Film(title=title, year=None):
            return title
        case Film(title=title, year=year):
            return f"{title} ({year})"
        case EpisodeOf(show=show, season=season, number=number, title=title):
            of = show.title if show else "Unknown show"
            return f"{of} {season}x{number:02} “{title}”" if title else f"{of} {season}x{number:02}"


DARK = Show(
    "Dark", 2017, 112031, "dark", "tt5753856", 70523, 334824, ("drama", "science-fiction"), 8.4
)
DOCTOR_WHO = Show(
    "Doctor Who",
    2005,
    4118,
    "doctor-who-2005",
    "tt0436992",
    57243,
    78804,
    ("adventure", "science-fiction"),
    8.3,
)
OFFICE = Show("The Office", 2005, 2302, "the-office", "tt0386676", 2316, 73244, ("comedy",), 8.6)
PARKS = Show(
    "Parks and Recreation",
    2009,
    8524,
    "parks-and-recreation",
    "tt1266020",
    8592,
    84912,
    ("comedy",),
    8.2,
)
SEVERANCE = Show(
    "Severance",
    2022,
    154997,
    "severance",
    "tt11280740",
    95396,
    371980,
    ("drama", "mystery"),
    8.5,
)

DUNE = Film(
    "Dune",
    2021,
    287071,
    "dune-2021",
    "tt1160419",
    438631,
    ("adventure", "science-fiction"),
    7.9,
)
SECRETS = EpisodeOf(DARK, 1, 1, "Secrets", 2417043)
LIES = EpisodeOf(DARK, 1, 2, "Lies", 2417044)
SPECIAL = EpisodeOf(DOCTOR_WHO, 0, 1, "The Christmas Invasion", 1148217)

# Films and episodes take turns, so that whoever walks down the list sees both.
CATALOGUE: tuple[Work, ...] = (
    DUNE,
    SECRETS,
    Film(
        "Spirited Away",
        2001,
        96,
        "spirited-away-2001",
        "tt0245429",
        129,
        ("animation", "fantasy"),
        8.5,
    ),
    LIES,
    Film(
        "Arrival",
        2016,
        210803,
        "arrival-2016",
        "tt2543164",
        329865,
        ("drama", "science-fiction"),
        7.9,
    ),
    EpisodeOf(SEVERANCE, 1, 1, "Good News About Hell", 5420219),
    Film("Amélie", 2001, 137, "amelie-2001", "tt0211915", 194, ("comedy", "romance"), 7.9),
    SPECIAL,
    Film(
        "Paddington 2",
        2017,
        232161,
        "paddington-2-2017",
        "tt4468740",
        346648,
        ("comedy", "family"),
        7.6,
    ),
    EpisodeOf(SEVERANCE, 1, 2, "Half Loop", 5420220),
    Film("Alien", 1979, 276, "alien-1979", "tt0078748", 348, ("horror", "science-fiction"), 8.2),
    EpisodeOf(PARKS, 2, 1, "Pawnee Zoo", 617443),
    Film("Dune", 1984, 632, "dune-1984", "tt0087182", 841, ("adventure", "science-fiction"), 6.4),
    EpisodeOf(DARK, 1, 3, "Past and Present", 2417045),
    Film(
        "Parasite", 2019, 310517, "parasite-2019", "tt6751668", 496243, ("drama", "thriller"), 8.5
    ),
    EpisodeOf(OFFICE, 2, 1, "The Dundies", 73488),
    Film(
        "Metropolis", 1927, 16, "metropolis-1927", "tt0017136", 19, ("drama", "science-fiction"), 8
    ),
    EpisodeOf(DOCTOR_WHO, 1, 1, None, 1148218),
)
