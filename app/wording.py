"""The words of a post: templates that a person writes, and what keeps them harmless.

A template knows variables, filters of a short list and ``if``. It is judged by its parsed tree,
in which anything else is refused, so there are no loops, no calls and no attributes; what each
step makes is bounded, so its time is bounded as well. docs/wording.md tells the person all this.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from app.languages import SPEECH, Language

# A template has so many characters at most, so many parts, so deep in one another.
LONGEST = 2000
MOST_PARTS = 300
DEEPEST = 16
# What it makes, and each step on its way, has so many bytes at most.
MOST_BYTES = 10_000
# Of what others wrote, a template is given so many characters; of a note more.
LONGEST_VALUE = 500
LONGEST_NOTE = 4000
LONGEST_SLUG = 60

TOO_MUCH = "It would make a text of more than 10 kB; use less of it."
WAY_OUT = "Only text, {{ variables }}, their filters and {% if %} can stand here."


class NotAllowed(ValueError):
    """A template cannot be used; the message says where, why, and what to do instead."""


class Count(int):
    """A number of which 0 means that nobody knows: it is then written as nothing."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return the number, or nothing."""
        return int.__str__(self) if self else ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a template can tell of one watch. docs/wording.md says what each variable holds.

    What is not known is an empty text or an empty `Count`; no time is ever invented.
    """

    kind: str
    caption: str
    title: str
    show: str
    season: int
    episode: int
    code: str
    year: Count
    url: str
    show_url: str
    imdb: str
    tmdb: str
    tvdb: str
    date: str
    weekday: str
    time: str
    iso_date: str
    again: bool
    times: Count
    years: Count
    repeat: str
    rating: Count
    stars: str
    note: str
    spoilers: bool
    poster: str
    alt: str
    id: str
    summary: str = ""

    def variables(self) -> dict[str, Any]:
        """Return them as a template sees them: a long text is cut."""
        return {name: cut(name, getattr(self, name)) for name in VARIABLES}


VARIABLES = tuple(field.name for field in fields(Facts))


def cut(name: str, value: object) -> object:
    """Return a value of a size that cannot do harm."""
    most = LONGEST_NOTE if name in {"note", "summary"} else LONGEST_VALUE
    return value[:most] if isinstance(value, str) else value


def bounded(text: str) -> str:
    """Return ``text`` if it is not too long. Raises NotAllowed."""
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise NotAllowed(TOO_MUCH)
    return text


def small(number: object) -> int:
    """Return how many characters a filter shall make. Raises NotAllowed."""
    if not isinstance(number, int) or not 0 <= number <= MOST_BYTES:
        raise NotAllowed("A filter’s number must be between 0 and 10000.")
    return number


def replaced(value: object, old: object, new: object) -> str:
    """Return ``value`` with another word for ``old``; its size is known before it is made."""
    text, old, new = str(value), str(old), str(new)
    if not old:
        raise NotAllowed("“replace” needs a text that it shall replace.")
    if len(text) + text.count(old) * len(new) > MOST_BYTES:
        raise NotAllowed(TOO_MUCH)
    return text.replace(old, new)


def truncated(value: object, number: int = 100) -> str:
    """Return the first ``number`` characters, with an ellipsis for what is left out."""
    text, most = str(value), small(number)
    return text if len(text) <= most else f"{text[: max(most - 1, 0)].rstrip()}…"


def padded(value: object, number: int = 2) -> str:
    """Return a number with zeros before it: ``02``."""
    return str(value).zfill(small(number))


def broken(value: object) -> Markup:
    """Return a text whose lines stay lines in HTML."""
    return Markup("<br>").join(escape(line) for line in str(value).splitlines())


FILTERS: dict[str, Callable[..., str]] = {
    "breaks": broken,
    "capitalize": lambda value: str(value)[:1].upper() + str(value)[1:],
    "default": lambda value, other="": str(value) or str(other),
    "lower": lambda value: str(value).lower(),
    "pad": padded,
    "replace": replaced,
    "trim": lambda value: str(value).strip(),
    "truncate": truncated,
    "upper": lambda value: str(value).upper(),
}
ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Filter,
    nodes.Concat,
    nodes.If,
    nodes.CondExpr,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
)
# What people may try, in the words in which they wrote it.
SAID: dict[type[nodes.Node], str] = {
    nodes.For: "{% for %}",
    nodes.Macro: "{% macro %}",
    nodes.CallBlock: "{% call %}",
    nodes.FilterBlock: "{% filter %}",
    nodes.With: "{% with %}",
    nodes.Assign: "{% set %}",
    nodes.AssignBlock: "{% set %}",
    nodes.Block: "{% block %}",
    nodes.Extends: "{% extends %}",
    nodes.Include: "{% include %}",
    nodes.Import: "{% import %}",
    nodes.FromImport: "{% from %}",
    nodes.Call: "Calling something with ( )",
    nodes.Keyword: "A filter’s option by name",
    nodes.Getattr: "A dot after a variable",
    nodes.Getitem: "[ ] after a variable",
    nodes.Slice: "[ : ]",
    nodes.Test: "“is”",
    nodes.Mul: "“*”",
    nodes.Pow: "“**”",
    nodes.Mod: "“%”",
    nodes.Add: "“+”",
    nodes.Sub: "“-”",
    nodes.Div: "“/”",
    nodes.FloorDiv: "“//”",
    nodes.Neg: "“-”",
    nodes.Pos: "“+”",
    nodes.List: "A list",
    nodes.Tuple: "A list",
    nodes.Dict: "A { : }",
}


def environment(*, html: bool) -> ImmutableSandboxedEnvironment:
    """Return where templates are read; in HTML what they are given is escaped."""
    made = ImmutableSandboxedEnvironment(autoescape=html, keep_trailing_newline=True, cache_size=0)
    made.globals.clear()
    made.tests.clear()
    made.filters.clear()
    made.filters.update({name: bounding(call) for name, call in FILTERS.items()})
    return made


def bounding(call: Callable[..., str]) -> Callable[..., str]:
    """Return a filter of whose size we are sure before and after."""

    def bounds(value: object, *options: object) -> str:
        before = bounded(str(value))
        after = call(before, *options)
        bounded(after)
        return after

    return bounds


ENVIRONMENTS = {html: environment(html=html) for html in (False, True)}


@lru_cache(maxsize=512)
def template(source: str, *, html: bool) -> Template:
    """Return a template that may be used. Raises NotAllowed."""
    if len(source) > LONGEST:
        raise NotAllowed(f"It has {len(source):,} characters; {LONGEST:,} are the most.")
    try:
        judge(ENVIRONMENTS[html].parse(source))
        return ENVIRONMENTS[html].from_string(source)
    except TemplateSyntaxError as error:
        raise NotAllowed(f"Line {error.lineno}: {unreadable(error)} {WAY_OUT}") from error
    except (TemplateError, SyntaxError, RecursionError, MemoryError, OverflowError) as error:
        raise NotAllowed(f"It is too deeply nested to be read. {WAY_OUT}") from error


def unreadable(error: TemplateSyntaxError) -> str:
    """Return in a sentence what a template's reader stumbled over."""
    text = " ".join((error.message or "it cannot be read").split())[:200].rstrip(".")
    return f"it cannot be read ({text})."


def judge(tree: nodes.Template) -> None:
    """Look at each part of a parsed template. Raises NotAllowed."""
    waiting: list[tuple[nodes.Node, int]] = [(tree, 0)]
    parts = 0
    while waiting:
        node, depth = waiting.pop()
        parts += 1
        if parts > MOST_PARTS or depth > DEEPEST:
            raise NotAllowed("It is too complicated: use fewer variables and conditions.")
        judge_part(node)
        waiting += [(child, depth + 1) for child in node.iter_child_nodes()]


def judge_part(node: nodes.Node) -> None:
    """Look at one part of a template alone. Raises NotAllowed."""
    where = f"Line {node.lineno}: "
    if not isinstance(node, ALLOWED):
        said = SAID.get(type(node), "This")
        raise NotAllowed(f"{where}{said} cannot be used. {WAY_OUT}")
    match node:
        case nodes.Name(name=name) if name not in VARIABLES:
            raise NotAllowed(f"{where}there is no variable “{name[:40]}”{meant(name, VARIABLES)}")
        case nodes.Filter(name=name) if name not in FILTERS:
            raise NotAllowed(f"{where}there is no filter “{name[:40]}”{meant(name, FILTERS)}")
        case nodes.Filter(node=None):
            raise NotAllowed(f"{where}{{% filter %}} cannot be used. {WAY_OUT}")
        case nodes.Filter() if node.dyn_args or node.dyn_kwargs:
            raise NotAllowed(f"{where}“*” cannot be used. {WAY_OUT}")


def meant(name: str, known: tuple[str, ...] | dict[str, Any]) -> str:
    """Return which of the known names may have been meant, or what they are."""
    near = difflib.get_close_matches(name[:40], known, n=1)
    return f"; did you mean “{near[0]}”?" if near else f"; there are {', '.join(sorted(known))}."


def rendered(source: str, facts: Facts, *, html: bool = False) -> str:
    """Return the text that a template makes of what is known. Raises NotAllowed."""
    parts: list[str] = []
    size = 0
    try:
        for part in template(source, html=html).generate(facts.variables()):
            size += len(part)
            if size > MOST_BYTES:
                raise NotAllowed(TOO_MUCH)
            parts.append(part)
    except (TypeError, ValueError, TemplateError) as error:
        if isinstance(error, NotAllowed):
            raise
        raise NotAllowed(
            "It cannot be filled in: a filter or a comparison does not fit what it is given "
            "(texts are compared with “==”, numbers also with “>”)."
        ) from error
    return storable(bounded("".join(parts)))


def storable(text: str) -> str:
    """Return ``text`` without half characters and control signs, which a template can spell.

    No database takes them, and one post that cannot be stored would keep all others waiting.
    """
    clean = text.encode("utf-8", "replace").decode()
    return "".join(c for c in clean if c in "\n\t" or unicodedata.category(c) != "Cc")


@lru_cache(maxsize=512)
def check(source: str, *, html: bool = False) -> None:
    """Make sure that a template can tell of any watch. Raises NotAllowed."""
    for facts in SAMPLES:
        rendered(source, facts, html=html)


def one_line(text: str) -> str:
    """Return ``text`` with single spaces."""
    return " ".join(text.split())


def slugged(text: str) -> str:
    """Return ``text`` as part of an address: ``Amélie (2001)`` becomes ``amelie-2001``."""
    plain = unicodedata.normalize("NFKD", text[:LONGEST_VALUE]).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    return words[:LONGEST_SLUG].strip("-")


def default_summary(language: Language) -> str:
    """Return the template of a summary that nobody has changed."""
    return SPEECH[language].said.replace("WORK", "{{ caption }}")


def default_content(language: Language, *, html: bool) -> str:
    """Return the template of a content that nobody has changed.

    It stands alone on a server that keeps nothing else, so it holds the link. A rewatch names its
    day: the text then differs from that of the first viewing.
    """
    speech = SPEECH[language]
    when = f"{{% if again and date %}}{speech.on_date}{{% endif %}}"
    rating = "{% if rating %} · {{ rating }}/10{% endif %}"
    if not html:
        # A note that gives something away has nowhere to hide in a plain text.
        note = "{% if note and not spoilers %}\n\n{{ note }}{% endif %}"
        return f"🎬 {{{{ summary }}}}{when}{rating} {{{{ url }}}}{note}"
    work = '<a href="{{ url }}">{{ caption }}</a>'
    poster = '{% if poster %}<p><img src="{{ poster }}" alt="{{ alt }}"></p>{% endif %}'
    note = (
        f"{{% if note and spoilers %}}<details><summary>{speech.spoilers}</summary>"
        "<p>{{ note|breaks }}</p></details>"
        "{% elif note %}<p>{{ note|breaks }}</p>{% endif %}"
    )
    return f"<p>🎬 {speech.said.replace('WORK', work)}{when}{rating}</p>{poster}{note}"


FILM = Facts(
    kind="movie",
    caption="Dune (2021)",
    title="Dune",
    show="",
    season=0,
    episode=0,
    code="",
    year=Count(2021),
    url="https://trakt.tv/movies/dune-2021",
    show_url="",
    imdb="tt1160419",
    tmdb="438631",
    tvdb="",
    date="20 November 2026",
    weekday="Friday",
    time="21:14",
    iso_date="2026-11-20",
    again=False,
    times=Count(1),
    years=Count(0),
    repeat="",
    rating=Count(0),
    stars="",
    note="",
    spoilers=False,
    poster="",
    alt="",
    id="1jsilij",
    summary="Watched Dune (2021)",
)
EPISODE = replace(
    FILM,
    kind="episode",
    caption="Dark S01E02 “Lies”",
    title="Lies",
    show="Dark",
    season=1,
    episode=2,
    code="S01E02",
    year=Count(2017),
    url="https://trakt.tv/shows/dark/seasons/1/episodes/2",
    show_url="https://trakt.tv/shows/dark",
    imdb="",
    summary="Watched Dark S01E02 “Lies”",
)
ALL: dict[str, Any] = {
    "again": True,
    "times": Count(3),
    "years": Count(5),
    "repeat": "for the 3rd time, 5 years later",
    "rating": Count(8),
    "stars": "★★★★",
    "note": "So much sand.",
    "poster": "https://watch.example/posters/1.jpg",
    "alt": "Poster of Dune",
}
NO_DATE: dict[str, Any] = {"date": "", "weekday": "", "time": "", "iso_date": "", "year": Count(0)}
# What a template must be able to tell before it is saved.
SAMPLES = (
    FILM,
    EPISODE,
    replace(FILM, **ALL),
    replace(EPISODE, **ALL, spoilers=True),
    replace(FILM, **NO_DATE),
    replace(EPISODE, **NO_DATE, title=""),
)
