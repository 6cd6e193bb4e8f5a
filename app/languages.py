"""What the wording of posts needs to know of a language: its dates, counts, quotes, sentences.

The defaults are templates like those that a person writes, see `app.wording`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from app.watch import Episode, Movie, Work


class Language(StrEnum):
    """A language in which posts can be told."""

    ENGLISH = "en"
    GERMAN = "de"
    DUTCH = "nl"
    FRENCH = "fr"
    SPANISH = "es"


@dataclass(frozen=True, slots=True)
class Speech:
    """How one language says what the templates cannot.

    ``said`` is the sentence around the work, which stands in it as ``WORK``; ``on_date`` what
    follows it in a rewatch; ``spoilers`` the title of a note that is folded away; ``poster``
    what is to be seen on one.
    """

    name: str
    months: tuple[str, ...]
    weekdays: tuple[str, ...]
    quotes: tuple[str, str]
    untitled_film: str
    untitled_show: str
    said: str
    on_date: str
    spoilers: str
    day: Callable[[date, str], str]
    times: Callable[[int], str]
    later: Callable[[int], str]
    poster: str


def english_ordinal(number: int) -> str:
    """Return a place in a row: ``1st``, ``22nd``, ``113th``."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if number % 100 in {11, 12, 13} else endings.get(number % 10, "th")
    return f"{number}{ending}"


SPEECH: dict[Language, Speech] = {
    Language.ENGLISH: Speech(
        name="English",
        months=(
            *("January", "February", "March", "April", "May", "June", "July"),
            *("August", "September", "October", "November", "December"),
        ),
        weekdays=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        quotes=("“", "”"),
        untitled_film="Untitled film",
        untitled_show="Untitled show",
        said=(
            "Watched WORK{% if again %} again{% endif %}{% if repeat %}, {{ repeat }}{% endif %}"
        ),
        on_date=" on {{ date }}",
        spoilers="My note (spoilers)",
        day=lambda when, month: f"{when.day} {month} {when.year}",
        times=lambda number: f"for the {english_ordinal(number)} time",
        later=lambda years: f"{years} year{'' if years == 1 else 's'} later",
        poster="Poster of WORK",
    ),
    Language.GERMAN: Speech(
        name="Deutsch",
        months=(
            *("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli"),
            *("August", "September", "Oktober", "November", "Dezember"),
        ),
        weekdays=(
            *("Montag", "Dienstag", "Mittwoch", "Donnerstag"),
            *("Freitag", "Samstag", "Sonntag"),
        ),
        quotes=("„", "“"),
        untitled_film="Film ohne Titel",
        untitled_show="Serie ohne Titel",
        said=(
            "{% if again %}Wieder gesehen{% else %}Gesehen{% endif %}: WORK"
            "{% if repeat %}, {{ repeat }}{% endif %}"
        ),
        on_date=" am {{ date }}",
        spoilers="Meine Notiz (verrät etwas)",
        day=lambda when, month: f"{when.day}. {month} {when.year}",
        times=lambda number: f"zum {number}. Mal",
        later=lambda years: f"nach {years} Jahr{'' if years == 1 else 'en'}",
        poster="Plakat von WORK",
    ),
    Language.DUTCH: Speech(
        name="Nederlands",
        months=(
            *("januari", "februari", "maart", "april", "mei", "juni", "juli"),
            *("augustus", "september", "oktober", "november", "december"),
        ),
        weekdays=("maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag", "zondag"),
        quotes=("‘", "’"),
        untitled_film="Film zonder titel",
        untitled_show="Serie zonder titel",
        said=(
            "{% if again %}Opnieuw gekeken{% else %}Gekeken{% endif %}: WORK"
            "{% if repeat %}, {{ repeat }}{% endif %}"
        ),
        on_date=" op {{ date }}",
        spoilers="Mijn notitie (met spoilers)",
        day=lambda when, month: f"{when.day} {month} {when.year}",
        times=lambda number: f"voor de {number}e keer",
        later=lambda years: f"na {years} jaar",
        poster="Poster van WORK",
    ),
    Language.FRENCH: Speech(
        name="Français",
        months=(
            *("janvier", "février", "mars", "avril", "mai", "juin", "juillet"),
            *("août", "septembre", "octobre", "novembre", "décembre"),
        ),
        weekdays=("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
        # A no-break space keeps the guillemets with what they enclose.
        quotes=("«\N{NO-BREAK SPACE}", "\N{NO-BREAK SPACE}»"),
        untitled_film="Film sans titre",
        untitled_show="Série sans titre",
        said=(
            "{% if again %}Revu{% else %}Vu{% endif %}\N{NO-BREAK SPACE}: WORK"
            "{% if repeat %}, {{ repeat }}{% endif %}"
        ),
        on_date=" le {{ date }}",
        spoilers="Ma note (révèle l’intrigue)",
        day=lambda when, month: f"{'1er' if when.day == 1 else when.day} {month} {when.year}",
        times=lambda number: f"pour la {'1re' if number == 1 else f'{number}e'} fois",
        later=lambda years: f"{years} an{'' if years == 1 else 's'} après",
        poster="Affiche de WORK",
    ),
    Language.SPANISH: Speech(
        name="Español",
        months=(
            *("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio"),
            *("agosto", "septiembre", "octubre", "noviembre", "diciembre"),
        ),
        weekdays=("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
        quotes=("«", "»"),
        untitled_film="Película sin título",
        untitled_show="Serie sin título",
        said=(
            "{% if again %}Visto de nuevo{% else %}Visto{% endif %}: WORK"
            "{% if repeat %}, {{ repeat }}{% endif %}"
        ),
        on_date=" el {{ date }}",
        spoilers="Mi nota (con spoilers)",
        day=lambda when, month: f"{when.day} de {month} de {when.year}",
        times=lambda number: f"por {number}.ª vez",
        later=lambda years: f"{years} año{'' if years == 1 else 's'} después",
        poster="Cartel de WORK",
    ),
}


def day(when: date, language: Language) -> str:
    """Return a day as one writes it: ``20 November 2026``, ``20 de noviembre de 2026``."""
    speech = SPEECH[language]
    return speech.day(when, speech.months[when.month - 1])


def repeat(number: int, years: int, language: Language) -> str:
    """Return which time it is, and after how long; empty for the first time."""
    speech = SPEECH[language]
    if number < 2:
        return ""
    return ", ".join([speech.times(number), *([speech.later(years)] if years else [])])


def caption(work: Work, language: Language) -> str:
    """Return the work as one would say it: ``Dune (2021)``, ``Dark S01E02 „Lügen“``."""
    speech = SPEECH[language]
    match work:
        case Movie(title=title, year=year):
            said = title or speech.untitled_film
            return f"{said} ({year})" if year else said
        case Episode(season=season, number=number, title=title):
            opening, closing = speech.quotes
            said = f"{work.show.title or speech.untitled_show} S{season:02}E{number:02}"
            return f"{said} {opening}{title}{closing}" if title else said


def poster(work: Work, language: Language) -> str:
    """Return what is to be seen on a poster; that of an episode is its show's."""
    speech = SPEECH[language]
    match work:
        case Movie():
            said = caption(work, language)
        case Episode(show=show):
            said = show.title or speech.untitled_show
    return speech.poster.replace("WORK", said)
