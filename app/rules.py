"""What becomes of a watch by the person's own rules: an ordered list of which the first match wins.

A rule has conditions, which must all hold, and says what is done then. What nobody knows, such as
a genre that the source has not told or the hour of a play without a date, holds no condition.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import tzinfo
from enum import StrEnum
from typing import Any, Literal

from app.watch import Episode, Watch, Work, caption, kind_of

VERSION = 1
MOST_RULES = 50
MOST_TAGS = 20
LONGEST_TAG = 50
LONGEST_TEXT = 200
LONGEST_TARGET = 500
# The page of a film or a show at Trakt, as people copy it.
PAGE = re.compile(r"(?:https?://)?(?:www\.|app\.)?trakt\.tv/(movies|shows)/([^/?#\s]+)")
GENRES = (
    "action",
    "adventure",
    "animation",
    "anime",
    "biography",
    "children",
    "comedy",
    "crime",
    "documentary",
    "donghua",
    "drama",
    "family",
    "fantasy",
    "game-show",
    "history",
    "holiday",
    "home-and-garden",
    "horror",
    "mini-series",
    "music",
    "musical",
    "mystery",
    "news",
    "reality",
    "romance",
    "science-fiction",
    "short",
    "soap",
    "special-interest",
    "sporting-event",
    "superhero",
    "suspense",
    "talk-show",
    "thriller",
    "war",
    "western",
)


class Then(StrEnum):
    """What is done with a watch."""

    PUBLISH = "publish"
    DRAFT = "draft"
    PRIVATE = "private"
    UNLISTED = "unlisted"
    SKIP = "skip"


DONE: dict[Then, str] = {
    Then.PUBLISH: "publish",
    Then.DRAFT: "send as a draft",
    Then.PRIVATE: "publish privately",
    Then.UNLISTED: "publish unlisted",
    Then.SKIP: "skip",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Conditions, of which those that are left out always hold, and what is done then.

    ``work`` is the title of a film or show, its page at Trakt, or ``trakt:`` and its id there.
    ``hours`` are of the person's zone, from the first up to and without the second, over midnight
    where the first is later. ``targets``: None leaves them as they usually are.
    """

    then: Then = Then.PUBLISH
    kind: Literal["movie", "episode"] | None = None
    work: str = ""
    genre: str = ""
    at_least: float | None = None
    at_most: float | None = None
    again: bool | None = None
    hours: tuple[int, int] | None = None
    text: str = ""
    tags: tuple[str, ...] = ()
    targets: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """A person's rules in their order, and what every post gets besides.

    ``targets``: where the site is to show it elsewhere; None leaves that to the site. ``passed``
    tells of what was kept but cannot be read, and is passed over; the next change leaves it out.
    """

    rules: tuple[Rule, ...] = ()
    tags: tuple[str, ...] = ()
    targets: tuple[str, ...] | None = None
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What else there is to know of a watch. ``again``: seen before; None: nobody can tell."""

    zone: tzinfo
    again: bool | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with a watch and why: the number of the rule, and its words at that time.

    ``number`` is None where no rule applied. ``notes`` tell of rules that might have applied, had
    more been known, or had the person not asked for the post: then it is ``wanted``.
    """

    then: Then = Then.PUBLISH
    number: int | None = None
    words: str = ""
    tags: tuple[str, ...] = ()
    targets: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    wanted: bool = False

    @property
    def said(self) -> str:
        """The decision as a line: ``Rule 2: episodes of the genre Reality → skip``."""
        if self.number:
            return f"Rule {self.number}: {self.words}"
        return f"No {'other rule' if self.notes else 'rule of yours'} applies, so it is published"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a field, of a rule by its number or (0) of all."""

    number: int
    field: str
    said: str

    def __str__(self) -> str:
        """Return it as a sentence for whoever reads a list of them."""
        where = f"Rule {self.number}" if self.number else "The rules"
        return f"{where}, {NAMES.get(self.field, self.field)}: {self.said}"


NAMES = {
    "then": "what to do",
    "kind": "what",
    "work": "film or show",
    "at_least": "rating at least",
    "at_most": "rating at most",
    "again": "rewatch",
    "text": "text in the title",
}


class RulesError(ValueError):
    """Rules that cannot be used; ``problems`` tells why, field by field."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(" ".join(map(str, self.problems)))


# --- Deciding ---


def decide(rules: Rules, watch: Watch, facts: Facts, *, wanted: bool = False) -> Decision:
    """Return what the first rule that applies does with a watch.

    Where the person asked for the post (``wanted``), rules that skip are passed over.
    """
    notes = list(rules.passed)
    for number, rule in enumerate(rules.rules, 1):
        unknown = lacking(rule, watch, facts)
        if unknown is None:
            continue
        if unknown:
            notes.append(f"Rule {number} did not apply: {' and '.join(unknown)}.")
        elif wanted and rule.then is Then.SKIP:
            notes.append(f"Rule {number} skips it, but you asked for it.")
        else:
            tags = tuple(dict.fromkeys((*rules.tags, *rule.tags)))
            targets = rules.targets if rule.targets is None else rule.targets
            return Decision(rule.then, number, words(rule), tags, targets, tuple(notes), wanted)
    return Decision(tags=rules.tags, targets=rules.targets, notes=tuple(notes), wanted=wanted)


def lacking(rule: Rule, watch: Watch, facts: Facts) -> list[str] | None:
    """Return what would have to be known for a rule to apply; None: a condition does not hold.

    An empty list says that all of them hold.
    """
    unknown = []
    for said, holds in conditions(rule, watch, facts):
        if holds is False:
            return None
        if holds is None:
            unknown.append(said)
    return unknown


def conditions(rule: Rule, watch: Watch, facts: Facts) -> Iterable[tuple[str, bool | None]]:
    """Yield whether each condition of a rule holds; None and the reason where nobody can tell."""
    about, work, when = watch.about, watch.work, watch.watched_at
    if rule.kind:
        yield "", kind_of(work) == rule.kind
    if rule.work:
        yield "", is_work(work, rule.work)
    if rule.text:
        yield "", rule.text.casefold() in caption(work).casefold()
    if rule.again is not None:
        known = None if facts.again is None else facts.again is rule.again
        yield "nobody knows whether it was seen before", known
    if rule.hours:
        hour = when.astimezone(facts.zone).hour if when else None
        yield "nobody knows at what hour it was watched", within(hour, rule.hours)
    if rule.genre:
        genres = about.genres if about else None
        yield "Trakt’s genre was not known yet", None if genres is None else rule.genre in genres
    if rule.at_least is not None or rule.at_most is not None:
        rating = about.rating if about else None
        least, most = rule.at_least or -math.inf, rule.at_most or math.inf
        holds = None if rating is None else least <= rating <= most
        yield "Trakt’s rating was not known yet", holds


def within(hour: int | None, hours: tuple[int, int]) -> bool | None:
    """Tell whether an hour of the day lies in a span; None where the hour is not known."""
    start, end = hours
    if hour is None:
        return None
    return start <= hour < end if start < end else hour >= start or hour < end


def is_work(work: Work, named: str) -> bool:
    """Tell whether a work is the film, or of the show, that a rule names."""
    whole = work.show if isinstance(work, Episode) else work
    if page := PAGE.match(named):
        kind, key = page.groups()
        is_kind = kind == ("shows" if isinstance(work, Episode) else "movies")
        return is_kind and key in {whole.ids.slug, str(whole.ids.trakt)}
    if named.casefold().startswith("trakt:"):
        return named[6:].strip() == str(whole.ids.trakt)
    return named.casefold() == (whole.title or "").casefold()


# --- In words ---


def words(rule: Rule) -> str:
    """Return a rule in plain English: ``episodes of the genre Reality → skip``."""
    what = {"movie": "films", "episode": "episodes", None: "everything"}[rule.kind]
    told = list(said_conditions(rule))
    subject = " ".join([what, *told[:1]])
    return f"{', '.join([subject, *told[1:]])} → {effect(rule)}"


def said_conditions(rule: Rule) -> Iterable[str]:
    """Yield the conditions of a rule in words."""
    if rule.work:
        named = PAGE.match(rule.work) or rule.work.casefold().startswith("trakt:")
        title = rule.work if named else f"“{rule.work}”"
        yield f"called {title}" if rule.kind == "movie" else f"of {title}"
    if rule.genre:
        yield f"of the genre {genre_name(rule.genre)}"
    yield from said_rating(rule.at_least, rule.at_most)
    if rule.again is not None:
        yield "seen before" if rule.again else "seen for the first time"
    if rule.hours:
        yield "watched from {:02}:00 to {:02}:00".format(*rule.hours)
    if rule.text:
        yield f"with “{rule.text}” in the title"


def is_for_all(rule: Rule) -> bool:
    """Tell whether a rule has no condition, so that none after it is ever tried."""
    return rule.kind is None and not any(said_conditions(rule))


def said_rating(at_least: float | None, at_most: float | None) -> Iterable[str]:
    """Yield the condition about the rating in words, if there is one."""
    match at_least, at_most:
        case None, None:
            return
        case least, None:
            yield f"that Trakt rates {least:g} or more"
        case None, most:
            yield f"that Trakt rates {most:g} or less"
        case least, most:
            yield f"that Trakt rates from {least:g} to {most:g}"


def effect(rule: Rule) -> str:
    """Return what a rule does, in words."""
    if rule.then is Then.SKIP:
        return DONE[rule.then]
    tags = f" with the tag{'s' if len(rule.tags) > 1 else ''} {', '.join(rule.tags)}"
    places = f", also to {', '.join(rule.targets)}" if rule.targets else ", and nowhere else"
    return DONE[rule.then] + (tags if rule.tags else "") + ("" if rule.targets is None else places)


def genre_name(genre: str) -> str:
    """Return a genre as people write it: ``Science fiction``."""
    return genre.replace("-", " ").capitalize()


# --- As JSON ---


def to_json(rules: Rules) -> dict[str, Any]:
    """Return rules as plain data, for the database and for the file of settings."""
    return {
        "version": VERSION,
        "rules": [rule_to_json(rule) for rule in rules.rules],
        **said_of_all(rules.tags, rules.targets),
    }


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """Return a rule as plain data, without the conditions that it does not have."""
    data = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(rule).items()
        if value is not None and value not in ("", ())
    }
    return data | said_of_all(rule.tags, rule.targets)


def said_of_all(tags: tuple[str, ...], targets: tuple[str, ...] | None) -> dict[str, Any]:
    """Return tags and targets as far as there are any; no target at all is one of the answers."""
    known = {"tags": list(tags)} if tags else {}
    return known if targets is None else {**known, "targets": list(targets)}


def from_json(data: object) -> Rules:
    """Return the rules that `to_json` wrote, by this version or an older one.

    Raises RulesError for anything else, with all that is wrong.
    """
    found, problems = read(data)
    if problems:
        raise RulesError(problems)
    return found


def kept(data: object) -> Rules:
    """Return rules as the database holds them: one that is damaged does not stop the others.

    Raises RulesError where nobody can tell what they are.
    """
    found, problems = read(data)
    return replace(found, passed=tuple(map(passed_over, problems)))


def passed_over(problem: Problem) -> str:
    """Return what is said of a part of the rules that cannot be read."""
    what = "One of your rules" if problem.number else "A part of your rules"
    reason = f"{NAMES.get(problem.field, problem.field)}: {problem.said.rstrip('.')}"
    return f"{what} cannot be read and is passed over ({reason})."


def read(data: object) -> tuple[Rules, list[Problem]]:
    """Return the rules in plain data that can be read, and what is wrong with the rest.

    Raises RulesError where these are no rules at all, or those of a newer version.
    """
    if data is None:
        return Rules(), []
    if not isinstance(data, Mapping):
        raise RulesError([Problem(0, "file", "These are no rules.")])
    version, listed = data.get("version", VERSION), data.get("rules", [])
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= VERSION:
        raise RulesError([Problem(0, "version", "A newer version of the bridge wrote them.")])
    if not isinstance(listed, list) or len(listed) > MOST_RULES:
        said = f"A list of at most {MOST_RULES} rules is expected."
        raise RulesError([Problem(0, "rules", said)])
    known = {"version", "rules", "tags", "targets"}
    whole = Reading(0, data, unknown_fields(0, data, known))
    rules, problems = [], whole.problems
    for number, one in enumerate(listed, 1):
        try:
            rules.append(rule_from_json(one, number))
        except RulesError as error:
            problems += error.problems
    return Rules(tuple(rules), whole.tags(), whole.targets()), problems


def rule_from_json(data: object, number: int) -> Rule:
    """Return the rule in plain data. Raises RulesError with all that is wrong, field by field."""
    if not isinstance(data, Mapping):
        raise RulesError([Problem(number, "rule", "This is no rule.")])
    read = Reading(number, data, unknown_fields(number, data, set(Rule.__dataclass_fields__)))
    rule = Rule(
        then=read.then(),
        kind=read.kind(),
        work=read.work(),
        genre=read.genre(),
        at_least=read.rating("at_least"),
        at_most=read.rating("at_most"),
        again=read.again(),
        hours=read.hours(),
        text=read.text("text"),
        tags=read.tags(),
        targets=read.targets(),
    )
    if rule.at_least is not None and rule.at_most is not None and rule.at_least > rule.at_most:
        read.wrong("at_most", "No rating is at least that high and at most that low.")
    if read.problems:
        raise RulesError(read.problems)
    return rule


def unknown_fields(number: int, data: Mapping[Any, Any], known: set[str]) -> list[Problem]:
    """Return what is wrong with names that nobody knows: a slip must not make a rule broader."""
    return [
        Problem(number, str(name)[:40], "This version does not know such a field.")
        for name in data
        if name not in known
    ]


@dataclass(slots=True)
class Reading:
    """Plain data of a rule while it is read, with what was found to be wrong."""

    number: int
    data: Mapping[Any, Any]
    problems: list[Problem] = field(default_factory=list)

    def wrong(self, name: str, said: str) -> None:
        """Note that a field is wrong."""
        self.problems.append(Problem(self.number, name, said))

    def then(self) -> Then:
        """Return what is to be done, which every rule must say."""
        value = self.data.get("then")
        if isinstance(value, str) and value in set(Then):
            return Then(value)
        self.wrong("then", f"Choose one of {', '.join(Then)}.")
        return Then.SKIP

    def kind(self) -> Literal["movie", "episode"] | None:
        """Return what the rule is about, None for everything."""
        match self.data.get("kind"):
            case None | "":
                return None
            case "movie":
                return "movie"
            case "episode":
                return "episode"
        self.wrong("kind", "Choose movie, episode, or leave it out.")
        return None

    def text(self, name: str) -> str:
        """Return a text of one line, empty where there is none."""
        value = self.data.get(name)
        found = one_line(value, LONGEST_TEXT)
        if found is None and value not in (None, ""):
            self.wrong(name, f"Type one line of at most {LONGEST_TEXT} characters.")
        return found or ""

    def work(self) -> str:
        """Return the film or show that is meant, empty for any."""
        found = self.text("work")
        if "://" not in found or PAGE.match(found):
            return found
        self.wrong("work", "Only pages at Trakt are known, such as https://trakt.tv/shows/dark.")
        return ""

    def genre(self) -> str:
        """Return a genre as Trakt writes it, empty where there is none."""
        found = self.text("genre").lower().replace(" ", "-")
        if not found or re.fullmatch(r"[a-z0-9-]{1,50}", found):
            return found
        self.wrong("genre", "Choose one of Trakt’s genres, such as science-fiction.")
        return ""

    def rating(self, name: str) -> float | None:
        """Return a rating, None where there is none."""
        value = self.data.get(name)
        if value is None:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and 1 <= value <= 10:
            return float(value)
        self.wrong(name, "Type a number from 1 to 10, such as 7.5.")
        return None

    def again(self) -> bool | None:
        """Return whether a rewatch is meant, None where both are."""
        value = self.data.get("again")
        if value is None or isinstance(value, bool):
            return value
        self.wrong("again", "Choose true, false, or leave it out.")
        return None

    def hours(self) -> tuple[int, int] | None:
        """Return two hours of the day, None where there are none."""
        value = self.data.get("hours")
        if value is None:
            return None
        match value:
            case [int() as start, int() as end] if all(map(is_hour, value)) and start != end:
                return start, end
        self.wrong("hours", "Choose both hours, from 0 to 23, and two different ones.")
        return None

    def tags(self) -> tuple[str, ...]:
        """Return the tags."""
        return self.several("tags", LONGEST_TAG, without=",") or ()

    def targets(self) -> tuple[str, ...] | None:
        """Return the syndication targets, None where nothing is said of them."""
        return self.several("targets", LONGEST_TARGET)

    def several(self, name: str, longest: int, without: str = "") -> tuple[str, ...] | None:
        """Return a list of texts, each once; None where there is none."""
        value = self.data.get(name)
        if value is None:
            return None
        found = [one_line(each, longest) for each in value] if isinstance(value, list) else [None]
        texts = tuple(dict.fromkeys(each for each in found if each))
        is_clean = all(each and not (without and without in each) for each in found)
        if is_clean and len(texts) <= MOST_TAGS:
            return texts
        said = f"At most {MOST_TAGS}, each of at most {longest} characters"
        self.wrong(name, f"{said} and without a comma." if without else f"{said}.")
        return None


def is_hour(value: object) -> bool:
    """Tell whether a value is an hour of the day."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 23


def one_line(value: object, longest: int) -> str | None:
    """Return a text without what surrounds it; None for nothing and for what is no line."""
    if not isinstance(value, str):
        return None
    clean = value.strip()
    return clean if clean and clean.isprintable() and len(clean) <= longest else None


def key_of(rule: Rule) -> str:
    """Return a short text by which a page names a rule; when the rule changes, so does this."""
    text = json.dumps(rule_to_json(rule), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- A decision as it is kept ---


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """Return a decision as plain data."""
    known = {name: value for name, value in asdict(decision).items() if value}
    return {**known, "targets": None if decision.targets is None else list(decision.targets)}


def decision_from_json(data: object) -> Decision | None:
    """Return the decision that `decision_to_json` wrote, None for anything else."""
    if not isinstance(data, Mapping):
        return None
    then, number, words = data.get("then", Then.PUBLISH), data.get("number"), data.get("words", "")
    tags, targets, notes = (data.get(name) or () for name in ("tags", "targets", "notes"))
    if then not in list(Then) or not all(map(is_texts, ([words], tags, targets, notes))):
        return None
    if not isinstance(number, int | None):
        return None
    return Decision(
        then=Then(then),
        number=number,
        words=words,
        tags=tuple(tags),
        targets=None if data.get("targets") is None else tuple(targets),
        notes=tuple(notes),
        wanted=bool(data.get("wanted")),
    )


def is_texts(values: object) -> bool:
    """Tell whether these are texts, in their order."""
    return isinstance(values, list | tuple) and all(isinstance(one, str) for one in values)
