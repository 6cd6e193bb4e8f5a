"""How a person wants their posts to look: one value, kept as JSON in the database and in files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from app import wording
from app.errors import ChoiceRefused
from app.languages import Language
from app.watch import Episode, Show, Work, show_name

VERSION = 1
MOST_SHOWS = 200
LONGEST_SHOW = 200
# The texts of a post that a person can word.
PARTS = ("summary", "content", "slug")
KINDS = ("film", "episode")


class Shape(StrEnum):
    """What a post is made of: how it says what was watched, and in which form it is sent."""

    NESTED = "nested"
    URL = "url"
    NOTE = "note"
    FORM = "form"


class Posters(StrEnum):
    """Whether posts show the poster, and who keeps the picture."""

    OFF = "off"
    UPLOAD = "upload"
    LINK = "link"


class StyleRefused(ChoiceRefused):
    """A style cannot be used; ``problems`` says of each field what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Templates:
    """The wording of one kind of post; an empty text stands for the language's own."""

    summary: str = ""
    content: str = ""
    slug: str = ""


@dataclass(frozen=True, slots=True)
class Style:
    """How one person's posts look. What is not chosen is as most servers understand it best.

    ``html``: the content is HTML, else plain text. Titles of episodes are left out everywhere, or
    in those of ``quiet_shows``, which are called by title, Trakt's slug or its number.
    """

    shape: Shape = Shape.NESTED
    html: bool = False
    language: Language = Language.ENGLISH
    film: Templates = field(default_factory=Templates)
    episode: Templates = field(default_factory=Templates)
    hides_titles: bool = False
    quiet_shows: tuple[str, ...] = ()
    tells_rewatch: bool = False
    tells_rating: bool = False
    tells_note: bool = False
    posters: Posters = Posters.OFF

    def templates(self, work: Work) -> Templates:
        """Return the wording for a kind of work."""
        return self.episode if isinstance(work, Episode) else self.film

    def is_quiet(self, work: Work) -> bool:
        """Tell whether the title of ``work`` would give something away."""
        if not isinstance(work, Episode):
            return False
        return self.hides_titles or not called(work.show).isdisjoint(self.quiet_shows)


def called(show: Show) -> set[str]:
    """Return by what a person may call a show, as `quiet` writes it."""
    names = (show_name(show), show.ids.slug, show.ids.trakt)
    return {quiet(str(name)) for name in names if name}


def quiet(name: str) -> str:
    """Return the name of a show in the one form in which two of them are compared."""
    return " ".join(name.casefold().split())


def to_json(style: Style) -> dict[str, Any]:
    """Return a style as plain data, which `from_json` reads."""
    return {
        "version": VERSION,
        "shape": str(style.shape),
        "content": "html" if style.html else "text",
        "language": str(style.language),
        **{kind: wordings(getattr(style, kind)) for kind in KINDS},
        "hide_titles": style.hides_titles,
        "hide_titles_of": list(style.quiet_shows),
        "tell_rewatch": style.tells_rewatch,
        "tell_rating": style.tells_rating,
        "tell_note": style.tells_note,
        "posters": str(style.posters),
    }


def wordings(templates: Templates) -> dict[str, str]:
    """Return templates as plain data."""
    return {part: getattr(templates, part) for part in PARTS}


def from_json(data: object) -> Style:
    """Return the style that `to_json` wrote, in this version or an older one.

    What is missing is as it is at first. Raises StyleRefused, which names each wrong field.
    """
    if data is None:
        return Style()
    if not isinstance(data, Mapping):
        raise StyleRefused({"version": "The style of posts must be an object: { … }."})
    reading = Reading(data)
    reading.version()
    style = Style(
        shape=reading.one_of("shape", Shape, Shape.NESTED),
        html=reading.one_of("content", Content, Content.TEXT) is Content.HTML,
        language=reading.one_of("language", Language, Language.ENGLISH),
        film=reading.templates("film"),
        episode=reading.templates("episode"),
        hides_titles=reading.switch("hide_titles"),
        quiet_shows=reading.shows("hide_titles_of"),
        tells_rewatch=reading.switch("tell_rewatch"),
        tells_rating=reading.switch("tell_rating"),
        tells_note=reading.switch("tell_note"),
        posters=reading.one_of("posters", Posters, Posters.OFF),
    )
    problems = reading.problems | misfits(style)
    if problems:
        raise StyleRefused(problems)
    return style


def kept(data: object) -> Style:
    """Return a style as it is stored; one that is damaged is as at first."""
    try:
        return from_json(data)
    except StyleRefused:
        return Style()


class Content(StrEnum):
    """What the content of a post is written in."""

    TEXT = "text"
    HTML = "html"


Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Reading:
    """A style that is being read; what is wrong with it gathers in ``problems``."""

    data: Mapping[str, Any]
    problems: dict[str, str] = field(default_factory=dict)

    def version(self) -> None:
        """Look whether we can know what the fields mean."""
        number = self.data.get("version", VERSION)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            self.problems["version"] = f"It must be a whole number from 1 to {VERSION}."
        elif number > VERSION:
            self.problems["version"] = (
                f"It is {number}, and this bridge knows {VERSION}: it was written by a newer one. "
                "Update the bridge first."
            )

    def one_of(self, name: str, choices: type[Choice], otherwise: Choice) -> Choice:
        """Return one of several words."""
        value = self.data.get(name, otherwise)
        known = {str(choice): choice for choice in choices}
        if not isinstance(value, str) or value not in known:
            self.problems[name] = f"It must be one of: {', '.join(known)}."
            return otherwise
        return known[value]

    def switch(self, name: str) -> bool:
        """Return yes or no."""
        value = self.data.get(name, False)
        if not isinstance(value, bool):
            self.problems[name] = "It must be true or false."
            return False
        return value

    def templates(self, kind: str) -> Templates:
        """Return the wording of one kind of post."""
        data = self.data.get(kind, {})
        if not isinstance(data, Mapping):
            self.problems[kind] = "It must be an object with summary, content and slug."
            return Templates()
        return Templates(**{part: self.text(kind, part, data) for part in PARTS})

    def text(self, kind: str, part: str, data: Mapping[str, Any]) -> str:
        """Return one template."""
        value = data.get(part, "")
        if not isinstance(value, str):
            self.problems[f"{kind}.{part}"] = "It must be a text."
            return ""
        # A form sends lines in another way than a file does.
        return value.replace("\r\n", "\n").strip()

    def shows(self, name: str) -> tuple[str, ...]:
        """Return the names of shows."""
        value = self.data.get(name, [])
        is_list = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if not is_list or len(value) > MOST_SHOWS or any(len(one) > LONGEST_SHOW for one in value):
            self.problems[name] = (
                f"It must be a list of at most {MOST_SHOWS} names of shows,"
                f" each of at most {LONGEST_SHOW} characters."
            )
            return ()
        return tuple(dict.fromkeys(known for one in value if (known := quiet(one))))


def misfits(style: Style) -> dict[str, str]:
    """Return what is wrong with the templates, and with what does not go together."""
    problems: dict[str, str] = {}
    if style.shape is Shape.FORM and style.html:
        problems["content"] = (
            "A form-encoded post can only hold plain text. Choose plain text, or another shape."
        )
    for kind in KINDS:
        for part in PARTS:
            try:
                source = getattr(getattr(style, kind), part)
                wording.check(source, html=style.html and part == "content")
            except wording.NotAllowed as error:
                problems[f"{kind}.{part}"] = str(error)
    return problems
