"""What ``extended=full`` adds to the films, shows and episodes of a history item."""

from app.demo.catalogue import EpisodeOf, Film, Json, Show

# As long as such texts are on Trakt; most titles have one.
OVERVIEW = (
    "Two strangers who have nothing in common meet in a town that is on no map. What begins as a "
    "mistake becomes a journey, and before it ends each of them has to choose between what is "
    "right and what is known. Old friends turn up where nobody expected them, and a promise from "
    "long ago asks to be kept."
)
TRANSLATIONS = ["bg", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hu", "it", "ja"]
# Where Trakt keeps its pictures.
IMAGES = "walter-r2.trakt.tv"
UPDATED = "2026-11-01T08:32:06.000Z"


def full_film(film: Film, host: str) -> Json:
    """Return the ``movie`` object of a history item with all that Trakt knows of it."""
    return {
        **film.json(),
        **told_of_all(film.rating, 110),
        **told_of_whole(film),
        "tagline": "Nothing is what it seems.",
        "released": f"{film.year}-09-15" if film.year else None,
        "certification": "PG-13",
        "original_title": film.title,
        "after_credits": False,
        "during_credits": False,
        "images": pictures(host, "movies", film.trakt),
    }


def full_show(show: Show, host: str) -> Json:
    """Return the ``show`` object of a history item with all that Trakt knows of it."""
    return {
        **show.json(),
        **told_of_all(show.rating, 45),
        **told_of_whole(show),
        "tagline": "",
        "first_aired": f"{show.year}-03-26T01:00:00.000Z" if show.year else None,
        "airs": {"day": "Sunday", "time": "21:00", "timezone": "Europe/Berlin"},
        "certification": "TV-14",
        "network": "ARD",
        "aired_episodes": 20,
        "original_title": show.title,
        "images": pictures(host, "shows", show.trakt),
    }


def full_episode(episode: EpisodeOf, host: str) -> Json:
    """Return the ``episode`` object of a history item with all that Trakt knows of it."""
    return {
        **episode.json(),
        **told_of_all(episode.rating, 45),
        "number_abs": None,
        "first_aired": None,
        "episode_type": "standard",
        "original_title": None,
        "after_credits": False,
        "during_credits": False,
        "images": {"screenshot": [picture(host, "episodes", episode.trakt, "screenshots")]},
    }


def told_of_all(rating: float, minutes: int) -> Json:
    """Return what Trakt tells of anything; a rating of 0 is one that nobody has given yet."""
    return {
        "overview": OVERVIEW,
        "rating": rating,
        "votes": 2718 if rating else 0,
        "comment_count": 12,
        "updated_at": UPDATED,
        "available_translations": TRANSLATIONS,
        "runtime": minutes,
    }


def told_of_whole(work: Film | Show) -> Json:
    """Return what Trakt tells of films and shows, and not of episodes."""
    return {
        "country": "de",
        "status": "released" if isinstance(work, Film) else "ended",
        "trailer": "https://youtube.com/watch?v=simulated",
        "homepage": None,
        "language": "en",
        "languages": ["en"],
        "genres": list(work.genres),
        "subgenres": [],
        "colors": {"poster": ["#203040", "#a08060"]},
    }


def pictures(host: str, kind: str, trakt: int) -> Json:
    """Return the addresses of a title's pictures, as Trakt gives them: without a scheme."""
    whats = ("fanart", "poster", "logo", "clearart", "banner", "thumb")
    return {what: [picture(host, kind, trakt, f"{what}s")] for what in whats}


def picture(host: str, kind: str, trakt: int, whats: str) -> str:
    """Return the address of one picture."""
    number = f"{trakt:09}"
    folders = f"{number[:3]}/{number[3:6]}/{number[6:]}"
    return f"{host}/images/{kind}/{folders}/{whats}/medium/{trakt:010x}.jpg.webp"
